"""What a model takes and gives, and whether a request's tensors are that. Pure.

A request is checked before it waits for the model, so that what is wrong with it meets nobody else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from events.language.common import shown
from events.language.deployments.serving import TensorRule
from events.language.experiments.registry.models import TensorSpec
from forgelog.serve.problems import Fault, NotServable, ServingError, invalid
from forgelog.serve.tensors import DTYPES, FLOATS, Array, datatype_kept, datatype_of, finite

Tensors = Mapping[str, Array]
"""Name → array."""


@dataclass(frozen=True, slots=True)
class TensorSchema:
    """A tensor that a model takes or gives."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    """-1 for any length; the first is the number of rows where a model can compute several at once."""
    required: bool = True


def of_signature(specs: Iterable[TensorSpec], unnamed: str = "input") -> tuple[TensorSchema, ...]:
    """The tensors that a registered signature names. A column of a table is a tensor of one dimension. `unnamed`: how
    the names of those without one begin. Raises `NotServable` for a type that no request can have."""
    found = []
    for number, spec in enumerate(specs):
        name = spec.name or f"{unnamed}_{number}"
        try:
            datatype = datatype_of(spec.type)
        except KeyError:
            raise NotServable(
                f"the signature says that {shown(name)} is {shown(spec.type)}, which requests can't have; register the "
                "version with a type such as float32, int64 or string"
            ) from None
        found.append(TensorSchema(name, datatype, spec.shape or (-1,), spec.required))
    return tuple(found)


class Schema:
    """The tensors of one side of a model, with the rules for their values."""

    def __init__(self, tensors: Sequence[TensorSchema], rules: Sequence[TensorRule] = ()) -> None:
        """Raises `NotServable` for a rule about a tensor that there is not."""
        self.tensors = tuple(tensors)
        self._by_name = {tensor.name: tensor for tensor in tensors}
        self._rules = {rule.name: rule for rule in rules}
        if unknown := self._rules.keys() - self._by_name.keys():
            raise NotServable(
                f"schemas has a rule for {shown(min(unknown))}, and the model has {_names(self._by_name)}"
            )

    def __contains__(self, name: str) -> bool:
        return name in self._by_name

    def get(self, name: str) -> TensorSchema | None:
        return self._by_name.get(name)

    def check_input(self, name: str, datatype: str, shape: tuple[int, ...]) -> None:
        """Raise `ServingError` unless a tensor of this kind may come. Called before its bytes are read."""
        tensor = self._by_name.get(name)
        if tensor is None:
            raise invalid(f"input {shown(name)} is unknown; the model takes {_names(self._by_name)}")
        if datatype != tensor.datatype:
            raise invalid(f"input {shown(name)}: datatype is {datatype}, and the model takes {tensor.datatype}")
        if not fits(shape, tensor.shape):
            raise invalid(
                f"input {shown(name)}: shape is {list(shape)}, and the model takes {list(tensor.shape)}"
                + (" (-1: any length)" if -1 in tensor.shape else "")
            )
        if 0 in shape and 0 not in tensor.shape:
            raise invalid(f"input {shown(name)}: shape {list(shape)} has no element; give at least one row")

    def check_inputs(self, inputs: Tensors) -> None:
        """Raise `ServingError` unless these tensors, each checked by itself, are what the model takes."""
        for tensor in self.tensors:
            array = inputs.get(tensor.name)
            if array is None:
                if tensor.required:
                    raise invalid(f"input {shown(tensor.name)} is missing; the model takes {_names(self._by_name)}")
                continue
            rule = self._rules.get(tensor.name)
            if not (rule is not None and rule.allow_nan) and not finite(array):
                raise invalid(f"input {shown(tensor.name)}: has NaN or an infinite number; give finite ones")
            if rule is not None and (problem := _broken(rule, array)):
                raise invalid(f"input {shown(tensor.name)}: {problem}")

    def fitted(self, inputs: Tensors, who: str) -> dict[str, Array]:
        """Arrays that a script made, in the types of this schema. Raises `ServingError`."""
        found = {}
        for name, array in inputs.items():
            if (tensor := self._by_name.get(name)) is None:
                raise invalid(f"{who} gave {shown(name)}, and the model takes {_names(self._by_name)}")
            found[name] = _in_type(tensor, array, who)
            self.check_input(name, tensor.datatype, found[name].shape)
        self.check_inputs(found)
        return found

    def answered(self, outputs: Tensors, who: str) -> dict[str, Array]:
        """What a model or a script gave, in the types of this schema. Raises `ServingError`: the model failed."""
        found = {}
        for tensor in self.tensors:
            array = outputs.get(tensor.name)
            if array is None:
                raise _failed(f"{who} gave no output {shown(tensor.name)}, but {_names(outputs)}")
            kept = found[tensor.name] = _in_type(tensor, array, who)
            if not fits(kept.shape, tensor.shape):
                raise _failed(
                    f"{who} gave output {shown(tensor.name)} of shape {list(kept.shape)}, and its signature says "
                    f"{list(tensor.shape)}"
                )
            if (rule := self._rules.get(tensor.name)) is not None:
                if not rule.allow_nan and not finite(kept):
                    raise _failed(f"output {shown(tensor.name)} of {who} has NaN or an infinite number")
                if problem := _broken(rule, kept):
                    raise _failed(f"output {shown(tensor.name)} of {who}: {problem}")
        return found


def fits(shape: Sequence[int], wanted: Sequence[int]) -> bool:
    """Whether a shape is one of those that a schema means."""
    return len(shape) == len(wanted) and all(b in (-1, a) for a, b in zip(shape, wanted, strict=True))


def seen(outputs: Tensors) -> tuple[TensorSchema, ...]:
    """The schema of a model that says none, after its first answer: any length in each dimension."""
    return tuple(TensorSchema(name, datatype_kept(array), (-1,) * array.ndim) for name, array in outputs.items())


def without_rows(tensor: TensorSchema) -> TensorSchema:
    """As Triton's configuration tells of a model that computes several rows at once."""
    return replace(tensor, shape=tensor.shape[1:])


def _in_type(tensor: TensorSchema, array: Array, who: str) -> Array:
    wanted = DTYPES[tensor.datatype]
    if array.dtype == wanted:
        return array
    try:
        datatype = datatype_kept(array)
    except KeyError:
        datatype = ""
    if datatype == tensor.datatype or (datatype in FLOATS and tensor.datatype in FLOATS):
        return array.astype(wanted)
    if datatype and tensor.datatype != "BYTES" and np.can_cast(array.dtype, wanted, "safe"):
        return array.astype(wanted)
    raise _failed(
        f"{who} gave {shown(tensor.name)} as {datatype or array.dtype}, and its signature says {tensor.datatype}"
    )


def _broken(rule: TensorRule, array: Array) -> str:
    """In which way a tensor breaks a rule; empty if it keeps it."""
    if array.dtype.kind not in "iuf" or not array.size or (rule.minimum is None and rule.maximum is None):
        return ""
    with np.errstate(invalid="ignore"):
        least, most = float(np.nanmin(array)), float(np.nanmax(array))
    if rule.minimum is not None and least < rule.minimum:
        return f"has {least:g}, and the least that is allowed is {rule.minimum:g}"
    if rule.maximum is not None and most > rule.maximum:
        return f"has {most:g}, and the most that is allowed is {rule.maximum:g}"
    return ""


def _names(names: Iterable[str]) -> str:
    found = sorted(names)
    return ", ".join(shown(name) for name in found[:10]) + (", ..." if len(found) > 10 else "") if found else "none"


def _failed(message: str) -> ServingError:
    return ServingError(Fault.MODEL_FAILED, message)


def size_of(inputs: Tensors) -> int:
    """Bytes of all tensors."""
    return sum(array.nbytes for array in inputs.values())


def rows_of(inputs: Tensors) -> int:
    """How many rows they have."""
    first = next(iter(inputs.values()), None)
    return int(first.shape[0]) if first is not None and first.ndim else 1


def zeros_of(tensor: TensorSchema, rows: int) -> Array:
    """A tensor of this description; lengths that it leaves open are 1."""
    shape = tuple(1 if length < 0 else length for length in tensor.shape)
    shape = (rows, *shape[1:]) if tensor.shape[:1] == (-1,) else shape
    zeros = np.zeros(shape, dtype=DTYPES[tensor.datatype])
    if tensor.datatype == "BYTES":
        zeros[...] = b""
    return zeros
