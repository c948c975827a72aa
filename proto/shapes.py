"""The language's models as protobuf shapes: messages, fields, enums with their documentation. No numbers, no text.

Types: datetime → Timestamp, dict → map, tuple → repeated, enum → enum, any JSON → Struct; whole numbers are int32 when
their upper bound fits, else int64. A field is `optional` (explicit presence) when its model's default is not protobuf's
zero value, so that a field left out by a gRPC client means the model's default and never a zero nobody wrote. Where the
default is a number and null means something else, -1 stands for null (`forgelog/common/v1/nulls.proto`).
"""

from __future__ import annotations

import inspect
import types
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import cache, partial
from importlib import import_module
from typing import Annotated, Any, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from pydantic import AwareDatetime, BaseModel
from pydantic.fields import FieldInfo
from pydantic.types import StringConstraints
from pydantic_core import PydanticUndefined

from events.language import registry
from events.language.base import Message, Model
from events.language.contexts import contexts
from events.language.descriptions import descriptions_of
from events.language.planned import Planned
from events.language.proto_names import message_name, package_name, proto_enum
from proto import GenerationError

PACKAGES: Mapping[str, tuple[str, ...]] = {
    "common": registry.SHARED,
    "log": (registry.COMMON,),
    **{name: spec.modules() for name, spec in contexts().items()},
}
"""Context → the modules its types are defined in."""

INT32_MAX = (1 << 31) - 1
STRUCT, VALUE = "google.protobuf.Struct", "google.protobuf.Value"
TIMESTAMP = "google.protobuf.Timestamp"
WELL_KNOWN = {
    TIMESTAMP: "google/protobuf/timestamp.proto",
    STRUCT: "google/protobuf/struct.proto",
    VALUE: "google/protobuf/struct.proto",
}
NULLS = "forgelog/common/v1/nulls.proto"
_SCALARS = {str: "string", bool: "bool", float: "double", bytes: "bytes"}


@dataclass(frozen=True)
class FieldShape:
    name: str
    type: str
    """Protobuf type, with its package when it is another one's."""
    label: str
    """Empty, ``optional`` or ``repeated``."""
    doc: str
    null: int | None = None
    """The number that stands for null; None where null is the default, or not allowed."""


@dataclass(frozen=True)
class MessageShape:
    name: str
    doc: str
    fields: tuple[FieldShape, ...]


@dataclass(frozen=True)
class EnumShape:
    name: str
    doc: str
    values: tuple[tuple[str, str], ...]
    """Name and documentation, ``_UNSPECIFIED`` not included."""


@dataclass
class FileShape:
    context: str
    imports: set[str] = field(default_factory=set)
    enums: list[EnumShape] = field(default_factory=list)
    messages: list[MessageShape] = field(default_factory=list)

    @property
    def path(self) -> str:
        return proto_path(self.context)


class Unmappable(GenerationError):
    """A model's field has no protobuf shape; the text names the field and what to write instead."""


def proto_path(context: str) -> str:
    """The file of a context's types, below ``proto/``."""
    return package_name(context).replace(".", "/") + "/types.proto"


def types_of(context: str) -> list[type[Model] | type[StrEnum]]:
    """The enums, models, commands and events that belong to a context, as they are written down. A model whose name
    begins with ``_`` only shares fields."""
    concrete = {*registry.command_types().values(), *registry.event_types().values()}
    found: list[type[Model] | type[StrEnum]] = []
    for module in PACKAGES[context]:
        for value in vars(import_module(module)).values():
            if not isinstance(value, type) or value.__module__ != module:
                continue
            if issubclass(value, Message):
                if value in concrete and value.context == context:
                    found.append(value)
            elif issubclass(value, Model | StrEnum) and context != "log" and not value.__name__.startswith("_"):
                found.append(value)
    return found


@cache
def _homes() -> dict[type, str]:
    return {kind: context for context in PACKAGES for kind in types_of(context)}


def home_of(kind: type) -> str:
    """The context that a type belongs to."""
    return _homes()[kind]


def qualified(kind: type) -> str:
    """A unique name that stays unique with later contexts: ``jobs.JobSpec``."""
    return f"{home_of(kind)}.{kind.__name__}"


@cache
def _ambiguous() -> frozenset[str]:
    """In lower case, as in anchors."""
    counts = Counter(kind.__name__.lower() for kind in _homes())
    return frozenset(name for name, count in counts.items() if count > 1)


def told_apart(kind: type) -> str:
    """A type's name for people: its class's, or `qualified` where several contexts have a class of that name."""
    return qualified(kind) if kind.__name__.lower() in _ambiguous() else kind.__name__


def name_of(kind: type) -> str:
    """A type's name in its protobuf file."""
    return message_name(kind) if issubclass(kind, Message) else kind.__name__


def files() -> Iterator[FileShape]:
    """One file for each context."""
    for context in PACKAGES:
        file = FileShape(context)
        for kind in types_of(context):
            if issubclass(kind, StrEnum):
                file.enums.append(_enum(kind))
            else:
                file.messages.append(_message(kind, file))
        yield file


def _enum(kind: type[StrEnum]) -> EnumShape:
    docs = descriptions_of(kind)
    return EnumShape(
        kind.__name__,
        inspect.cleandoc(kind.__dict__.get("__doc__") or ""),
        tuple((proto_enum(member), docs.get(member.name, "")) for member in kind),
    )


def _message(kind: type[Model], file: FileShape) -> MessageShape:
    fields = []
    texts = descriptions_of(kind)
    for name, info in kind.model_fields.items():
        try:
            fields.append(_field(name, info, texts.get(name, ""), file))
        except Unmappable as error:
            raise Unmappable(f"{kind.__module__}.{kind.__name__}.{name}: {error}") from None
    return MessageShape(name_of(kind), inspect.cleandoc(kind.__dict__.get("__doc__") or ""), tuple(fields))


def _field(name: str, info: FieldInfo, text: str, file: FileShape) -> FieldShape:
    inner, bounds, optional = unwrap(info.annotation, tuple(info.metadata))
    default = _default(info)
    said = (_sentence(text), _bounds(name, inner, bounds, info, default), _planned(bounds))
    doc = " ".join(filter(None, said))
    origin = get_origin(inner)
    if origin in (tuple, list, dict) and optional:
        raise Unmappable("a list or map can't be None in protobuf; let it be empty instead")
    if origin in (tuple, list, dict) and default:
        raise Unmappable("a list or map that is left out is empty in protobuf; let its default be empty")
    if origin in (tuple, list):
        element, element_bounds, nullable = unwrap(get_args(inner)[0], ())
        if nullable or get_origin(element) is not None:
            raise Unmappable("a list of lists or of optional values; wrap the element in a model")
        return FieldShape(name, _type(element, element_bounds, file), "repeated", doc)
    if origin is dict:
        key, value = get_args(inner)
        if unwrap(value, ())[0] is Any:
            return FieldShape(name, _use(STRUCT, file), "", doc)
        return FieldShape(name, f"map<{_map_key(key)}, {_map_value(value, file)}>", "", doc)
    kind = _type(inner, bounds, file)
    is_message = kind in WELL_KNOWN or (isinstance(inner, type) and issubclass(inner, BaseModel))
    zero = default in (0, "", b"", False) and not isinstance(default, StrEnum)
    explicit = optional or not (info.is_required() or zero)
    null = _null(kind, bounds, file) if optional and default is not None else None
    doc = f"{doc} {null} stands for null." if null is not None else doc
    return FieldShape(name, kind, "optional" if explicit and not is_message else "", doc, null)


def _null(kind: str, bounds: tuple[Any, ...], file: FileShape) -> int:
    """The number that stands for null where the default is another one."""
    lowest: list[Any] = [each.ge for each in bounds if isinstance(each, Ge)]
    if kind not in ("int32", "int64", "double") or not lowest or min(lowest) < 0:
        raise Unmappable("null is not its default, and only a number of at least 0 can say null in protobuf")
    file.imports.add(NULLS)
    return -1


def unwrap(annotation: Any, metadata: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...], bool]:
    """A type without `Annotated` and ``| None``, all metadata on the way, and whether it may be None."""
    optional = False
    while True:
        origin = get_origin(annotation)
        if origin is Annotated:
            annotation, *more = get_args(annotation)
            metadata = (*metadata, *_flat(more))
        elif origin in (Union, types.UnionType):
            rest = [option for option in get_args(annotation) if option is not type(None)]
            optional = optional or len(rest) < len(get_args(annotation))
            if len(rest) != 1:
                raise Unmappable("a union of several types; write a model with one optional field for each")
            annotation = rest[0]
        else:
            return annotation, metadata, optional


def _flat(metadata: list[Any]) -> Iterator[Any]:
    for item in metadata:
        if isinstance(item, FieldInfo):
            yield from item.metadata
        else:
            yield item


def _type(kind: Any, bounds: tuple[Any, ...], file: FileShape) -> str:
    if kind is AwareDatetime or kind is datetime:
        return _use(TIMESTAMP, file)
    if kind is int:
        tops: list[Any] = [b.le if isinstance(b, Le) else b.lt for b in bounds if isinstance(b, Le | Lt)]
        return "int32" if tops and min(tops) <= INT32_MAX else "int64"
    if kind in _SCALARS:
        return _SCALARS[kind]
    home = _homes().get(kind)
    if home is None:
        raise Unmappable(f"{kind!r} has no protobuf type; use str, int, float, bool, datetime, an enum or a model")
    if home == file.context:
        return name_of(kind)
    file.imports.add(proto_path(home))
    return f"{package_name(home)}.{name_of(kind)}"


def _use(well_known: str, file: FileShape) -> str:
    file.imports.add(WELL_KNOWN[well_known])
    return well_known


def _map_key(key: Any) -> str:
    inner, bounds, _ = unwrap(key, ())
    if isinstance(inner, type) and issubclass(inner, str):
        return "string"
    if inner is int:
        return _type(int, bounds, FileShape(""))
    raise Unmappable("a map's key must be a string or a whole number")


def _map_value(value: Any, file: FileShape) -> str:
    inner, bounds, optional = unwrap(value, ())
    if get_origin(inner) is not None:
        raise Unmappable("a map of lists or maps; wrap the value in a model")
    return _use(VALUE, file) if optional else _type(inner, bounds, file)


def _sentence(text: str) -> str:
    text = inspect.cleandoc(text)
    return text if not text or text.endswith((".", ":", ")")) else text + "."


def _bounds(name: str, kind: Any, metadata: tuple[Any, ...], info: FieldInfo, default: Any) -> str:
    """What the model demands of a value, in words: ``0 to 4096. Default 1.``"""
    parts = []
    low = high = ""
    least = most = None
    say = partial(_amount, name)
    for item in metadata:
        if isinstance(item, Ge):
            low = say(item.ge)
        elif isinstance(item, Gt):
            low = f"above {say(item.gt)}"
        elif isinstance(item, Le):
            high = say(item.le)
        elif isinstance(item, Lt):
            top: Any = item.lt
            high = say(top - 1) if kind is int else f"below {say(top)}"
        elif isinstance(item, MinLen):
            least = item.min_length
        elif isinstance(item, MaxLen):
            most = item.max_length
        elif isinstance(item, StringConstraints):
            least = item.min_length if item.min_length is not None else least
            most = item.max_length if item.max_length is not None else most
    if low and high:
        parts.append(f"{low} to {high}.")
    elif low:
        parts.append(f"{low}." if low.startswith("above") else f"At least {low}.")
    elif high:
        parts.append(f"At most {high}.")
    unit = "characters" if kind is str else "entries"
    if least and most:
        parts.append(f"{least} to {most} {unit}.")
    elif most is not None:
        parts.append(f"At most {most} {unit}.")
    elif least:
        parts.append(f"At least {least} {unit}.")
    if not info.is_required() and default is not PydanticUndefined and _worth_saying(default):
        parts.append(f"Default {say(default)}.")
    return " ".join(part[0].upper() + part[1:] for part in parts)


def bounds_of(name: str, info: FieldInfo) -> str:
    """What a model demands of a field, and its default, in words."""
    inner, metadata, _ = unwrap(info.annotation, tuple(info.metadata))
    return _bounds(name, inner, metadata, info, _default(info))


def _default(info: FieldInfo) -> Any:
    return None if info.is_required() else info.get_default(call_default_factory=True, validated_data={})


def _planned(metadata: tuple[Any, ...]) -> str:
    marks = [item for item in metadata if isinstance(item, Planned)]
    return f"Refused for now: awaits {marks[0].by}." if marks and not marks[0].values else ""


def _amount(name: str, value: Any) -> str:
    """A bound or default as people write it: whole binary units for bytes."""
    if isinstance(value, bool | str):
        return str(value).lower()
    if name.endswith("_bytes") and value >= 1024:
        for power, unit in ((6, "EiB"), (5, "PiB"), (4, "TiB"), (3, "GiB"), (2, "MiB"), (1, "KiB")):
            if value % (1 << 10 * power) == 0:
                return f"{value >> 10 * power} {unit}"
    return f"{value:g}" if isinstance(value, float) and abs(value) < 1e6 else str(value)


def _worth_saying(default: Any) -> bool:
    return isinstance(default, str | int | float) and default not in ("", 0) and default is not False
