"""Protobuf answers as plain Python: dicts with attribute access, aware datetimes, lower-case words for enums.

One rule for every message, so a new field or view needs no code here. Knows no particular message.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp

from events.language.nulls import nulls_of
from forgelog.errors import InvalidInput
from forgelog.units import quoted

_CLASSES: dict[str, type[Answer]] = {}
"""Name of a message → the class of its answers; `forgelog.client.rows` fills it."""


class Answer(dict[str, Any]):
    """What the platform answered: a dict whose keys are attributes too (``job.status``).

    Subclasses say which message's answer they are (``message="forgelog.jobs.v1.Job"``) and the types of its keys.
    """

    def __init_subclass__(cls, *, message: str = "", **more: Any) -> None:
        super().__init_subclass__(**more)
        if message:
            _CLASSES[message] = cls

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"there is no {name!r} here; there are {', '.join(self)}") from None


def plain(message: Message) -> Answer:
    """A message as an `Answer`. Fields without presence keep their default; unset messages and optionals are None."""
    record = _CLASSES.get(message.DESCRIPTOR.full_name, Answer)()
    field: Any
    for field in message.DESCRIPTOR.fields:
        name = field.name
        value = getattr(message, name)
        if _is_map(field):
            entry = field.message_type.fields_by_name["value"]
            record[name] = {key: _one(entry, value[key]) for key in sorted(value)}
        elif field.is_repeated:
            record[name] = [_one(field, item) for item in value]
        elif field.has_presence and not message.HasField(name):
            if field.containing_oneof is None or len(field.containing_oneof.fields) == 1:
                record[name] = None  # of a real oneof only the chosen one is shown
        else:
            record[name] = _one(field, value)
    for name, number in nulls_of(message.DESCRIPTOR).items():
        if record.get(name) == number:
            record[name] = None
    return record


def moment(value: Timestamp) -> datetime:
    """A protobuf timestamp as an aware datetime (microseconds)."""
    return datetime.fromtimestamp(value.seconds, UTC).replace(microsecond=value.nanos // 1000)


def timestamp(value: datetime, name: str) -> Timestamp:
    """An aware datetime as a protobuf timestamp. Raises `InvalidInput` that calls it `name` for anything else."""
    if not isinstance(value, datetime):
        raise InvalidInput(f"{name}: {quoted(str(value))} is no datetime; give one that has a time zone")
    if value.utcoffset() is None:  # it would be taken for UTC
        raise InvalidInput(f"{name}: {value.isoformat()} has no time zone; give an aware datetime")
    stamp = Timestamp()
    try:
        stamp.FromDatetime(value.astimezone(UTC))
    except (ValueError, OverflowError):
        raise InvalidInput(f"{name}: {value.isoformat()} is out of range; in UTC it has no date") from None
    return stamp


def word_of(enum: EnumDescriptor, number: int) -> str:
    """``JOB_STATUS_RUNNING`` as ``running``; empty for the unspecified value; the number for one from the future."""
    value = enum.values_by_number.get(number)
    if value is None:
        return str(number)
    prefix = _prefix(enum)
    name = value.name.removeprefix(prefix).lower()
    return "" if name == "unspecified" else name


def name_of(enum: EnumDescriptor, word: str) -> str:
    """``running`` as ``JOB_STATUS_RUNNING``. Raises ValueError that lists the words."""
    name = _prefix(enum) + word.strip().upper().replace("-", "_")
    if name not in enum.values_by_name:
        words = [word_of(enum, number) for number in enum.values_by_number]
        raise ValueError(f"{word!r} is none of {', '.join(item for item in words if item)}")
    return name


def _prefix(enum: EnumDescriptor) -> str:
    zero = enum.values_by_number[0].name
    return zero.removesuffix("UNSPECIFIED")


# Descriptors are `Any` below: the pure and the upb implementation have types of their own for the same thing.


def _is_map(field: Any) -> bool:
    return bool(field.message_type is not None and field.message_type.GetOptions().map_entry)


def _one(field: Any, value: Any) -> Any:
    if field.enum_type is not None:
        return word_of(field.enum_type, value)
    if field.message_type is None:
        return value
    if isinstance(value, Timestamp):
        return moment(value)
    if isinstance(value, Duration):
        return value.ToTimedelta().total_seconds()
    if isinstance(value, Struct | Value):
        from google.protobuf.json_format import MessageToDict  # slow to import, seldom needed

        return MessageToDict(value)
    return plain(value)
