"""Dead letters: records that are no command, or no piece of a stream. Lists, shows and replays them.

They are in the topic ``deadletter.X``, each with its reason and the position of the record.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256

from aiokafka import TopicPartition

from events.language.common import MAX_COMMAND_BYTES, MAX_HEADER_BYTES, shown
from events.language.contexts import contexts
from events.log.connect import connected
from events.log.consumers import HASTY, new_consumer
from events.log.envelope import Position
from events.log.producer import new_producer
from events.log.reading import read_to_end
from events.log.records import Headers
from events.log.topics import commands, deadletter, ensure_topics
from events.log.wire import Raw
from events.process.settings import Settings

EXCERPT_BYTES = 16_384
"""Bytes that a dead letter keeps of a value, or of headers, that are too large for a command."""

MAX_KEY_BYTES = 1_024
"""Bytes that it keeps of a key."""

CUT = "fl_cut"
"""Header: the size of the whole value in bytes, and its SHA-256. Absent if the letter has the whole value."""


class NotReplayable(Exception):
    """A dead letter can't be replayed; the text says why."""


class NotWhole(NotReplayable):
    """A dead letter with only an excerpt of the value can't be replayed unchanged."""


def own_headers(raw: Raw) -> list[tuple[str, bytes]]:
    """The producer's own headers, without those that only the log sets (``fl_``)."""
    return [header for header in raw.headers if not header[0].startswith("fl_")]


def letter_of(raw: Raw, reason: str) -> tuple[bytes, bytes | None, list[tuple[str, bytes]]]:
    """Key, value and headers of the dead letter for a record. A compressed record may be much larger than what a topic
    takes: of a value that is too large for a command, the letter has an excerpt, the size and the digest."""
    key, value, headers = raw.key or b"", raw.value, own_headers(raw)
    if raw.header_bytes > MAX_HEADER_BYTES:
        headers = _excerpt(headers)
    notes = [("fl_reason", reason.encode()), ("fl_position", str(raw.position).encode())]
    if value is not None and len(value) > MAX_COMMAND_BYTES:
        notes.append((CUT, f"{len(value)} {sha256(value).hexdigest()}".encode()))
        value = value[:EXCERPT_BYTES]
    return key[:MAX_KEY_BYTES], value, headers + notes


def _excerpt(headers: list[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    """The first headers, each of them cut, as far as they fit into an excerpt."""
    kept: list[tuple[str, bytes]] = []
    left = EXCERPT_BYTES
    for name, content in headers:
        short = content[:256] if content is not None else content
        left -= len(name.encode()) + len(short or b"")
        if left < 0:
            break
        kept.append((name, short))
    return kept


@dataclass(frozen=True, slots=True)
class DeadLetterRecord:
    """One dead letter."""

    position: Position
    """Position of the dead letter; its id in all calls."""
    origin: str
    """Where it was published: the position in the topic of commands, or of a stream."""
    reason: str
    at: datetime
    key: str
    headers: Headers
    value: bytes
    replayed: bool = False
    """Whether it was replayed."""
    whole: bool = True
    """False when `value` is only the beginning of a value that was too large; `reason` has its size and digest."""


class Gathered:
    """Collects the dead letters of a context: the newest of each topic that they came from."""

    def __init__(self, limit: int) -> None:
        self._limit = max(1, limit)
        self._found: dict[str, dict[str, DeadLetterRecord]] = {}
        """Topic of origin → origin → letter. It may exceed the limit between two clean-ups."""
        self._replayed: set[str] = set()

    def add(self, raw: Raw) -> None:
        """Take a record of the dead-letter topic: a letter, or the note that one was replayed."""
        origin = _origin(raw)
        if raw.get("fl_replayed"):
            self._replayed.add(origin)
            return
        found = self._found.setdefault(origin.rpartition("/")[0], {})
        found.setdefault(origin, _letter(raw, origin))  # after a crash a letter may be there twice
        if len(found) > 2 * self._limit:
            for letter in sorted(found.values(), key=_age)[: -self._limit]:
                del found[letter.origin]

    @property
    def letters(self) -> list[DeadLetterRecord]:
        """All of them, oldest first."""
        kept = [letter for found in self._found.values() for letter in sorted(found.values(), key=_age)[-self._limit :]]
        return [replace(each, replayed=each.origin in self._replayed) for each in sorted(kept, key=_age)]


def _age(letter: DeadLetterRecord) -> tuple[datetime, int, int]:
    return letter.at, letter.position.partition, letter.position.offset


async def list_dead_letters(settings: Settings, context: str, limit: int = 1000) -> list[DeadLetterRecord]:
    """The dead letters of a context, oldest first, one per origin: the newest `limit` commands, and the newest `limit`
    records of each stream."""
    count = (await ensure_topics(settings))[deadletter(context)]
    places = [TopicPartition(settings.prefix + deadletter(context), number) for number in range(count)]
    gathered = Gathered(limit)
    async with connected(new_consumer(settings, **HASTY)) as consumer:
        async for _, records in read_to_end(consumer, dict.fromkeys(places, 0)):
            for raw in records:
                gathered.add(raw)
    return gathered.letters


async def dead_letter_at(settings: Settings, position: Position) -> DeadLetterRecord:
    """The dead letter at a position, however many there are. Raises LookupError."""
    missing = LookupError(f"there is no dead letter at {position}; see `forgelog deadletters list`")
    counts = {topic: n for topic, n in (await ensure_topics(settings)).items() if topic.startswith(deadletter(""))}
    if position.offset < 0 or not 0 <= position.partition < counts.get(position.topic, 0):
        raise missing
    place = TopicPartition(settings.prefix + position.topic, position.partition)
    letter: DeadLetterRecord | None = None
    async with connected(new_consumer(settings, **HASTY)) as consumer:
        async for _, records in read_to_end(consumer, {place: position.offset}):
            for raw in records:
                origin, note = _origin(raw), bool(raw.get("fl_replayed"))
                if letter is None:
                    if raw.position != position or note:
                        raise missing
                    letter = _letter(raw, origin)
                elif note and origin == letter.origin:  # the note that it was replayed comes later
                    return replace(letter, replayed=True)
    if letter is None:
        raise missing
    return letter


def _origin(raw: Raw) -> str:
    """The origin that a letter names. Not checked, since every record of the topic is listed."""
    return (raw.get("fl_position") or b"").decode(errors="replace")


def _letter(raw: Raw, origin: str) -> DeadLetterRecord:
    reason = (raw.get("fl_reason") or b"").decode(errors="replace")
    size, _, digest = (raw.get(CUT) or b"").decode(errors="replace").partition(" ")
    if size:
        reason += f" (kept: its first {len(raw.value or b'')} of {size} bytes; SHA-256 of the whole: {digest})"
    return DeadLetterRecord(
        position=raw.position,
        origin=origin,
        reason=reason,
        whole=not size,
        at=datetime.fromtimestamp(raw.timestamp / 1000, UTC),
        key=(raw.key or b"").decode(errors="replace"),
        # A producer's header may have no value.
        headers=[(name, content or b"") for name, content in own_headers(raw)],
        value=raw.value or b"",
    )


def origin_of(letter: DeadLetterRecord, counts: Mapping[str, int]) -> Position:
    """Where to replay a letter. `counts`: topic → number of partitions. Raises NotReplayable unless that is a place for
    commands or stream records of its own context: the author of a letter must not choose another topic."""
    context = letter.position.topic.removeprefix(deadletter(""))
    topics = [commands(context), *(stream.name for stream in contexts()[context].streams)]
    try:
        origin = Position.parse(letter.origin)
    except ValueError:
        origin = Position("", 0, 0)
    if origin.topic not in topics or not 0 <= origin.partition < counts[origin.topic]:
        text = f"the dead letter at {letter.position} says that it came from {shown(letter.origin)}"
        raise NotReplayable(f"{text}, which is no place in {' or '.join(topics)}; publish its body by yourself")
    return origin


async def replay_dead_letter(settings: Settings, position: Position, value: bytes | None = None) -> Position:
    """Publish a dead letter again where it was published, with `value` as its body if given, and note that it was.

    It keeps its command id; a letter that was answered with a refusal gets a new suffix ``+N``. Raises LookupError if
    there is no letter at `position`, NotWhole if it has only an excerpt and no `value` is given, and NotReplayable if
    it names an origin outside of its context.
    """
    letter = await dead_letter_at(settings, position)
    if value is None and not letter.whole:
        text = f"the dead letter at {position} keeps only the beginning of its body; give the mended one with --file"
        raise NotWhole(text)
    origin = origin_of(letter, await ensure_topics(settings))
    # The id was answered with a refusal already; a repeat would only get that refusal again.
    headers = [(name, content + b"+replay" if name == "ce_id" else content) for name, content in letter.headers]
    async with connected(new_producer(settings)) as producer:
        stored = await producer.send_and_wait(
            settings.prefix + origin.topic,
            value=letter.value if value is None else value,
            key=letter.key.encode() or None,
            partition=origin.partition,
            headers=headers,
        )
        note = [("fl_replayed", b"1"), ("fl_position", letter.origin.encode())]
        await producer.send_and_wait(
            settings.prefix + position.topic, value=b"", partition=position.partition, headers=note
        )
    return Position(origin.topic, stored.partition, stored.offset)
