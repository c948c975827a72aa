"""Requests and answers of the Open Inference Protocol v2 as JSON, with Triton's extension for tensors as bytes.

With ``Inference-Header-Content-Length`` a body is JSON of that length and the tensors' bytes behind it. Pure.
https://github.com/kserve/open-inference-protocol, and Triton's extension_binary_data.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from events.language.common import Refused, shown
from events.log.repeats import refuse_repeats
from forgelog.serve.classification import classified
from forgelog.serve.engine import Answer, Engine, InferRequest
from forgelog.serve.problems import Fault, ServingError, invalid
from forgelog.serve.tensors import (
    FLOATS,
    Array,
    checked_shape,
    finite,
    from_nested,
    from_raw,
    known_datatype,
    to_flat,
    to_raw,
)

_PROTOCOL_PARAMETERS = frozenset(
    {"binary_data_output", "binary_data_size", "binary_data", "classification", "sequence_id", "sequence_start",
     "sequence_end", "priority", "timeout", "triton_enable_empty_final_response"}
)  # fmt: skip
"""Parameters that are about the exchange, not for the model."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """An output that a request asks for."""

    name: str
    binary: bool = False
    classes: int = 0
    """How many of the best classes; 0: the tensor itself."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, and how its answer is to be written."""

    request: InferRequest
    wanted: tuple[Wanted, ...]
    """Empty: all outputs."""
    binary: bool
    """Whether outputs that say nothing else come as bytes."""


def read_json(body: bytes | memoryview) -> dict[str, Any]:
    """A request as a JSON object. Raises `ServingError`."""
    return read_object(body, "with inputs")


def read_object(body: bytes | memoryview, such: str) -> dict[str, Any]:
    """A JSON object; `such` says what it should have. Raises `ServingError`."""
    try:
        found = orjson.loads(body)
        refuse_repeats(body if isinstance(body, bytes) else bytes(body))
    except Refused as refused:
        raise invalid(refused.message) from None
    except orjson.JSONDecodeError as error:
        raise invalid(f"the body is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise invalid(f"the body should be a JSON object {such}")
    return found


def read_request(
    engine: Engine, body: bytes, header_length: str | None, protocol: str, model: str, version: str
) -> Asked:
    """A request from its body. `header_length`: of ``Inference-Header-Content-Length``. Raises `ServingError`."""
    json_part: bytes | memoryview = body
    rest = memoryview(b"")
    if header_length is not None:
        length = int(header_length) if header_length.isascii() and header_length.isdigit() else -1
        if not 0 <= length <= len(body):
            raise invalid(
                f"Inference-Header-Content-Length is {header_length[:40]!r}, and the body has {len(body):,} bytes (as "
                "inflated); give the length of its JSON"
            )
        view = memoryview(body)
        json_part, rest = view[:length], view[length:]
    return request_of(engine, read_json(json_part), rest, protocol, model, version)


def request_of(
    engine: Engine, given: Mapping[str, Any], rest: memoryview, protocol: str, model: str, version: str
) -> Asked:
    """A request from its JSON, and the bytes behind that. Raises `ServingError`."""
    engine.check_model(model, version)
    id = read_id(given)
    parameters = _parameters(given, "the request")
    inputs, left = _inputs(engine, given, rest)
    if left:
        raise invalid(f"{left:,} bytes are left behind the tensors; give each input its binary_data_size")
    request = InferRequest(protocol, model, version, inputs, for_model(parameters), id)
    binary = parameters.get("binary_data_output", False)
    if not isinstance(binary, bool):
        raise invalid("parameter binary_data_output should be true or false")
    return Asked(request, _wanted(engine, given), binary)


def read_id(given: Mapping[str, Any]) -> str:
    """A request's id; empty if it has none. Raises `ServingError`."""
    id = given.get("id", "")
    if not isinstance(id, str) or len(id) > 1000:
        raise invalid("id should be a text of at most 1000 characters")
    return id


def for_model(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a request's parameters that are not about the exchange."""
    return {name: value for name, value in parameters.items() if name not in _PROTOCOL_PARAMETERS}


def _inputs(engine: Engine, given: Mapping[str, Any], rest: memoryview) -> tuple[dict[str, Array], int]:
    """The tensors, and how many bytes are left."""
    listed = given.get("inputs")
    if not isinstance(listed, list):
        raise invalid("inputs should be a list of tensors, each with name, datatype, shape and data")
    inputs: dict[str, Array] = {}
    at = 0
    for each in listed:
        if not isinstance(each, dict):
            raise invalid(f"inputs has {shown(each)}; give tensors with name, datatype, shape and data")
        name = each.get("name")
        if not isinstance(name, str):
            raise invalid("an input has no name; give the model's name of it")
        if name in inputs:
            raise invalid(f"input {shown(name)} comes twice; give it once")
        parameters = _parameters(each, f"input {shown(name)}")
        refuse_shared(parameters)
        datatype = known_datatype(name, each.get("datatype"))
        shape = checked_shape(name, each.get("shape"))
        engine.inputs.check_input(name, datatype, shape)
        if (size := parameters.get("binary_data_size")) is None:
            inputs[name] = from_nested(name, datatype, shape, each.get("data"))
            continue
        if "data" in each:
            raise invalid(f"input {shown(name)}: has both data and binary_data_size; give one of them")
        if type(size) is not int or not 0 <= size <= len(rest) - at:
            raise invalid(
                f"input {shown(name)}: binary_data_size is {shown(size)}, and {len(rest) - at:,} bytes are left in the "
                "body"
            )
        inputs[name] = from_raw(name, datatype, shape, rest[at : at + size])
        at += size
    return inputs, len(rest) - at


def _wanted(engine: Engine, given: Mapping[str, Any]) -> tuple[Wanted, ...]:
    listed = given.get("outputs", [])
    if not isinstance(listed, list):
        raise invalid("outputs should be a list, each with a name")
    found = []
    for each in listed:
        name = each.get("name") if isinstance(each, dict) else None
        if not isinstance(name, str):
            raise invalid("an output has no name; give the model's name of it")
        check_output(engine, name)
        parameters = _parameters(each, f"output {shown(name)}")
        refuse_shared(parameters)
        binary, classes = parameters.get("binary_data", None), parameters.get("classification", 0)
        if binary is not None and not isinstance(binary, bool):
            raise invalid(f"output {shown(name)}: binary_data should be true or false")
        check_classes(name, classes)
        found.append(Wanted(name, bool(binary), classes))
    if len({each.name for each in found}) < len(found):
        raise invalid("outputs names one twice; name each once")
    return tuple(found)


def check_output(engine: Engine, name: str) -> None:
    """Raise `ServingError` for an output that the model does not give."""
    if name not in engine.outputs:
        known = ", ".join(shown(each.name) for each in engine.outputs.tensors[:10])
        raise invalid(f"output {shown(name)} is unknown; the model gives {known}")


def check_classes(name: str, classes: Any) -> None:
    if type(classes) is not int or not 0 <= classes <= 100_000:
        raise invalid(f"output {shown(name)}: classification should be a whole number of classes")


def refuse_shared(parameters: Mapping[str, Any]) -> None:
    """Raise `ServingError` for a tensor that is in shared memory, as its parameters say."""
    if "shared_memory_region" in parameters:
        raise ServingError(
            Fault.UNIMPLEMENTED, "shared memory is not served: a replica may be on another machine; send bytes"
        )


def _parameters(given: Mapping[str, Any], what: str) -> Mapping[str, Any]:
    found = given.get("parameters", {})
    if not isinstance(found, dict):
        raise invalid(f"parameters of {what} should be an object")
    return found


def write_answer(engine: Engine, asked: Asked, answer: Answer) -> tuple[bytes, int | None]:
    """The body of an answer, and the length of its JSON if bytes follow. Raises `ServingError`."""
    outputs, raws = [], []
    for name, datatype, array, binary in chosen(engine, asked.wanted, answer, asked.binary):
        told: dict[str, Any] = {"name": name, "datatype": datatype, "shape": array.shape}
        if binary:
            raw = to_raw(datatype, array)
            told["parameters"] = {"binary_data_size": len(raw)}
            raws.append(raw)
        else:
            told["data"] = json_data(name, datatype, array)
        outputs.append(told)
    head: dict[str, Any] = {"model_name": engine.spec.model.name, "model_version": engine.version}
    if asked.request.id:
        head["id"] = asked.request.id
    head["outputs"] = outputs
    text = orjson.dumps(head, option=orjson.OPT_SERIALIZE_NUMPY)
    return (b"".join([text, *raws]), len(text)) if raws else (text, None)


def chosen(
    engine: Engine, wanted: tuple[Wanted, ...], answer: Answer, binary: bool
) -> list[tuple[str, str, Array, bool]]:
    """Name, datatype, array of each output that is to be sent, and whether as bytes."""
    if not wanted:
        return [(each.name, each.datatype, answer.outputs[each.name], binary) for each in engine.outputs.tensors]
    found = []
    for one in wanted:
        tensor = engine.outputs.get(one.name)
        assert tensor is not None, one.name
        datatype, array = tensor.datatype, answer.outputs[one.name]
        if one.classes:
            datatype, array = "BYTES", classified(one.name, array, one.classes, engine.labels, engine.rows_at_once > 0)
        found.append((one.name, datatype, array, one.binary or (binary and not one.classes)))
    return found


def json_data(name: str, datatype: str, array: Array) -> Any:
    """A tensor's elements, row by row, as orjson writes them (with OPT_SERIALIZE_NUMPY). Raises `ServingError`."""
    if datatype in FLOATS and not finite(array):
        raise ServingError(
            Fault.MODEL_FAILED,
            f"output {shown(name)} has NaN or an infinite number, which JSON can't hold; ask for binary_data",
        )
    if datatype != "BYTES":
        return np.ascontiguousarray(array).reshape(-1)
    try:
        return to_flat(datatype, array)
    except UnicodeDecodeError:
        raise ServingError(
            Fault.MODEL_FAILED,
            f"output {shown(name)} has bytes that are no text, which JSON can't hold; ask for binary_data",
        ) from None
