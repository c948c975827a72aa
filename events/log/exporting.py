"""Exports the events of a time span with their envelopes, in order: for tools that know no Kafka.

It leaves out what every reader skips: void records, writers' markers, and records that an operator skipped.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson
from aiokafka import TopicPartition

from events.log import topics
from events.log.connect import connected
from events.log.consumers import HASTY, new_consumer
from events.log.fetching import Consumer
from events.log.positions import EpochRule
from events.log.repairs import Repairs
from events.log.tail import NoTopic, read_repairs
from events.log.wire import CAUSE, HASH, Damage, Raw, Undecodable
from events.process.settings import Settings

LOOK_BACK = 1_000
"""Records read before the first one, to learn the epoch there."""

BATCH = 1_000
"""Most events in one batch."""

_FETCH_BYTES = 512 << 10
"""Records read from each partition at a time. The merge needs the first event of every partition to find the oldest."""

FIELDS: dict[str, type] = {
    "specversion": str,
    "id": str,
    "source": str,
    "type": str,
    "datacontenttype": str,
    "subject": str,
    "time": datetime,
    "project": str,
    "actor": str,
    "correlationid": str,
    "causationid": str,
    "traceparent": str,
    "position": str,
    "context": str,
    "partition": int,
    "offset": int,
    "key": str,
    "epoch": int,
    "cause": str,
    "hash": str,
    "data": bytes,
}
"""The fields of an exported event: CloudEvents' attributes, then the log's own; None if absent. `data` is the JSON."""

Exported = dict[str, Any]

Progress = Callable[[int, int], None]
"""Called with the number of records read and the number to read."""


class CantExport(Exception):
    """An event can't be exported. The text says which, why, and what to do."""


@dataclass(slots=True)
class _Place:
    """The progress of the export in a partition."""

    rank: int
    """Index of the context among those that are exported."""
    rule: EpochRule
    end: int
    read: int
    """The next offset."""
    waiting: deque[Exported] = field(default_factory=deque)
    over: bool = False


async def exported(
    settings: Settings,
    contexts: Sequence[str] = topics.CONTEXTS,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    types: Collection[str] = (),
    projects: Collection[str] = (),
    progress: Progress | None = None,
) -> AsyncIterator[list[Exported]]:
    """Events from `since` on and before `until`, oldest first; those of one time by context, partition and offset.

    `until`: if None, the end of the log at the time of the call. `types`: full names. Memory is bounded by the number
    of partitions. Raises NoTopic if a context has no topic, CantExport, and Kafka's errors (`KafkaError`).
    """
    counts = await topics.existing(settings)
    if missing := [name for context in contexts if (name := topics.events(context)) not in counts]:
        raise NoTopic.at(settings, missing)
    repairs = await read_repairs(settings) if topics.REPAIRS in counts else Repairs()
    # It consumes some places while others wait.
    async with connected(new_consumer(settings, **{**HASTY, "max_partition_fetch_bytes": _FETCH_BYTES})) as consumer:
        places = await _begin(consumer, settings, contexts, counts, since)
        first = sum(place.read for place in places.values())
        total = sum(place.end for place in places.values()) - first
        merged: list[Exported] = []
        async for event in _merged(consumer, places, repairs, since, until, set(types), set(projects)):
            merged.append(event)
            if len(merged) == BATCH:
                yield merged
                merged = []
                if progress is not None:
                    progress(sum(place.read for place in places.values()) - first, total)
        if merged:
            yield merged


async def _begin(
    consumer: Consumer,
    settings: Settings,
    contexts: Sequence[str],
    counts: dict[str, int],
    since: datetime | None,
) -> dict[TopicPartition, _Place]:
    """Seek every partition to its first event of that time, or a little before."""
    found: dict[TopicPartition, _Place] = {}
    names = [topics.events(context) for context in contexts]
    sources = [
        (rank, TopicPartition(settings.prefix + name, n))
        for rank, name in enumerate(names)
        for n in range(counts.get(name, 0))
    ]
    consumer.assign([source for _, source in sources])
    ends = await consumer.end_offsets([source for _, source in sources])
    starts = dict.fromkeys(ends, 0)
    if since is not None:
        moment = int(since.timestamp() * 1000)
        at = await consumer.offsets_for_times({source: max(0, moment) for _, source in sources})
        starts = {source: getattr(at[source], "offset", ends[source]) for _, source in sources}
    for rank, source in sources:
        start = max(0, starts[source] - LOOK_BACK)
        consumer.seek(source, start)
        rule = EpochRule(begun=0) if start == 0 else EpochRule()
        found[source] = _Place(rank, rule, ends[source], start, over=starts[source] >= ends[source])
    return found


async def _merged(
    consumer: Consumer,
    places: dict[TopicPartition, _Place],
    repairs: Repairs,
    since: datetime | None,
    until: datetime | None,
    types: set[str],
    projects: set[str],
) -> AsyncIterator[Exported]:
    """Merge the partitions, each sorted by time. An event is next once the next event of every partition is known."""
    heads: list[tuple[datetime, int, int, int, TopicPartition]] = []

    def show(source: TopicPartition) -> None:
        event = places[source].waiting[0]
        heapq.heappush(heads, (event["time"], places[source].rank, event["partition"], event["offset"], source))

    empty = {source for source, place in places.items() if not place.over}
    for source, place in places.items():
        if place.over:
            consumer.pause(source)
    while empty or heads:
        while empty:
            for source, raws in (await consumer.getmany(*empty, timeout_ms=1000)).items():
                place = places[source]
                for raw in raws:
                    if place.over or raw.offset >= place.end:
                        break
                    place.read = raw.last + 1
                    event = _event_of(raw, place, repairs, since)
                    if event is None:
                        continue
                    if until is not None and event["time"] >= until:
                        place.over = True  # a partition's times never go back
                    elif not (types and event["type"] not in types) and not (
                        projects and event["project"] not in projects
                    ):
                        place.waiting.append(event)
            for source in list(empty):
                place = places[source]
                # By the position, not by the last record: a partition may end in an offset without a record.
                place.over = place.over or await consumer.position(source) >= place.end
                if place.over:
                    consumer.pause(source)
                if place.waiting:
                    show(source)
                if place.waiting or place.over:
                    empty.discard(source)
        if not heads:
            break
        source = heapq.heappop(heads)[-1]
        place = places[source]
        yield place.waiting.popleft()
        if place.waiting:
            show(source)
        elif not place.over:
            empty.add(source)


def _event_of(raw: Raw, place: _Place, repairs: Repairs, since: datetime | None) -> Exported | None:
    """The exported event of a record; None if it is void, a marker, skipped, or too early. Raises CantExport."""
    if repairs.pass_over(raw):
        place.rule.missed(raw.last)
        return None
    if isinstance(raw, Damage):
        raise CantExport(f"{raw.problem}; see 'forgelog repair'")
    if not place.rule.admits(raw) or raw.is_marker:
        return None
    try:
        meta = raw.event_meta()
        if since is not None and meta.time < since:
            return None
        orjson.loads(raw.value or b"")
        cause = raw.text(CAUSE).partition("|")[0]
        digest, key = raw.text(HASH), (raw.key or b"").decode()
    except (Undecodable, ValueError) as error:
        raise CantExport(f"{raw.position} is no whole event: {error}; see 'forgelog repair'") from None
    return {
        "specversion": "1.0",
        "id": meta.id,
        "source": meta.source or None,
        "type": meta.type,
        "datacontenttype": "application/json",
        "subject": meta.subject or None,
        "time": meta.time.astimezone(UTC),
        "project": meta.project or None,
        "actor": meta.actor or None,
        "correlationid": meta.correlation or None,
        "causationid": meta.causation or None,
        "traceparent": meta.traceparent or None,
        "position": str(raw.position),
        "context": topics.context_of(raw.topic),
        "partition": raw.partition,
        "offset": raw.offset,
        "key": key or None,
        "epoch": raw.epoch,
        "cause": cause or None,
        "hash": digest or None,
        "data": raw.value or b"",
    }
