"""The memory of a platform's processes over time, and what its log says of every command."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import psutil
from aiokafka import TopicPartition

from events.language.jobs import JobCancelled, JobCompleted, JobFailed, JobSubmitted
from events.log.connect import connected
from events.log.consumers import HASTY, new_consumer
from events.log.positions import Place, ReaderPosition
from events.log.tail import Tail
from events.process.settings import Settings

Pids = Callable[[], Mapping[str, int]]
"""Name of each process → pid; 0 when it does not live."""

EVERY = 0.5
"""Seconds between two looks at the memory."""


class Memory:
    """Resident memory, looked at in a thread of its own. Use as a context manager."""

    def __init__(self, pids: Pids) -> None:
        self._pids = pids
        self.began = time.monotonic()
        self.samples: dict[str, list[tuple[float, int]]] = {}
        """Process → seconds since the beginning and bytes; the database's with those of its helpers."""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.is_set():
            for name, pid in self._pids().items():
                with suppress(psutil.NoSuchProcess):
                    self.samples.setdefault(name, []).append((time.monotonic() - self.began, _resident(name, pid)))
            self._over.wait(EVERY)

    def between(self, name: str, start: float, end: float) -> list[int]:
        return [size for at, size in self.samples.get(name, []) if start <= at < end]

    def most(self, name: str) -> int:
        return max((size for _, size in self.samples.get(name, [])), default=0)

    def first(self, name: str) -> int:
        return next((size for _, size in self.samples.get(name, [])), 0)


def _resident(name: str, pid: int) -> int:
    process = psutil.Process(pid)
    if name != "postgres":
        return int(process.memory_info().rss)
    # Its helpers share their pages: each counts with its part of them.
    total = 0
    for each in [process, *process.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            total += each.memory_full_info().pss
    return total


@dataclass
class Story:
    """What the log says, read on from call to call."""

    settings: Settings
    commands: dict[str, int] = field(default_factory=dict)
    """Id of every command of jobs → how often it is in the log."""
    outcomes: Counter[str] = field(default_factory=Counter)
    """Id → distinct commands (by position) of that id that were decided."""
    submitted: set[str] = field(default_factory=set)
    ended: set[str] = field(default_factory=set)
    _decided: set[tuple[int, int]] = field(default_factory=set)
    _positions: dict[Place, ReaderPosition] = field(default_factory=dict)
    _at: dict[TopicPartition, int] = field(default_factory=dict)

    @property
    def undecided(self) -> set[str]:
        """Commands without an outcome."""
        return {id for id, times in self.commands.items() if self.outcomes[id] < times}

    async def read(self) -> None:
        """Up to what is the end now.

        Events first: agents send commands all the time, and a command is in its topic before its outcome is in the log.
        The other way round, what was sent and decided between the two looks would count as decided, but not as sent.
        """
        await self._read_events()
        await self._read_commands()

    async def _read_events(self) -> None:
        async with Tail(self.settings, ["jobs"], start=self._positions) as tail:
            ends = await tail.ends()
            while any(tail.positions[place].offset < end for place, end in ends.items()):
                for raw in await tail.poll_raw(5.0):
                    if raw.is_marker:
                        continue
                    cause, kind = raw.cause, raw.type
                    if cause is not None and cause.position.topic == "commands.jobs":
                        place = cause.position.partition, cause.position.offset
                        if place not in self._decided:
                            self._decided.add(place)
                            self.outcomes[raw.meta().causation] += 1
                    if kind == JobSubmitted.type_name():
                        self.submitted.add(raw.meta().subject)
                    elif kind in _ENDS:
                        self.ended.add(raw.meta().subject)
            self._positions = dict(tail.positions)

    async def _read_commands(self) -> None:
        async with connected(new_consumer(self.settings, **HASTY)) as consumer:
            topic = f"{self.settings.prefix}commands.jobs"
            await consumer._client.add_topic(topic)
            places = [TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic))]
            consumer.assign(places)
            ends = await consumer.end_offsets(places)
            for place in places:
                consumer.seek(place, self._at.get(place, 0))
            while any(self._at.get(place, 0) < ends[place] for place in places):
                for place, records in (await consumer.getmany(timeout_ms=1000, max_records=5000)).items():
                    for record in records:
                        headers = dict(record.headers)
                        if "fl_forwarded" not in headers:  # else it stands elsewhere, too
                            id = headers["ce_id"].decode()
                            self.commands[id] = self.commands.get(id, 0) + 1
                    self._at[place] = records[-1].offset + 1

    async def until(self, what: Callable[[], bool], seconds: float) -> float:
        """Read on until it is so; the seconds that took. Raises TimeoutError."""
        began = time.monotonic()
        async with asyncio.timeout(seconds):
            while True:
                await self.read()
                if what():
                    return time.monotonic() - began
                await asyncio.sleep(0.3)


_ENDS = frozenset(kind.type_name() for kind in (JobCompleted, JobFailed, JobCancelled))
