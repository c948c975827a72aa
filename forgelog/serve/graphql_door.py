"""GraphQL for a model: a schema made of its signature, by ariadne.

    query { infer(x: [[0.1, 0.2]]) { y } }
    subscription { generate(prompt: ["Once"]) { text } }

Names that GraphQL can't have get ``_`` for each other sign. Numbers of 64 bits are of the scalar ``Long``.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Mapping, MutableMapping
from contextlib import aclosing
from datetime import timedelta
from typing import Any

import numpy as np

from forgelog.serve import descriptions, rest
from forgelog.serve.engine import Answer, Engine, InferRequest
from forgelog.serve.generate import read_plain
from forgelog.serve.http_answers import Receive, Send
from forgelog.serve.problems import Fault, NotServable, ServingError, invalid
from forgelog.serve.schema import TensorSchema
from forgelog.serve.tensors import FLOATS

_TYPES = {"BOOL": "Boolean", "BYTES": "String", "INT8": "Int", "INT16": "Int", "INT32": "Int", "UINT8": "Int",
          "UINT16": "Int"}  # fmt: skip

_INFO = """
scalar Long
scalar JSON

type Tensor { name: String!, datatype: String!, shape: [Long!]! }

type Model {
  name: String!
  version: String!
  platform: String!
  ready: Boolean!
  inputs: [Tensor!]!
  outputs: [Tensor!]!
}
"""


def names_of(tensors: tuple[TensorSchema, ...], taken: tuple[str, ...] = ()) -> dict[str, TensorSchema]:
    """Names in GraphQL → tensors."""
    found: dict[str, TensorSchema] = {}
    for tensor in tensors:
        name = re.sub(r"[^A-Za-z0-9_]", "_", tensor.name)
        name = f"_{name}" if name[:1].isdigit() else name
        name = name.lstrip("_") if name.startswith("__") else name  # those are GraphQL's own
        plain, number = name or "tensor", 2
        name = plain
        while name in found or name in taken:
            name, number = f"{plain}_{number}", number + 1
        found[name] = tensor
    return found


def sdl_of(engine: Engine) -> str:
    """The schema."""
    arguments = ", ".join(
        f"{name}: {_type(each)}{'!' if each.required else ''}" for name, each in _arguments(engine).items()
    )
    arguments = f"({arguments}, parameters: JSON, id: String)"
    fields = "\n  ".join(f"{name}: {_type(each)}!" for name, each in names_of(engine.outputs.tensors).items())
    return f"""{_INFO}
type Outputs {{
  {fields}
}}

type Query {{
  model: Model!
  infer{arguments}: Outputs!
}}

type Subscription {{
  generate{arguments}: Outputs!
}}
"""


def make_graphql(engine: Engine) -> Any:
    """An ASGI application: queries by HTTP, subscriptions by WebSocket (graphql-transport-ws). Raises `NotServable`."""
    try:
        from ariadne import QueryType, ScalarType, SubscriptionType, make_executable_schema
        from ariadne.asgi import GraphQL
        from ariadne.asgi.handlers import GraphQLTransportWSHandler
        from ariadne.explorer import ExplorerHttp405
    except ModuleNotFoundError:
        raise NotServable(
            "an endpoint of type graphql needs ariadne, which is not installed here; pip install 'forgelog[graphql]'"
        ) from None
    query, subscription = QueryType(), SubscriptionType()
    takes, gives = _arguments(engine), names_of(engine.outputs.tensors)

    @query.field("model")
    def model(*_: Any) -> Mapping[str, Any]:
        return {**descriptions.model_metadata(engine), "version": engine.version, "ready": engine.ready}

    @query.field("infer")
    async def infer(_: Any, _info: Any, /, **arguments: Any) -> Mapping[str, Any]:
        return _outputs(gives, await engine.infer(_request(engine, takes, arguments)))

    @subscription.source("generate")
    async def parts(_: Any, _info: Any, /, **arguments: Any) -> AsyncGenerator[Mapping[str, Any], None]:
        async with aclosing(engine.stream(_request(engine, takes, arguments))) as answers:  # type: ignore[type-var]
            async for answer in answers:
                yield _outputs(gives, answer)

    @subscription.field("generate")
    def part(outputs: Mapping[str, Any], /, *_: Any, **_arguments: Any) -> Mapping[str, Any]:
        return outputs

    scalars = [ScalarType("Long", value_parser=_long), ScalarType("JSON")]
    schema = make_executable_schema(sdl_of(engine), query, subscription, *scalars)
    return GraphQL(
        schema,
        query_parser=_parsed,
        introspection=True,
        explorer=ExplorerHttp405(),  # the page that ariadne has loads programs from elsewhere
        debug=False,
        error_formatter=_error,
        websocket_handler=GraphQLTransportWSHandler(connection_init_wait_timeout=timedelta(seconds=10)),
    )


def check_graphql(content_type: str, body: bytes) -> None:
    """Raises `ServingError` for what is no GraphQL request in JSON."""
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise ServingError(
            Fault.CODING, f"content-type is {content_type[:100]!r}; send the query as JSON, with application/json"
        )
    found = rest.read_object(body, "with query")
    if not isinstance(found.get("query"), str) or not found["query"]:
        raise invalid('query should be a text, such as "{ model { name } }"')


_BAD_MESSAGE = 4400
"""graphql-transport-ws: a message that is none of the protocol's."""

_MOST_REASON = 120
"""Bytes of why a WebSocket is closed: a control frame holds no more."""


def checked_messages(receive: Receive, send: Send) -> Receive:
    """A WebSocket's messages. What is no JSON object with a payload that is one closes it, with why."""

    async def checked() -> MutableMapping[str, Any]:
        message = await receive()
        if message["type"] != "websocket.receive":
            return message
        try:
            if message.get("text") is None:
                raise invalid("a message came as bytes; send text")
            found = rest.read_object(message["text"].encode(errors="replace"), "with type")
            if not isinstance(found.get("payload", {}) or {}, dict):
                raise invalid("payload should be an object")
        except ServingError as error:
            reason = error.message.encode()[:_MOST_REASON].decode(errors="ignore")
            await send({"type": "websocket.close", "code": _BAD_MESSAGE, "reason": reason})
            return {"type": "websocket.disconnect", "code": _BAD_MESSAGE}
        return message

    return checked


MAX_TOKENS = 10_000
"""Most tokens of a query; a tensor that is written into it has one for each number and bracket. While a query is read
and checked, which takes a tenth of a millisecond a token, nobody else is answered: larger tensors come as variables."""

MAX_SELECTIONS = 250
"""Most fields, fragments and directives of a query. Each pair may be compared, and each ``infer`` is a request."""


def _parsed(_context: Any, data: Any) -> Any:
    """A query's document. Raises GraphQLError."""
    from graphql import GraphQLError, parse

    query = data["query"]
    try:
        document = parse(query, max_tokens=MAX_TOKENS)
    except RecursionError:
        raise GraphQLError("the query is nested too deeply; give tensors as variables") from None
    except GraphQLError as error:
        if "tokens" not in error.message:
            raise
        raise GraphQLError(f"the query has more than {MAX_TOKENS:,} tokens; give tensors as variables") from None
    if (count := _selections(document)) > MAX_SELECTIONS:
        problem = f"the query has {count:,} fields, fragments and directives, and at most {MAX_SELECTIONS} are taken"
        raise GraphQLError(f"{problem}; send several queries")
    return document


def _selections(document: Any) -> int:
    """How many fields, fragments and directives a document has. Not recursive: documents come from strangers."""
    count, left = 0, list(document.definitions)
    while left:
        node = left.pop()
        found = node.selection_set.selections if getattr(node, "selection_set", None) else ()
        count += len(found) + len(getattr(node, "directives", None) or ())
        left.extend(found)
    return count


def _long(value: Any) -> int:
    """A whole number of 64 bits. Raises ValueError."""
    if type(value) is not int:
        raise ValueError("is no whole number")
    return value


def _error(error: Any, _debug: bool = False) -> dict[str, Any]:
    """For people: what the engine says, with its code; nothing of the server's inside."""
    told: dict[str, Any] = dict(error.formatted)
    cause = error.original_error
    if isinstance(cause, ServingError):
        told["message"] = cause.message
        told["extensions"] = {"code": cause.fault.code.lower()}
    elif cause is not None and not _of_graphql(cause):
        told["message"] = "the model server failed; its log says why"
    return told


def _of_graphql(error: Any) -> bool:
    from graphql import GraphQLError

    return isinstance(error, GraphQLError)


def _arguments(engine: Engine) -> dict[str, TensorSchema]:
    return names_of(engine.inputs.tensors, ("parameters", "id"))


def _request(engine: Engine, takes: Mapping[str, TensorSchema], arguments: Mapping[str, Any]) -> InferRequest:
    """Raises `ServingError`."""
    inputs = {}
    for name, tensor in takes.items():
        if arguments.get(name) is not None:
            array = inputs[tensor.name] = read_plain(tensor, arguments[name])
            engine.inputs.check_input(tensor.name, tensor.datatype, array.shape)
    parameters = arguments.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise invalid("parameters should be an object")
    return InferRequest("graphql", engine.spec.model.name, "", inputs, parameters, arguments.get("id") or "")


def _outputs(gives: Mapping[str, TensorSchema], answer: Answer) -> dict[str, Any]:
    found = {}
    for name, tensor in gives.items():
        array = answer.outputs[tensor.name]
        flat = rest.json_data(tensor.name, tensor.datatype, array)
        found[name] = np.array(flat, dtype=object).reshape(array.shape).tolist() if array.ndim else flat[0]
    return found


def _type(tensor: TensorSchema) -> str:
    found = "Float" if tensor.datatype in FLOATS else _TYPES.get(tensor.datatype, "Long")
    for _ in tensor.shape:
        found = f"[{found}!]"
    return found
