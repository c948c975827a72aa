"""Input that was no command: listed, shown and replayed. It lies in ``deadletter.X`` with its reason and position."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from aiokafka import TopicPartition

from events.log.connect import connected
from events.log.envelope import Position
from events.log.producer import new_producer
from events.log.reading import read_to_end
from events.log.records import Headers
from events.log.tail import HASTY, new_consumer
from events.log.topics import commands, deadletter, ensure_topics
from events.log.wire import Raw
from events.runtime.settings import Settings


@dataclass(frozen=True, slots=True)
class DeadLetterRecord:
    """One dead letter."""

    position: Position
    """Where it lies; its id in all calls."""
    origin: str
    """Where it was published: the position in the command topic."""
    reason: str
    at: datetime
    key: str
    headers: Headers
    value: bytes
    replayed: bool = False
    """Whether it has been put back to the commands."""


async def list_dead_letters(settings: Settings, context: str, limit: int = 1000) -> list[DeadLetterRecord]:
    """The dead letters of a context, oldest first, one per origin (a crash may have written some twice)."""
    count = (await ensure_topics(settings))[deadletter(context)]
    places = [TopicPartition(settings.prefix + deadletter(context), number) for number in range(count)]
    found: dict[str, DeadLetterRecord] = {}
    replayed: set[str] = set()
    async with connected(new_consumer(settings, **HASTY)) as consumer:
        async for _, records in read_to_end(consumer, dict.fromkeys(places, 0)):
            for raw in records:
                origin = raw.text("fl_position")
                if raw.get("fl_replayed"):
                    replayed.add(origin)
                elif len(found) < limit:
                    found.setdefault(origin, _letter(raw, origin))
    letters = [_marked(letter, letter.origin in replayed) for letter in found.values()]
    return sorted(letters, key=lambda letter: (letter.at, letter.position.partition, letter.position.offset))


def _letter(raw: Raw, origin: str) -> DeadLetterRecord:
    return DeadLetterRecord(
        position=raw.position,
        origin=origin,
        reason=(raw.get("fl_reason") or b"").decode(errors="replace"),
        at=datetime.fromtimestamp(raw.timestamp / 1000, UTC),
        key=(raw.key or b"").decode(errors="replace"),
        headers=[header for header in raw.headers if not header[0].startswith("fl_")],
        value=raw.value or b"",
    )


def _marked(letter: DeadLetterRecord, replayed: bool) -> DeadLetterRecord:
    return replace(letter, replayed=replayed) if replayed else letter


async def replay_dead_letter(settings: Settings, position: Position, value: bytes | None = None) -> Position:
    """Put a dead letter back to its commands, mended by `value` if given, and note that in the dead letters.

    Its command id stays, so a letter that was answered with a refusal gets a fresh id suffix ``+N``. Raises LookupError
    when nothing lies at `position`.
    """
    context = position.topic.removeprefix("deadletter.")
    letters = {letter.position: letter for letter in await list_dead_letters(settings, context)}
    letter = letters.get(position)
    if letter is None:
        raise LookupError(f"there is no dead letter at {position}; see `forgelog deadletters list`")
    # The first try was answered with a refusal under its id; a repeat would only be told that refusal again.
    headers = [(name, content + b"+replay" if name == "ce_id" else content) for name, content in letter.headers]
    async with connected(new_producer(settings)) as producer:
        stored = await producer.send_and_wait(
            settings.prefix + commands(context),
            value=letter.value if value is None else value,
            key=letter.key.encode() or None,
            partition=position.partition,
            headers=headers,
        )
        note = [("fl_replayed", b"1"), ("fl_position", letter.origin.encode())]
        await producer.send_and_wait(
            settings.prefix + position.topic, value=b"", partition=position.partition, headers=note
        )
    return Position(commands(context), stored.partition, stored.offset)
