"""Finds the conclusion of a command: the event that ends a creation of several steps.

A command that creates an aggregate names the events about it that conclude the creation (`Command.concluded_by`). An
id of an aggregate is used once, so such an event about this aggregate is the conclusion. The chain of causes is not
needed for that: it breaks at timers and plans. So no state is kept about the steps in between.

Must not know how a client waits for an outcome.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from aiokafka import TopicPartition

from events.language.base import Command, Event
from events.language.registry import recorded_types
from events.log.envelope import Recorded
from events.log.partitioner import partition_of
from events.log.positions import Place, ReaderPosition, place_of
from events.log.tail import LOOK_BACK, Tail
from events.log.topics import context_of
from events.log.wire import Raw
from events.process.settings import Settings

SKEW = 60
"""Seconds that the clocks of two writers may differ. In other partitions, the search starts this long before the time
of the command's first event."""


class Until(NamedTuple):
    """The events that conclude one command."""

    command: type[Command]
    subject: str
    """Id of the aggregate that the command creates."""
    types: frozenset[bytes]
    """Their types, including those of older versions."""

    @classmethod
    def of(cls, command: Command) -> Until:
        """The conclusion of a command. Raises ValueError if the command has none, or has no id of its aggregate yet."""
        kind = type(command)
        if not kind.concluded_by or not command.subject():
            raise ValueError(f"{kind.type_name()} has no conclusion, or no id: its outcome is all that can be awaited")
        return cls(kind, command.subject(), recorded_types(kind.concluded_by))

    def met(self, raw: Raw) -> bool:
        """Whether a valid record is a conclusion: the first one, or a later one about the same aggregate."""
        return raw.get("ce_type") in self.types and raw.get("ce_subject") == self.subject.encode()


async def search(settings: Settings, until: Until, first: Recorded) -> Recorded | None:
    """The conclusion, if the log has it at the time of the call. If there are several, the first by time.

    `first`: the command's first event. Raises OSError, KafkaError, NoTopic; Undecodable for one that does not decode.
    """
    found: list[Recorded] = []
    for context in sorted({event.context for event in until.command.concluded_by}):
        events = [event for event in until.command.concluded_by if event.context == context]
        found += [raw.decode() for raw in await _search(settings, context, events, until, first)]
    return min(found, key=lambda each: (each.meta.time, each.position), default=None)


async def _search(
    settings: Settings, context: str, events: list[type[Event]], until: Until, first: Recorded
) -> Collection[Raw]:
    """The first conclusion of each partition."""
    found: dict[Place, Raw] = {}
    async with Tail(settings, [context], hasty=True) as tail:
        ends = await tail.ends()
        if all(event.decider_kind() == event.aggregate for event in events):  # their key is the aggregate's id
            place = context, partition_of(until.subject, len(ends))
            ends = {place: ends[place]}
        starts = await _starts(settings, tail, ends, first)
        for place in list(tail.positions):
            if place not in ends:
                tail.pause(place)
        for place, offset in starts.items():
            tail.seek(place, ReaderPosition(max(0, offset - LOOK_BACK)))  # the records before it give the epoch
        while left := [at for at, end in ends.items() if at not in found and tail.positions[at].offset < end]:
            for raw in await tail.poll_raw(1.0, only=left):
                if raw.offset >= starts[place_of(raw)] and until.met(raw):
                    found.setdefault(place_of(raw), raw)
    return found.values()


async def _starts(settings: Settings, tail: Tail, ends: Mapping[Place, int], first: Recorded) -> dict[Place, int]:
    """Place → the first offset to search: behind the command's first event, or by the time of that event."""
    at = {place: TopicPartition(f"{settings.prefix}events.{place[0]}", place[1]) for place in ends}
    moment = max(0, int((first.meta.time.timestamp() - SKEW) * 1000))
    times = await (await tail.asking()).offsets_for_times(dict.fromkeys(at.values(), moment))
    found = {}
    for place, topic in at.items():
        stands = times[topic]
        found[place] = ends[place] if stands is None else stands.offset
        if place == (context_of(first.position.topic), first.position.partition):
            found[place] = first.position.offset
    return found
