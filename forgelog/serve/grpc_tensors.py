"""Requests and answers of the protocol's gRPC messages. Pure."""

from __future__ import annotations

from typing import Any

import numpy as np

from events.language.common import shown
from forgelog.serve import rest
from forgelog.serve.engine import Answer, Engine, InferRequest
from forgelog.serve.problems import invalid
from forgelog.serve.tensors import (
    DTYPES,
    Array,
    check_count,
    checked_shape,
    from_raw,
    known_datatype,
    of_objects,
    to_raw,
)
from forgelog_pb.inference import grpc_service_pb2 as pb

_CONTENTS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents", "INT16": "int_contents", "INT32": "int_contents", "INT64": "int64_contents",
    "UINT8": "uint_contents", "UINT16": "uint_contents", "UINT32": "uint_contents", "UINT64": "uint64_contents",
    "FP32": "fp32_contents", "FP64": "fp64_contents", "BYTES": "bytes_contents",
}  # fmt: skip
"""Datatype → the field of `InferTensorContents`. FP16 and BF16 come as bytes only."""


def read_request(engine: Engine, message: Any, protocol: str = "grpc") -> rest.Asked:
    """A request from a `ModelInferRequest`. Raises `ServingError`."""
    engine.check_model(message.model_name, message.model_version)
    parameters = _values(message.parameters)
    raws = message.raw_input_contents
    if raws and len(raws) != len(message.inputs):
        raise invalid(
            f"raw_input_contents has {len(raws)} tensors, and inputs has {len(message.inputs)}; give one for each"
        )
    inputs: dict[str, Array] = {}
    for number, each in enumerate(message.inputs):
        name = each.name
        if name in inputs:
            raise invalid(f"input {shown(name)} comes twice; give it once")
        rest.refuse_shared(each.parameters)
        datatype = known_datatype(name, each.datatype)
        shape = checked_shape(name, list(each.shape))
        engine.inputs.check_input(name, datatype, shape)
        if raws:
            if each.HasField("contents"):
                raise invalid(f"input {shown(name)}: has contents, and raw_input_contents has it too; give one of them")
            inputs[name] = from_raw(name, datatype, shape, raws[number])
        else:
            inputs[name] = _from_contents(name, datatype, shape, each.contents)
    wanted = []
    for each in message.outputs:
        rest.check_output(engine, each.name)
        rest.refuse_shared(each.parameters)
        classes = _values(each.parameters).get("classification", 0)
        rest.check_classes(each.name, classes)
        wanted.append(rest.Wanted(each.name, True, classes))
    own = rest.for_model(parameters)
    request = InferRequest(protocol, message.model_name, message.model_version, inputs, own, message.id)
    return rest.Asked(request, tuple(wanted), True)


def wants_final(message: Any) -> bool:
    """Whether a stream's request asks for an empty answer behind its last part."""
    return bool(_values(message.parameters).get("triton_enable_empty_final_response", False))


def write_answer(engine: Engine, asked: rest.Asked, answer: Answer) -> Any:
    """A `ModelInferResponse`."""
    response = pb.ModelInferResponse(
        model_name=engine.spec.model.name, model_version=engine.version, id=asked.request.id
    )
    for name, datatype, array, _ in rest.chosen(engine, asked.wanted, answer, True):
        response.outputs.add(name=name, datatype=datatype, shape=array.shape)
        response.raw_output_contents.append(to_raw(datatype, array))
    return response


def _values(parameters: Any) -> dict[str, Any]:
    found = {}
    for name, value in parameters.items():
        kind = value.WhichOneof("parameter_choice")
        if kind is None:
            raise invalid(f"parameter {shown(name)} has no value")
        found[name] = getattr(value, kind)
    return found


def _from_contents(name: str, datatype: str, shape: tuple[int, ...], contents: Any) -> Array:
    field = _CONTENTS.get(datatype)
    if field is None:
        raise invalid(f"input {shown(name)}: {datatype} comes as bytes only; send raw_input_contents")
    for other, values in contents.ListFields():
        if other.name != field:
            raise invalid(f"input {shown(name)}: has {other.name} ({len(values)}), and {datatype} comes in {field}")
    values = getattr(contents, field)
    check_count(name, len(values), shape)
    if datatype == "BYTES":
        return of_objects(list(values), shape)
    try:
        return np.array(values, dtype=DTYPES[datatype]).reshape(shape)
    except OverflowError:
        raise invalid(f"input {shown(name)}: has a number that {datatype} can't hold") from None
