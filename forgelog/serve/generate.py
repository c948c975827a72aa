"""Triton's generate extension: an object of inputs by name, answered so, whole or part by part.

    POST .../generate         {"prompt": "Once", "max_tokens": 8}  →  {"model_name": ..., "text": "..."}
    POST .../generate_stream  the same; answers are Server-Sent Events, each with such an object

What names no input is a parameter. A body with ``inputs`` is a request of the protocol's infer, and is answered part by
part in that form.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any

import orjson

from events.language.common import shown
from forgelog.serve import rest
from forgelog.serve.engine import Answer, Engine, InferRequest
from forgelog.serve.http_answers import TRAILERS, Receive, Send, answer
from forgelog.serve.problems import Fault, ServingError, invalid
from forgelog.serve.schema import TensorSchema
from forgelog.serve.statistics import Timing
from forgelog.serve.tensors import Array, from_nested

Part = tuple[bytes, Timing]
"""Of an answer, written; and where the time of the answer went so far."""


async def generate(engine: Engine, body: Mapping[str, Any], model: str, version: str, send: Send) -> None:
    """The whole answer. Raises `ServingError`."""
    asked = _asked(engine, body, model, version)
    parts = [part async for part in _parts(engine, asked, plain="inputs" not in body)]
    if len(parts) != 1:
        raise ServingError(
            Fault.INVALID, f"the model answers in {len(parts)} parts, and generate gives one; ask generate_stream"
        )
    ((written, timing),) = parts
    await answer(send, 200, written, headers=engine.timing_headers(timing))


async def generate_stream(
    engine: Engine, body: Mapping[str, Any], model: str, version: str, receive: Receive, send: Send
) -> None:
    """Server-Sent Events, each as soon as it is there; where their time went is told in the trailer. Raises
    `ServingError` before the first; what fails later is an event with ``error``, the last one."""
    asked = _asked(engine, body, model, version)
    async with aclosing(_parts(engine, asked, plain="inputs" not in body)) as parts:  # type: ignore[type-var]
        first = await anext(parts, None)
        spent = [first[1]] if first is not None else []
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [
                    (b"content-type", b"text/event-stream; charset=utf-8"),
                    (b"cache-control", b"no-cache"),
                    (b"x-accel-buffering", b"no"),
                ],
            }
        )
        leaving = asyncio.create_task(_left(receive))
        try:
            if first is not None:
                await _event(send, first[0])
            await _until_left(_events(parts, send, spent), leaving)
        finally:
            leaving.cancel()
    if not leaving.done() or leaving.cancelled():
        trailers = engine.timing_headers(spent[-1]) if spent else {}
        await send({"type": "http.response.body", "body": b"", TRAILERS: trailers})


async def _events(parts: AsyncIterator[Part], send: Send, spent: list[Timing]) -> None:
    try:
        async for part, timing in parts:
            spent[:] = [timing]
            await _event(send, part)
    except ServingError as error:
        await _event(send, orjson.dumps({"error": error.message}))


async def _event(send: Send, data: bytes) -> None:
    await send({"type": "http.response.body", "body": b"data: " + data + b"\n\n", "more_body": True})


async def _left(receive: Receive) -> None:
    """Returns when the client is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _until_left(work: Any, leaving: asyncio.Task[None]) -> None:
    """Does it to its end, or until the client is gone: then the model makes no more parts."""
    doing = asyncio.ensure_future(work)
    await asyncio.wait([doing, leaving], return_when=asyncio.FIRST_COMPLETED)
    if not doing.done():
        doing.cancel()
    try:
        await doing
    except asyncio.CancelledError:
        if not leaving.done():
            raise


async def _parts(engine: Engine, asked: rest.Asked, *, plain: bool) -> AsyncIterator[Part]:
    async with aclosing(engine.stream(asked.request)) as answers:  # type: ignore[type-var]
        async for part in answers:
            written = _plain(engine, asked, part) if plain else rest.write_answer(engine, asked, part)[0]
            yield written, part.timing


def _plain(engine: Engine, asked: rest.Asked, answer: Answer) -> bytes:
    """Outputs by name: one element by itself, several as a list."""
    told: dict[str, Any] = {"model_name": engine.spec.model.name, "model_version": engine.version}
    if asked.request.id:
        told["id"] = asked.request.id
    for name, datatype, array, _ in rest.chosen(engine, (), answer, False):
        elements = rest.json_data(name, datatype, array)
        told[name] = elements[0] if array.size == 1 else elements
    return orjson.dumps(told, option=orjson.OPT_SERIALIZE_NUMPY)


def _asked(engine: Engine, body: Mapping[str, Any], model: str, version: str) -> rest.Asked:
    """Raises `ServingError`."""
    if "inputs" in body:
        asked = rest.request_of(engine, body, memoryview(b""), "rest", model, version)
        return rest.Asked(asked.request, asked.wanted, False)
    given = body.get("parameters", {})
    if not isinstance(given, dict):
        raise invalid("parameters should be an object")
    inputs: dict[str, Array] = {}
    for each in engine.inputs.tensors:
        if each.name in body:
            array = inputs[each.name] = read_plain(each, body[each.name])
            engine.inputs.check_input(each.name, each.datatype, array.shape)
    others = {name: value for name, value in body.items() if name not in inputs and name not in ("id", "parameters")}
    request = InferRequest("rest", model, version, inputs, {**others, **given}, rest.read_id(body))
    return rest.Asked(request, (), False)


def read_plain(tensor: TensorSchema, value: Any) -> Array:
    """An input from what people write: one element, a list, or lists in lists. Raises `ServingError`."""
    data = value if isinstance(value, list) else [value]
    shape = list(_shape(data))
    fixed = [length for length in tensor.shape if length >= 0]
    if len(shape) == 1 and len(tensor.shape) > 1 and fixed == list(tensor.shape[1:]):
        product = math.prod(fixed)
        if product and len(data) % product == 0:
            shape = [len(data) // product, *fixed]
    while len(shape) < len(tensor.shape):
        shape.insert(0, 1)
    if len(shape) != len(tensor.shape):
        raise invalid(
            f"input {shown(tensor.name)}: has {len(shape)} dimensions, and the model takes {len(tensor.shape)}"
        )
    flat = data
    while flat and isinstance(flat[0], list):
        flat = [each for one in flat for each in (one if isinstance(one, list) else [one])]
    return from_nested(tensor.name, tensor.datatype, tuple(shape), flat)


def _shape(data: list[Any]) -> tuple[int, ...]:
    shape: tuple[int, ...] = (len(data),)
    while data and isinstance(data[0], list) and len(shape) < 32:
        data = data[0]
        shape = (*shape, len(data))
    return shape
