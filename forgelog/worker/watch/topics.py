"""The watch of a trigger of a topic: asks for the ends of its partitions, and reports batches."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime

from events.language.pipelines.arrivals import MAX_PARTITIONS, PartitionRange
from events.language.pipelines.connections import DataSourceType
from events.language.pipelines.sources import DataSource, StreamStart
from events.language.pipelines.triggers import TopicTrigger
from events.language.pipelines.watch_messages import ReportTopicAdvanced, TriggerWatched
from forgelog.pipelines.io import IoContext
from forgelog.pipelines.io.topics import explained, opened
from forgelog.pipelines.problems import StageError

POLL_SECONDS = 1.0
"""Between two looks at the ends of partitions."""
_REOPEN_SECONDS = 30.0
"""After which it is looked for new partitions, and for records that are gone."""


class Batching:
    """When records are a batch. Pure."""

    def __init__(self, told: Mapping[int, int], most: int, every: float) -> None:
        """`told`: partition → the offset up to which records were told."""
        self.told = dict(told)
        self._most, self._every = most, every
        self._since: float | None = None

    def look(self, ends: Mapping[int, int], now: float) -> tuple[PartitionRange, ...]:
        """The ranges that are to be told at `now`; none while they are not a batch. `ends` has all partitions."""
        new = {partition: end for partition, end in ends.items() if end > self.told[partition]}
        if not new:
            self._since = None
            return ()
        if self._since is None:
            self._since = now
        count = sum(end - self.told[partition] for partition, end in new.items())
        if count < self._most and now - self._since < self._every:
            return ()
        ranges = tuple(
            PartitionRange(partition=partition, start=self.told[partition], end=end)
            for partition, end in sorted(new.items())
        )
        self.told |= new
        self._since = None
        return ranges


def begun(trigger: TopicTrigger, told: TriggerWatched) -> Batching:
    """What is known of a trigger's topic at first."""
    return Batching({each.partition: each.end for each in told.ranges}, trigger.max_records, trigger.every_seconds)


async def watch(
    trigger: TopicTrigger,
    since: datetime,
    batching: Batching,
    context: IoContext,
    report: Callable[..., None],
    well: Callable[[], None],
) -> None:
    """Report batches, until cancelled. `well`: called after each look. Raises StageError; it may be called again then,
    with the same `batching`."""
    source = DataSource(type=DataSourceType.KAFKA, connection=trigger.connection, topic=trigger.topic)
    while True:
        with explained("topic"):
            await _look(trigger, since, source, context, batching, report, well)


async def _look(
    trigger: TopicTrigger,
    since: datetime,
    source: DataSource,
    context: IoContext,
    batching: Batching,
    report: Callable[..., None],
    well: Callable[[], None],
) -> None:
    """Look for a while, at the partitions that there are now."""
    consumer, places = await opened(source, context)
    try:
        if len(places) > MAX_PARTITIONS:
            problem = f"has {len(places):,} partitions, and at most {MAX_PARTITIONS:,} are watched"
            raise StageError("topic", problem, "let a pipeline with a schedule read it")
        firsts = {place.partition: first for place, first in (await consumer.beginning_offsets(places)).items()}
        if new := [place for place in places if place.partition not in batching.told]:
            begin = (
                firsts if batching.told or trigger.start is StreamStart.EARLIEST else await _after(consumer, new, since)
            )
            ranges = tuple(
                PartitionRange(partition=place.partition, start=begin[place.partition], end=begin[place.partition])
                for place in new
            )
            report(ReportTopicAdvanced, ranges=ranges)
            batching.told |= {each.partition: each.end for each in ranges}
        clock = asyncio.get_running_loop().time
        until = clock() + _REOPEN_SECONDS
        while clock() < until:
            ends = {place.partition: end for place, end in (await consumer.end_offsets(places)).items()}
            _check(batching.told, firsts, ends)
            if ranges := batching.look(ends, clock()):
                report(ReportTopicAdvanced, ranges=ranges)
            well()
            await asyncio.sleep(POLL_SECONDS)
    finally:
        await consumer.stop()


async def _after(consumer: object, places: list[object], since: datetime) -> dict[int, int]:
    """The first offsets of records that were written at `since` or later."""
    # the ends come first: a record that comes between the two questions is behind them
    ends = await consumer.end_offsets(places)  # type: ignore[attr-defined]
    milliseconds = int(since.timestamp() * 1000)
    found = await consumer.offsets_for_times(dict.fromkeys(places, milliseconds))  # type: ignore[attr-defined]
    return {
        place.partition: ends[place] if found.get(place) is None else found[place].offset  # type: ignore[attr-defined]
        for place in places
    }


def _check(told: Mapping[int, int], firsts: Mapping[int, int], ends: Mapping[int, int]) -> None:
    """Raises StageError if records are gone that were not told, or the topic is another one than it was."""
    remedy = "give the trigger another name and start: earliest, to go on with what is left"
    for partition, end in ends.items():
        if (first := firsts[partition]) > told[partition]:
            problem = f"partition {partition} begins at {first}: records from {told[partition]} on are gone, unread"
            raise StageError("topic", f"{problem}, since the topic's retention is too short", remedy)
        if end < told[partition]:
            problem = f"partition {partition} ends at {end}, before {told[partition]}: the topic was made anew"
            raise StageError("topic", problem, remedy)
