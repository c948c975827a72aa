"""Takes over event partitions: fences each with a marker and folds its history up to the marker."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from aiokafka import AIOKafkaProducer

from events.language.common import PLATFORM_ACTOR, WriterStarted
from events.log import topics
from events.log.envelope import Meta
from events.log.identity import Compared, StoredPosition, compare
from events.log.ids import new_command_id
from events.log.positions import Place, ReaderPosition
from events.log.repairs import Repairs
from events.log.tail import Tail, read_repairs
from events.log.wire import Raw, headers_of, value_of
from events.process import faults
from events.process.settings import Settings
from events.writer import observing
from events.writer.deciders import Deciders
from events.writer.partition import Partition
from events.writer.snapshots import Snapshots

log = logging.getLogger("forgelog.writer")

AT_ONCE = 2_000
"""Most events folded before the view is folded up to the same time."""


class Failed(NamedTuple):
    """The record at which a partition could not be folded."""

    raw: Raw
    error: Exception
    of_view: bool = False
    """Whether it is a foreign event that its view could not observe."""


async def take_over(
    deciders: Deciders,
    numbers: Sequence[int],
    count: int,
    settings: Settings,
    producer: AIOKafkaProducer,
    snapshots: Snapshots | None,
    now: datetime,
    places: Collection[Place] = (),
    stopped: Mapping[int, Mapping[tuple[str, int], ReaderPosition]] | None = None,
) -> dict[int, Partition | Failed]:
    """Fence and fold partitions. Returns each partition, or a `Failed` if it can't be folded.

    `now`: the writer's clock. `places`: those whose events the deciders get, the own ones included. `stopped`: the
    stopped inputs of each partition. Behind the marker, all that an earlier writer still appends is void.
    """
    fences = (_fence(deciders.context, number, settings, producer, now) for number in numbers)
    markers = dict(zip(numbers, await asyncio.gather(*fences), strict=True))
    faults.point(faults.AFTER_MARKER)
    repairs = await read_repairs(settings)
    partitions = {number: Partition(deciders, number, count) for number in numbers}
    if snapshots is not None:
        found = await _snapshots_of(snapshots, deciders, numbers, count, settings, places)
        for number, partition in found.items():
            if any(repair.skips and partition.contains(repair) for repair in repairs.since(partition.repairs)):
                log.info("%s/%d: its snapshot includes a record that was skipped later", deciders.context, number)
            else:
                partitions[number] = partition
    for number, partition in partitions.items():
        partition.repairs = repairs.until
        partition.stopped = dict((stopped or {}).get(number, {}))
    outcome: dict[int, Partition | Failed] = dict(partitions)
    epochs = {number: epoch for number, (epoch, _) in markers.items()}
    problems = await _fold(deciders, partitions, epochs, settings, repairs)
    for number, (epoch, marker) in markers.items():
        partitions[number].begin(epoch, marker)
    outcome.update(problems)
    return outcome


async def _snapshots_of(
    snapshots: Snapshots,
    deciders: Deciders,
    numbers: Sequence[int],
    count: int,
    settings: Settings,
    places: Collection[Place],
) -> dict[int, Partition]:
    """The partitions from their snapshots. Removes snapshots of another log."""
    loaded = {number: found for number in numbers if (found := await snapshots.load(deciders, number, count))}
    stored = {
        (deciders.context, number): StoredPosition(
            ReaderPosition(partition.next_offset, partition.epoch), origins.get((deciders.context, number), "")
        )
        for number, (partition, origins) in loaded.items()
    }
    compared = await compare(settings, {*places, *((deciders.context, number) for number in numbers)}, stored)
    snapshots.origins = compared.origins
    kept: dict[int, Partition] = {}
    for number, (partition, origins) in loaded.items():
        why = compared.mismatches.get((deciders.context, number), "") or _heard_elsewhere(partition, origins, compared)
        if why:
            log.error("%s/%d: its snapshots are of another log; removed: %s", deciders.context, number, why)
            await snapshots.forget(deciders.context, number)
        else:
            kept[number] = partition
    return kept


def _heard_elsewhere(partition: Partition, origins: Mapping[Place, str], compared: Compared) -> str:
    """Why a partition has handled foreign events that are not in this log; empty if it has not."""
    for (topic, number), at in (*partition.inputs.items(), *partition.observed.items()):
        place = topics.context_of(topic), number
        if not topic.startswith("events.") or place not in compared.ends:
            continue
        if at.offset > compared.ends[place] or origins.get(place, "") not in ("", compared.origins.get(place, "")):
            return f"{topic}/{number} is not the log it has read up to {at.offset}"
    return ""


async def _fence(
    context: str, number: int, settings: Settings, producer: AIOKafkaProducer, now: datetime
) -> tuple[int, str]:
    """Append a `WriterStarted` marker: its offset, which is the new epoch, and its id."""
    name = settings.instance or context
    marker = WriterStarted(subject_id=f"{context}/{number}", writer=name)
    meta = Meta(
        id=new_command_id(),
        type=WriterStarted.type_name(),
        source=f"forgelog/{context}",
        subject=marker.subject_id,
        time=now,
        project="",
        actor=PLATFORM_ACTOR,
    )
    stored = await producer.send_and_wait(
        settings.prefix + topics.events(context),
        value=value_of(marker),
        key=marker.subject_id.encode(),
        partition=number,
        headers=headers_of(meta),
        timestamp_ms=int(now.timestamp() * 1000),
    )
    return int(stored.offset), meta.id


async def _fold(
    deciders: Deciders,
    partitions: dict[int, Partition],
    epochs: dict[int, int],
    settings: Settings,
    repairs: Repairs,
) -> dict[int, Failed]:
    """Fold each partition's valid records up to and including its marker, and its view up to the same time. Returns the
    partitions that can't be folded."""
    has_view = any(partition.has_view for partition in partitions.values())
    foreign = sorted(deciders.foreign - {deciders.context}) if has_view else []
    begin = observing.starts(partitions.values())
    for number, partition in partitions.items():
        begin[deciders.context, number] = ReaderPosition(partition.next_offset, partition.epoch)
    problems: dict[int, Failed] = {}
    open_ = dict(partitions)
    async with Tail(
        settings, [deciders.context, *foreign], start=begin, max_records=AT_ONCE, hasty=True, repairs=repairs
    ) as tail:
        for place in tail.positions:
            if place[0] == deciders.context and place[1] not in open_:
                tail.pause(place)
        view = None
        if foreign:
            ends = {place: end for place, end in (await tail.ends()).items() if place[0] != deciders.context}
            view = observing.Views(deciders, partitions, tail, ends)
        while open_:
            numbers = list(open_) if view is None else [min(open_, key=lambda number: _reached(open_[number]))]
            raws = await tail.poll_raw(1.0, only=[(deciders.context, number) for number in numbers])
            for index, raw in enumerate(raws):
                number = raw.partition
                if number not in open_ or raw.offset > epochs[number]:
                    continue
                try:
                    open_[number].fold(raw)
                except Exception as error:  # noqa: BLE001 - any error of the fold stops the partition there
                    problems[number] = Failed(raw, error)
                    del open_[number]
                if index % 500 == 499:
                    await asyncio.sleep(0)
            for number in numbers:
                place = (deciders.context, number)
                if number in problems or tail.positions[place].offset > epochs[number]:
                    tail.pause(place)
                    if number in open_:
                        open_.pop(number).next_offset = epochs[number] + 1
            if view is not None and open_:
                await view.observe(min(_reached(partition) for partition in open_.values()))
                for number, (raw, why) in view.failed.items():
                    problems.setdefault(number, Failed(raw, why, of_view=True))
                    open_.pop(number, None)
    return problems


def _reached(partition: Partition) -> int:
    """The time of the last event that was folded, in milliseconds since 1970."""
    return int(partition.last_time.timestamp() * 1000) if partition.last_time is not None else 0
