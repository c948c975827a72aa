"""Messages as Kafka records: the CloudEvents 1.0 Kafka binding in binary mode, plus the log's own three headers.

``ce_*`` headers and ``content-type`` carry the attributes, the value is the model's JSON. The writer adds:

- ``fl_epoch``: offset of the writer's `WriterStarted` marker (decimal);
- ``fl_cause``: ``<position>|<mark>|<index>/<count>``: the input this record follows from, what is needed to resume
  there (the payload digest of a command, the epoch of an event), and which of the input's `count` records it is.
  A command's digest is followed by ``:<project>`` where the command's project is not the record's ``ce_project``;
- ``fl_hash``: the partition's hash chain up to and including this record, hex (see `events.log.chain`).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple

from prometheus_client import Counter
from pydantic import ValidationError

from events.language.base import Event, Message, keep_json
from events.language.bounds import MAX_ATTRIBUTE_BYTES, REPLACEMENT, TIME_MAX, TIME_MIN, mended
from events.language.common import DEFAULT_ACTOR, DEFAULT_PROJECT
from events.language.registry import event_type, lookup, newest, upcast
from events.language.wording import told
from events.log.envelope import Meta, Position, Recorded
from events.log.records import Headers, Record

EPOCH, CAUSE, HASH = "fl_epoch", "fl_cause", "fl_hash"
MARKER = b"forgelog.log.v1.WriterStarted"

SPEC_VERSION = ("ce_specversion", b"1.0")
CONTENT_TYPE = ("content-type", b"application/json")
"""``datacontenttype``, which the Kafka binding's binary mode writes without the prefix. Readers ignore it: records of
earlier versions have none, and a body is always JSON."""

_CE = (
    ("ce_id", "id"),
    ("ce_type", "type"),
    ("ce_source", "source"),
    ("ce_subject", "subject"),
    ("ce_project", "project"),
    ("ce_actor", "actor"),
    ("ce_correlationid", "correlation"),
    ("ce_causationid", "causation"),
    ("traceparent", "traceparent"),
    ("ce_origin", "origin"),
)


log = logging.getLogger("forgelog.log")

replacements = Counter("forgelog_replacements", "Records read with replacements for values that no table can hold")

ATTRIBUTES = tuple(header for header, _ in _CE)
_ONCE = (*ATTRIBUTES, "ce_time")
"""The headers that a record may have once."""


class Undecodable(Exception):
    """A record that is no message of the language; the text says why and what the producer should send."""


class UnknownType(Undecodable):
    """A type this version does not know: an event from the future, or a misspelt command."""

    def __init__(self, type_name: str, position: Position) -> None:
        super().__init__(
            f"{position}: unknown type {type_name!r}. If a newer version wrote it, upgrade this service; "
            f"nothing behind it in this partition is read until then."
        )
        self.type_name = type_name
        self.position = position


class Cause(NamedTuple):
    """The parsed ``fl_cause``."""

    position: Position
    mark: str
    part: int
    parts: int
    project: str = ""
    """The command's project, if it is not the record's."""

    def __str__(self) -> str:
        project = f":{self.project}" if self.project else ""
        return f"{self.position}|{self.mark}{project}|{self.part}/{self.parts}"

    @classmethod
    def parse(cls, text: str) -> Cause:
        topic, number, offset, mark = parse_cause(text)
        mark, _, project = mark.partition(":")
        index, _, count = text.rpartition("|")[2].partition("/")
        return cls(Position(topic, number, offset), mark, int(index), int(count), project)


def parse_cause(text: str) -> tuple[str, int, int, str]:
    """Topic, partition, offset and mark (with the command's project, if it is there) of an ``fl_cause``."""
    place, mark, _ = text.split("|")
    topic, _, place = place.rpartition("/")
    number, _, offset = place.partition("@")
    return topic, int(number), int(offset), mark


def encode_time(time: datetime) -> str:
    """RFC 3339 in UTC with microseconds."""
    return time.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def headers_of(meta: Meta) -> list[tuple[str, bytes]]:
    """The CloudEvents headers of a message."""
    headers = [SPEC_VERSION, CONTENT_TYPE]
    for header, attribute in _CE:
        value: str = getattr(meta, attribute)
        if value:
            headers.append((header, value.encode()))
    headers.append(("ce_time", encode_time(meta.time).encode()))
    return headers


def value_of(message: Message) -> bytes:
    """The value: the model's JSON without the fields that have their defaults.

    What is not written is known nevertheless: a type's defaults are part of its version and never change, which a test
    holds against `tests/golden/defaults.json`.
    """
    made = message.to_json()
    if isinstance(message, Event):
        keep_json(message, made)
    return made


class Raw(Record):  # type: ignore[misc]
    """A record as read. Its place is decoded; headers and body are decoded by the caller that needs them."""

    __slots__ = ()

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    header_bytes: int

    @classmethod
    def of(cls, record: Any, prefix: str = "") -> Raw:
        """The `Raw` of an aiokafka `ConsumerRecord`, without `prefix` in the topic; a `Raw` is returned as is."""
        if isinstance(record, Raw):
            return record
        topic: str = record.topic
        return cls(
            topic[len(prefix) :],
            record.partition,
            record.offset,
            record.timestamp,
            record.key,
            record.value,
            record.headers,
        )

    @property
    def attributes(self) -> dict[str, bytes]:
        """All headers by name. (`get` for one.)"""
        return dict(self.headers)

    @property
    def position(self) -> Position:
        return Position(self.topic, self.partition, self.offset)

    @property
    def type(self) -> str:
        return self.text("ce_type")

    @property
    def is_marker(self) -> bool:
        return self.has("ce_type", MARKER)  # type: ignore[no-any-return]

    @property
    def epoch(self) -> int:
        """The epoch of its writer; -1 if it names none, or if that is not a number."""
        try:
            return self.number(EPOCH)  # type: ignore[no-any-return]
        except ValueError:
            return -1

    @property
    def last(self) -> int:
        """The last offset that this covers: its own, except for `Damage`."""
        return self.offset

    @property
    def cause(self) -> Cause | None:
        """The cause of the record; None if it names none, or if that can't be parsed."""
        value = self.get(CAUSE)
        try:
            return Cause.parse(value.decode()) if value else None
        except ValueError:
            return None

    def text(self, header: str) -> str:
        """A header's text; empty if absent. Raises Undecodable when it is no UTF-8."""
        value: bytes | None = self.get(header)
        if value is None:
            return ""
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise Undecodable(f"header {header} is not UTF-8") from None

    def meta(self) -> Meta:
        """The CloudEvents attributes. Raises Undecodable when one that is needed is missing, malformed, or given twice:
        of two, readers of the log would not agree which counts."""
        if (name := self.repeated(_ONCE)) is not None:
            count = sum(given == name for given, _ in self.headers)
            raise Undecodable(f"header {name} is given {count} times; give it once")
        texts = self.texts(ATTRIBUTES)
        if texts is None:
            wrong = next(name for name in ATTRIBUTES if self.texts((name,)) is None)
            raise Undecodable(f"header {wrong} is not {self._text_problem(wrong)}")
        return _meta_of(texts, self.time())

    def _text_problem(self, name: str) -> str:
        content = self.get(name) or b""
        if len(content) > MAX_ATTRIBUTE_BYTES:
            return f"short: it has {len(content)} bytes, at most {MAX_ATTRIBUTE_BYTES} are allowed"
        return "free of U+0000" if b"\0" in content else "UTF-8"

    def time(self) -> datetime:
        """``ce_time``, or the record's timestamp when the producer left it out."""
        value = self.get("ce_time")
        if not value:
            try:
                return datetime.fromtimestamp(self.timestamp / 1000, UTC)
            except (ValueError, OverflowError):
                reason = f"the record's timestamp ({self.timestamp} ms) is no time; correct it, or give ce_time"
                raise Undecodable(reason) from None
        return time_of(value)

    def event_meta(self) -> Meta:
        """As `meta`, but with replacements for values that no table can hold: an event is a fact, never refused."""
        texts = self.texts(ATTRIBUTES)
        try:
            time: datetime | None = self.time()
        except Undecodable:
            time = None  # replaced below
        if texts is not None and time is not None:
            return _meta_of(texts, time)
        contents = [(self.get(name) or b"")[:MAX_ATTRIBUTE_BYTES] for name in ATTRIBUTES]
        texts = tuple(content.decode(errors="replace").replace("\0", REPLACEMENT) for content in contents)
        log.warning("%s: the envelope is read with replacements for what no table can hold", self.position)
        replacements.inc()
        return _meta_of(texts, time or TIME_MIN)

    def decode(self) -> Recorded:
        """The event with its envelope. Raises UnknownType for a type this version does not know, else Undecodable."""
        cause = self.get(CAUSE)
        try:
            return Recorded(
                data=decode_event(self.type, self.value or b"", self),
                meta=self.event_meta(),
                key=(self.key or b"").decode(),
                position=self.position,
                epoch=self.epoch,
                cause=cause.decode().split("|", 1)[0] if cause else "",
            )
        except ValueError as error:
            raise Undecodable(f"{self.position}: its headers or its key do not decode: {error}") from error


def _meta_of(texts: tuple[str, ...], time: datetime) -> Meta:
    """From the `ATTRIBUTES`, in their order."""
    id, type, source, subject, project, actor, correlation, causation, traceparent, origin = texts
    project, actor = project or DEFAULT_PROJECT, actor or DEFAULT_ACTOR
    return Meta(id, type, subject, time, project, actor, source, correlation, causation, traceparent, origin)


class Damage(Raw):
    """Stands for a batch that can't be read, since its bytes were changed on the disk.

    `offset` is the first offset that it covers, `value` the whole batch. It has no key and no headers.
    """

    __slots__ = ("epoch", "last", "wrong")

    epoch: int
    """The newest epoch before it; set by a reader that knows it."""
    last: int
    wrong: str
    """What is wrong with the batch, for people."""

    @classmethod
    def at(cls, topic: str, partition: int, first: int, last: int, wrong: str, batch: bytes) -> Damage:
        damage = cls(topic, partition, first, 0, None, batch, ())
        damage.epoch, damage.last, damage.wrong = -1, last, wrong
        return damage

    @property
    def problem(self) -> str:
        """Position and problem, for people."""
        return f"{self.position}: the batch up to offset {self.last} can't be read: {self.wrong}"

    def decode(self) -> Recorded:
        raise Undecodable(self.problem)


def event_model(raw: Raw) -> type[Event]:
    """The event class of a record, in its newest version. Raises UnknownType for an event from the future."""
    model = event_type(raw.type) or event_type(newest(raw.type))
    if model is None:
        if isinstance(raw, Damage):
            raise Undecodable(raw.problem)
        raise UnknownType(raw.type, raw.position)
    return model


def decode_event(type_name: str, value: bytes, at: Position | Raw) -> Message:
    """An event's body as its model, brought to the newest version. Raises UnknownType or Undecodable, naming `at`."""
    try:
        of_event = event_type(type_name)
        if of_event is not None:
            event: Event = of_event.__pydantic_validator__.validate_json(value)
            keep_json(event, value)
            return event
        type_name, value = upcast(type_name, value)
        if (model := lookup(type_name)) is not None:
            return model.__pydantic_validator__.validate_json(value)  # type: ignore[no-any-return]
    except (ValueError, KeyError) as error:
        position = at.position if isinstance(at, Raw) else at
        if isinstance(error, ValidationError) and (found := _with_replacements(type_name, value, position)) is not None:
            return found
        raise Undecodable(f"{position}: {type_name} does not decode: {told(error)}") from error
    if isinstance(at, Damage):
        raise Undecodable(at.problem)
    raise UnknownType(type_name, at.position if isinstance(at, Raw) else at)


def _with_replacements(type_name: str, value: bytes, position: Position) -> Message | None:
    """An event that was written before the language had its bounds (see `events.language.bounds`), with replacements
    for the values that exceed them; None if the problem is another one."""
    model = lookup(type_name)
    try:
        data = json.loads(value)
    except (ValueError, RecursionError):
        return None
    replaced: list[str] = []
    while model is not None:
        try:
            found = model.model_validate_json(json.dumps(data))
        except ValidationError as error:
            if not (more := mended(data, error.errors(include_url=False))):
                return None
            replaced += more
            continue
        fields = ", ".join(replaced)[:500]
        log.warning("%s: %s is read with replacements for what no table can hold, in: %s", position, type_name, fields)
        replacements.inc()
        return found
    return None


@lru_cache(maxsize=1000)
def time_of(value: bytes) -> datetime:
    """A ``ce_time``. Raises Undecodable. (Cached, since the events of a batch have one time.)"""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        raise Undecodable("header ce_time is not UTF-8") from None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise Undecodable(f"header ce_time {text!r} is not an RFC 3339 time") from None
    if time.tzinfo is None:
        raise Undecodable(f"header ce_time {text!r} has no time zone; end it with Z")
    if not TIME_MIN <= time <= TIME_MAX:
        raise Undecodable(f"header ce_time {text!r} is out of range; give a time from {TIME_MIN.date()} on")
    return time


def without_hash(headers: Headers) -> Iterable[tuple[str, bytes]]:
    """The headers that the hash covers."""
    return ((name, value) for name, value in headers if name != HASH)
