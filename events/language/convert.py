"""Between the language's models and their protobuf messages, both ways and fast.

Driven by the messages' descriptors, so plain dicts (the rows of a read view) convert as well as models. Rules:

- an enum's word (``running``) is the value ``JOB_STATUS_RUNNING``; None and ``_UNSPECIFIED`` are each other;
- None is a field left out; a field with explicit presence that is left out gets the model's default, and where that is
  no None, the number that the field's option names is None;
- datetimes are aware and in UTC on the way back, exact to the microsecond.

Knows no generated module: callers pass the message class.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import Any, TypeVar

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message as ProtoMessage
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.timestamp_pb2 import Timestamp

from events.language.base import Model
from events.language.nulls import nulls_of
from events.language.proto_names import enum_prefix

M = TypeVar("M", bound=Model)
P = TypeVar("P", bound=ProtoMessage)

Convert = Callable[[Any], Any]


def to_message(value: Model | Mapping[str, Any], message_class: type[P]) -> P:
    """A model, or a mapping of the same shape, as a message.

    A mapping may leave out keys or have more than the message, and times in it may be RFC 3339 text. Raises ValueError
    for an enum's word that the message does not know.
    """
    return message_class(**_writer(message_class.DESCRIPTOR)(value))


def to_bytes(model: Model, message_class: Any) -> bytes:
    """A model's message, serialised. Several times as fast as by `to_message` when most fields have their defaults:
    their bytes are kept, and only the fields that were given are converted.

    (A message is the concatenation of its fields in any order, https://protobuf.dev/programming-guides/encoding/.)
    """
    given = model.__pydantic_fields_set__
    values = model.__dict__
    rest = _rest(type(model), frozenset(given), message_class)
    return rest + _serialised({name: values[name] for name in given}, message_class)


@lru_cache(maxsize=1000)
def _rest(kind: type[Model], given: frozenset[str], message_class: Any) -> bytes:
    """The fields of a model that were not given, serialised: they have their defaults."""
    defaults = {
        name: field.get_default(call_default_factory=True)
        for name, field in kind.model_fields.items()
        if name not in given
    }
    return _serialised(defaults, message_class)


def _serialised(values: Mapping[str, Any], message_class: Any) -> bytes:
    made: bytes = to_message(values, message_class).SerializeToString(deterministic=True)
    return made


def from_message(message: ProtoMessage, model_class: type[M]) -> M:
    """The validated model of a message. Raises pydantic's ValidationError as for JSON."""
    return model_class.model_validate(to_dict(message))


def to_dict(message: ProtoMessage) -> dict[str, Any]:
    """A message as plain data: enum words, aware datetimes; fields without a value left out."""
    data: dict[str, Any] = _reader(message.DESCRIPTOR)(message)
    return data


# To messages


@cache
def _writer(descriptor: Descriptor) -> Convert:
    """Gathers a message's arguments: protobuf builds nested messages from dicts faster than Python can. The fields'
    converters are made at the first use, since types may refer to themselves."""
    plan: list[tuple[str, bool, Convert | None]] = []
    nulls = nulls_of(descriptor)

    def write(value: Any) -> Any:
        if isinstance(value, ProtoMessage):
            return value
        if not plan:
            plan[:] = [(f.name, f.has_presence, _field_writer(f)) for f in descriptor.fields]  # at once: threads
        get = value.__dict__.get if isinstance(value, Model) else value.get
        given = {}
        for name, has_presence, convert in plan:
            item = get(name)
            # Of a field without presence, what is empty, zero or false is the same as nothing, and handing it on costs.
            if item or (has_presence and item is not None):
                given[name] = item if convert is None else convert(item)
        for name, number in nulls.items():
            if get(name, number) is None:
                given[name] = number
        return given

    return write


def _field_writer(field: FieldDescriptor) -> Convert | None:
    """How a field's value is converted; None when protobuf takes it as it is."""
    if (values := _map_value(field)) is not None:
        each = _value_writer(values)
        return None if each is None else lambda mapping: {key: each(item) for key, item in mapping.items()}
    one = _value_writer(field)
    if field.is_repeated:
        return None if one is None else lambda items: [one(item) for item in items]
    return one


def _value_writer(field: FieldDescriptor) -> Convert | None:
    if field.enum_type is not None:
        return _enum_numbers(field.enum_type).__getitem__
    message_type = field.message_type
    if message_type is None:
        return None
    name = message_type.full_name
    if name == "google.protobuf.Timestamp":
        return _timestamp
    if name == "google.protobuf.Struct":
        return None if not _is_map_value(field) else _struct
    if name == "google.protobuf.Value":
        return _json_value
    write = _writer(message_type)
    if not _is_map_value(field):
        return write
    message_class = GetMessageClass(message_type)  # a map's values are the one place where dicts are not taken
    return lambda value: message_class(**write(value))


class _Words(dict[Any, int]):
    """Words, protobuf names and numbers of an enum, to numbers."""

    def __init__(self, enum: EnumDescriptor) -> None:
        prefix = enum_prefix(enum.name)
        super().__init__({value.name.removeprefix(prefix).lower(): value.number for value in enum.values})
        self.update({value.name: value.number for value in enum.values})
        self.update({value.number: value.number for value in enum.values})
        self._name = enum.name

    def __missing__(self, word: Any) -> int:
        words = ", ".join(name for name in self if isinstance(name, str) and name.islower() and name != "unspecified")
        raise ValueError(f"{self._name}: {word!r} is none of {words}")


@cache
def _enum_numbers(enum: EnumDescriptor) -> _Words:
    return _Words(enum)


@lru_cache(maxsize=1000)
def _timestamp(value: datetime | str) -> Any:
    """A time; within JSON columns times are RFC 3339 text. (Kept, since the events of a batch have one time. Nobody
    changes it: protobuf copies what a message is made of.)"""
    stamp = Timestamp()
    stamp.FromDatetime(datetime.fromisoformat(value) if isinstance(value, str) else value)
    return stamp


def _struct(value: Mapping[str, Any]) -> Any:
    from google.protobuf.struct_pb2 import Struct

    struct = Struct()
    struct.update(dict(value))
    return struct


def _json_value(value: Any) -> Any:
    from google.protobuf.struct_pb2 import NULL_VALUE, Value

    if value is None:
        return Value(null_value=NULL_VALUE)
    return Value(bool_value=value) if isinstance(value, bool) else Value(string_value=str(value))


# From messages


@cache
def _reader(descriptor: Descriptor) -> Convert:
    plan: list[tuple[str, bool, Convert | None]] = []
    nulls = nulls_of(descriptor)

    def read(message: Any) -> dict[str, Any]:
        if not plan:
            plan[:] = [(field.name, field.has_presence, _field_reader(field)) for field in descriptor.fields]
        data = {}
        for name, has_presence, convert in plan:
            if has_presence and not message.HasField(name):
                continue
            value = getattr(message, name)
            if convert is not None:
                value = convert(value)
                if value is None:
                    continue
            data[name] = value
        for name, number in nulls.items():
            if data.get(name) == number:
                data[name] = None
        return data

    return read


def _field_reader(field: FieldDescriptor) -> Convert | None:
    if (values := _map_value(field)) is not None:
        each = _value_reader(values)
        return dict if each is None else lambda mapping: {key: each(item) for key, item in mapping.items()}
    one = _value_reader(field)
    if field.is_repeated:
        return list if one is None else lambda items: [one(item) for item in items]
    return one


def _value_reader(field: FieldDescriptor) -> Convert | None:
    if field.enum_type is not None:
        prefix = enum_prefix(field.enum_type.name)
        words: dict[int, str | None] = {
            value.number: value.name.removeprefix(prefix).lower() for value in field.enum_type.values
        }
        words[0] = None
        # A number from the future is handed on as it is: validation names the field and the words it takes.
        return lambda number: words.get(number, str(number))
    message_type = field.message_type
    if message_type is None:
        return None
    name = message_type.full_name
    if name == "google.protobuf.Timestamp":
        return lambda stamp: stamp.ToDatetime(tzinfo=UTC)
    if name == "google.protobuf.Struct":
        return _plain_struct
    if name == "google.protobuf.Value":
        return _plain_value
    return _reader(message_type)


def _plain_struct(struct: Any) -> dict[str, Any]:
    return {key: _plain_value(value) for key, value in struct.fields.items()}


def _plain_value(value: Any) -> Any:
    kind = value.WhichOneof("kind")
    if kind is None or kind == "null_value":
        return None
    if kind == "struct_value":
        return _plain_struct(value.struct_value)
    if kind == "list_value":
        return [_plain_value(item) for item in value.list_value.values]
    return getattr(value, kind)


def _map_value(field: FieldDescriptor) -> FieldDescriptor | None:
    """The field of a map's values; None when `field` is no map."""
    if field.message_type is None or not field.message_type.GetOptions().map_entry:
        return None
    return field.message_type.fields_by_name["value"]


def _is_map_value(field: FieldDescriptor) -> bool:
    return field.containing_type is not None and bool(field.containing_type.GetOptions().map_entry)
