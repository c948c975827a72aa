"""States as JSON-ready data and back, by their types: for deciders that do not override `dump` and `load`.

Pydantic's `TypeAdapter` (https://docs.pydantic.dev/latest/concepts/type_adapter/) takes dataclasses, models, typed
dicts and what they are made of: dates, enums, sets, tuples, maps with numbers as keys. It costs about as much as code
written by hand; a state that is large, or that has a compact form (a set of task numbers as ranges), is better off with
its own `dump`.
"""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import Annotated, Any, Generic, TypeVar, get_args, get_origin

import orjson
from blake3 import blake3
from pydantic import PlainSerializer, TypeAdapter
from pydantic.errors import PydanticUserError
from pydantic_core import from_json, to_json

Names = Annotated[set[str], PlainSerializer(sorted)]
"""A set of texts in a state. Its dump is in order: that of a plain set differs from process to process."""


class StateTypeError(TypeError):
    """A decider's state can't be dumped by its type; the text names both, and says what to do."""


def adapter_of(decider: type[Any]) -> TypeAdapter[Any]:
    """The adapter of the type of a decider's state. Raises StateTypeError."""
    kept: Any = decider  # for mypy no class of a generic can be hashed
    return _adapter_of(kept)


def dumped(decider: type[Any], state: Any) -> Any:
    """A decider's state as JSON-ready data. Raises StateTypeError, and what pydantic raises for its values."""
    data = adapter_of(decider).dump_python(state, mode="json")
    # JSON has no infinity and no NaN (RFC 8259). Words stand for them: as null, a state could not be loaded any more.
    return from_json(to_json(data, inf_nan_mode="strings"))


@cache
def _adapter_of(decider: Any) -> TypeAdapter[Any]:
    state = _state_of(decider)
    remedy = "write `dump` and `load`"
    if state is None:
        raise StateTypeError(f"{decider.__name__} does not say what its state is; write Decider[State], or {remedy}")
    if (
        isinstance(state, type)
        and dataclasses.is_dataclass(state)
        and (hidden := [field.name for field in dataclasses.fields(state) if not field.init])
    ):
        raise StateTypeError(
            f"{decider.__name__}: {state.__name__}.{hidden[0]} is no argument of its class and would be lost; {remedy}"
        )
    try:
        return TypeAdapter(state)
    except (PydanticUserError, NameError) as error:
        what = str(error).splitlines()[0]
        raise StateTypeError(f"{decider.__name__}: its state has no data of its own: {what}; {remedy}") from None


def shape_of(decider: type[Any]) -> str:
    """A digest of the shape of a state's type: snapshots of another shape are not loaded. Raises StateTypeError."""
    try:
        schema = adapter_of(decider).json_schema()
    except PydanticUserError as error:
        what = str(error).splitlines()[0]
        raise StateTypeError(f"{decider.__name__}: {what}; write `dump` and `load`") from None
    return blake3(orjson.dumps(schema, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]


def _state_of(decider: Any) -> Any:
    """The type argument that a class, or one of its bases, gives `Decider`."""
    for kind in decider.__mro__:
        for base in getattr(kind, "__orig_bases__", ()):
            if get_origin(base) is not Generic and (given := get_args(base)) and not isinstance(given[0], TypeVar):
                return given[0]
    return None
