"""Fields that the language has and the platform does not act on yet: they are refused with their path, never ignored.

A field is marked in its model: ``deadline: Annotated[Timestamp | None, Planned("deadline scheduling")] = None``. When
the platform learns to act on it, the mark goes. The writer refuses a command that sets such a field, before it is
decided (`refuse_planned`): a context has nothing to do for that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, get_args

from pydantic import BaseModel, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from events.language.base import Model
from events.language.common import ErrorCode, FieldError, Refused
from events.language.contexts import ContextsError


@dataclass(frozen=True, slots=True)
class Planned:
    """Marks a field that nothing acts on yet."""

    by: str
    """What will act on it, such as ``the container executor``."""
    values: frozenset[Any] = field(default=frozenset())
    """When given, only these values are planned; the others are acted on."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Says so in the JSON Schema too."""
        described = handler(schema)
        described["x-planned"] = self.by
        return described


@dataclass(frozen=True, slots=True)
class _Plan:
    """What there is to look at in one model class."""

    marked: tuple[tuple[str, Any, Planned], ...]
    """Field, default, mark."""
    inner: tuple[str, ...]
    """Fields whose values may hold marked fields further down."""
    names: frozenset[str]
    """All of these fields."""


def planned_fields(model: Model, path: str = "") -> list[FieldError]:
    """The planned fields that `model` sets to something else than their defaults.

    `path` goes before the fields' own; give a whole command, or its part with the part's name (``spec``).
    """
    found: list[FieldError] = []
    _collect(model, f"{path}." if path else "", found)
    return found


def refuse_planned(model: Model, path: str = "") -> None:
    """Raises `Refused` (unimplemented) with every planned field that `model` sets."""
    if not _holds_planned(type(model)):
        return
    errors = planned_fields(model, path)
    if errors:
        names = ", ".join(error.field for error in errors)
        raise Refused(ErrorCode.UNIMPLEMENTED, f"not acted on yet: {names}; leave these fields out", errors)


def _collect(model: BaseModel, prefix: str, found: list[FieldError]) -> None:
    """Adds to `found`. No generator: every command that has such fields comes through here."""
    plan = _plan(type(model))
    written = model.__pydantic_fields_set__  # the others have their defaults, in which nothing is planned
    if plan.names.isdisjoint(written):
        return
    for name, default, mark in plan.marked:
        if name not in written:
            continue
        value = getattr(model, name)
        if (value in mark.values) if mark.values else (value != default):
            for path in _paths(value, prefix + name):
                problem = f"{_said(value)} not acted on yet" if mark.values else "is not acted on yet"
                found.append(FieldError(field=path, problem=problem, hint=f"leave it out; {mark.by} will act on it"))
    for name in plan.inner:
        if name not in written:
            continue
        _look_into(getattr(model, name), prefix + name, found)


def _look_into(value: Any, path: str, found: list[FieldError]) -> None:
    if isinstance(value, BaseModel):
        _collect(value, f"{path}.", found)
    elif isinstance(value, tuple | list):
        for index, item in enumerate(value):
            _look_into(item, f"{path}[{index}]", found)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            _look_into(item, f"{path}.{key}", found)


def _said(value: Any) -> str:
    return f"{str(value)!r} is"


def _paths(value: Any, path: str) -> Iterator[str]:
    """The field itself, or of a group the fields that were written in it."""
    if isinstance(value, BaseModel) and value.model_fields_set:
        for name in type(value).model_fields:
            if name in value.model_fields_set:
                yield f"{path}.{name}"
    else:
        yield path


@cache
def _plan(model: type[BaseModel]) -> _Plan:
    marked = tuple(_marked(model))
    names = frozenset(name for name, _, _ in marked)
    inner = tuple(
        name
        for name, info in model.model_fields.items()
        if name not in names and any(_holds_planned(kind) for kind in _models_in(info.annotation))
    )
    return _Plan(marked, inner, names.union(inner))


def _marked(model: type[BaseModel]) -> Iterator[tuple[str, Any, Planned]]:
    for name, info in model.model_fields.items():
        for item in info.metadata:
            if isinstance(item, Planned):
                yield name, info.get_default(call_default_factory=True, validated_data={}), item


@cache
def _holds_planned(model: type[BaseModel]) -> bool:
    """Whether it, or a model in it, has a marked field."""
    return any(next(_marked(kind), None) for kind in _reached([model]))


def _reached(models: Iterable[type[BaseModel]]) -> Iterator[type[BaseModel]]:
    """These and all models in them, each once: models may refer to themselves."""
    waiting = [*models]
    seen = set(waiting)
    while waiting:
        model = waiting.pop()
        yield model
        for info in model.model_fields.values():
            new = {*_models_in(info.annotation)} - seen
            seen |= new
            waiting += new


class MarkMisplaced(ContextsError):
    """A mark that marks no field; the text names the field of the model and what to do."""


def check_marks(models: Iterable[type[BaseModel]]) -> None:
    """Raises MarkMisplaced for a mark, in these models or in models in them, that is inside a field's type."""
    for model in _reached(models):
        for name, info in model.model_fields.items():
            if any(isinstance(part, Planned) for part in _parts(info.annotation)):
                raise MarkMisplaced(
                    f"{model.__module__}.{model.__name__}.{name}: a mark Planned is inside the field's type, where "
                    "nobody looks for it; write Annotated[..., Planned(...)] around the whole type"
                )


def _parts(annotation: Any) -> Iterator[Any]:
    """What a type is made of, and the marks of it."""
    for inner in get_args(annotation):
        yield inner
        yield from _parts(inner)


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models_in(inner)


def planned_of(model: type[BaseModel], path: str = "") -> Iterator[tuple[str, Planned]]:
    """Every marked field of a model class and of the models in it, by path: for the reference. A model within itself is
    left out."""
    return _planned_of(model, path, ())


def _planned_of(
    model: type[BaseModel], path: str, around: tuple[type[BaseModel], ...]
) -> Iterator[tuple[str, Planned]]:
    for name, _, mark in _marked(model):
        yield f"{path}{name}", mark
    for name in _plan(model).inner:
        for kind in _models_in(model.model_fields[name].annotation):
            if kind is not model and kind not in around:
                yield from _planned_of(kind, f"{path}{name}.", (*around, model))
