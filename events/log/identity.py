"""Checks that a stored position belongs to the log at hand.

A log may be replaced under readers that keep their positions: its topics are created anew (a lost disk of a broker,
deleted topics), cut (a power failure), or restored from an older copy. The *origin* of a place, the digest of its first
record, is stored with every position and identifies the log. A cut shows by the log's end, and by the epochs: a writer
that goes on behind a cut begins with a marker that the stored epoch does not include.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from aiokafka import TopicPartition

from events.log import chain
from events.log.connect import connected
from events.log.consumers import HASTY, new_consumer
from events.log.positions import Place, ReaderPosition, place_of
from events.log.reading import records_at
from events.log.topics import events
from events.log.wire import Damage, Raw, without_hash
from events.process.settings import Settings


class StoredPosition(NamedTuple):
    """A stored position, and the origin of its log."""

    position: ReaderPosition
    origin: str = ""
    """Empty if unknown: an earlier version stored the position, or the place was empty."""


@dataclass(frozen=True, slots=True)
class Compared:
    """What `compare` found."""

    origins: dict[Place, str]
    """Place → origin, for every place that is not empty."""
    ends: dict[Place, int]
    mismatches: dict[Place, str]
    """Place → why its position is not of this log."""


def origin_of(first: Raw) -> str:
    """The origin of a place's log: a digest of its first record, 32 hexadecimal digits."""
    return chain.link(chain.GENESIS, first.key or b"", first.value or b"", without_hash(first.headers)).hex()[:32]


def origins_in(raws: Iterable[Raw]) -> dict[Place, str]:
    """The origins of places whose first record is among these. Damage gives none: `compare` can't read it either."""
    return {place_of(raw): origin_of(raw) for raw in raws if not raw.offset and not isinstance(raw, Damage)}


def described(mismatches: Mapping[Place, str]) -> str:
    """Mismatches, for people."""
    return "; ".join(f"{events(context)}/{number}: {why}" for (context, number), why in sorted(mismatches.items()))


async def compare(settings: Settings, places: Collection[Place], stored: Mapping[Place, StoredPosition]) -> Compared:
    """Compare stored positions with the log. `places`: all places of the log. Raises Kafka's errors (`KafkaError`).

    A damaged record, which the broker can't deliver, proves nothing.
    """
    mismatches = {place: "there is no such partition" for place in stored if place not in places}
    topics = {place: TopicPartition(settings.prefix + events(place[0]), place[1]) for place in places}
    async with connected(new_consumer(settings, **HASTY)) as consumer:

        async def read(wanted: Mapping[Place, int]) -> dict[Place, Raw]:
            found = await records_at(consumer, {topics[place]: offset for place, offset in wanted.items()})
            return {place: found[topics[place]] for place in wanted if topics[place] in found}

        offsets = await consumer.end_offsets(list(topics.values()))
        ends = {place: offsets[topic] for place, topic in topics.items()}
        first = await read({place: 0 for place, end in ends.items() if end})
        origins = {place: origin_of(raw) for place, raw in first.items()}
        kept: dict[Place, ReaderPosition] = {}
        for place, (position, origin) in stored.items():
            if place in mismatches or position.offset == 0:
                continue
            if position.offset > ends[place]:
                mismatches[place] = f"the log ends at {ends[place]}, and was read up to {position.offset} before"
            elif origin and origin != origins.get(place, origin):
                mismatches[place] = "the log begins with another record than the one that was read before"
            else:
                kept[place] = position
        markers = await read({place: at.epoch for place, at in kept.items() if at.epoch >= 0})
        last = await read({place: at.offset - 1 for place, at in kept.items()})
        newest = {place: raw.offset if raw.is_marker else raw.epoch for place, raw in last.items()}
        # A record of a newer epoch proves nothing by itself: a writer that has lost its log may have appended it.
        newer = await read(
            {place: epoch for place, epoch in newest.items() if kept[place].epoch < epoch < kept[place].offset}
        )
    for place, at in kept.items():
        marker, other = markers.get(place), newer.get(place)
        if (marker is not None and not marker.is_marker) or (other is not None and other.is_marker):
            mismatches[place] = f"the records before {at.offset} are others than those that were read before"
    return Compared(origins, ends, mismatches)
