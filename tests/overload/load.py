"""Those who ask for more than the platform can do: an open loop that never waits, users who heed hints, a Kafka flood.

Knows the platform as a stranger does: its gateway's gRPC, its topics.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc
import orjson
from aiokafka import AIOKafkaProducer

from events.log.access import client_options
from events.log.ids import new_command_id
from events.process.settings import Settings
from forgelog.client.aio import AsyncClient
from forgelog.client.channel import come_again_after
from forgelog.client.keyed import KeyedChannel
from forgelog_pb.gateway.v1 import commands_pb2, commands_pb2_grpc

TYPE = "forgelog.jobs.v1.SubmitJob"
BODY = orjson.dumps(
    {
        "spec": {
            "metadata": {"name": "overload"},
            "command": "true",
            "resources": {"cpus": 0.01, "memory_bytes": 1 << 20},
        }
    }
)
DEADLINE = 30.0
"""Seconds that the open loop's callers wait for an outcome."""
CHANNELS = 4
PROCESSES = 2
"""That the open loop runs in: one could not send and listen as fast."""
NOT_KNOWN = "whether it has the command is not known: send it again"
MOST_OPEN = 1_500
"""Calls of such a process that wait for an answer; what would be more is not sent, and counted."""


@dataclass
class Second:
    """What was answered in one second."""

    sent: int = 0
    unsent: int = 0
    """What was due, when as many calls were open as a caller's machine bears."""
    accepted: int = 0
    refused: int = 0
    late: int = 0
    """Without an outcome within the caller's deadline, or within the time that the gateway gives Kafka to store a
    command: such a caller is told that it may be in the log, and to send it again."""
    cut: int = 0
    """Cancelled by gRPC before the gateway had looked at them: more waited than it may keep."""
    other: Counter[str] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)
    """Seconds from a call to its outcome."""
    refusals: list[float] = field(default_factory=list)
    """Seconds from a call to its refusal."""


@dataclass
class Tally:
    """What all callers saw, by second since the beginning."""

    began: float = field(default_factory=time.monotonic)
    seconds: list[Second] = field(default_factory=list)
    accepted: list[str] = field(default_factory=list)
    """Commands whose callers were told that they are in the log."""
    refused: set[str] = field(default_factory=set)
    unhinted: int = 0
    """Refusals without a hint."""

    def add(self, other: Tally) -> None:
        """What another saw who began at the same time, or later."""
        for number, theirs in enumerate(other.seconds, int(other.began - self.began)):
            while len(self.seconds) <= number:
                self.seconds.append(Second())
            ours = self.seconds[number]
            for name in ("sent", "unsent", "accepted", "refused", "late", "cut"):
                setattr(ours, name, getattr(ours, name) + getattr(theirs, name))
            ours.other += theirs.other
            ours.latencies += theirs.latencies
            ours.refusals += theirs.refusals
        self.accepted += other.accepted
        self.refused |= other.refused
        self.unhinted += other.unhinted

    @property
    def now(self) -> Second:
        number = int(time.monotonic() - self.began)
        while len(self.seconds) <= number:
            self.seconds.append(Second())
        return self.seconds[number]


class Strangers:
    """Submit by `PublishAndWait` at a rate, however the platform fares."""

    def __init__(self, address: str, key: str, tally: Tally) -> None:
        # Own connections: on one, calls beyond what HTTP/2 allows at a time would wait in the caller.
        options = [("grpc.use_local_subchannel_pool", 1)]
        self._channels = [KeyedChannel(grpc.aio.insecure_channel(address, options), key) for _ in range(CHANNELS)]
        self._stubs: list[Any] = [commands_pb2_grpc.CommandsStub(channel) for channel in self._channels]
        self.tally = tally
        self._calls: set[asyncio.Task[None]] = set()

    async def rush(self, rate: float, seconds: float) -> None:
        """Call `rate` times a second for so long; returns when every call has its answer."""
        due, last = 0.0, time.monotonic()
        until, number = last + seconds, 0
        while (now := time.monotonic()) < until:
            due += (now - last) * rate
            last = now
            while due >= 1:
                due -= 1
                number += 1
                if len(self._calls) < MOST_OPEN:
                    self._start(number)
                else:
                    self.tally.now.unsent += 1
            await asyncio.sleep(0.005)
        await asyncio.gather(*self._calls)

    async def pace(self, at_once: int, seconds: float) -> float:
        """Call again whenever one of `at_once` calls is answered; accepted commands a second: the capacity."""
        began, before = time.monotonic(), len(self.tally.accepted)

        async def caller(number: int) -> None:
            while time.monotonic() - began < seconds:
                await self._call(number)

        await asyncio.gather(*(caller(number) for number in range(at_once)))
        return (len(self.tally.accepted) - before) / (time.monotonic() - began)

    async def close(self) -> None:
        for channel in self._channels:
            await channel.close()

    def _start(self, number: int) -> None:
        task = asyncio.create_task(self._call(number))
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)

    async def _call(self, number: int) -> None:
        tally, id = self.tally, new_command_id()
        command = commands_pb2.Command(id=id, type=TYPE, json=BODY)
        started = time.monotonic()
        tally.now.sent += 1
        try:
            request = commands_pb2.PublishAndWaitRequest(command=command)
            await self._stubs[number % CHANNELS].PublishAndWait(request, timeout=DEADLINE)
        except grpc.aio.AioRpcError as error:
            code, now = error.code(), tally.now
            if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
                now.refused += 1
                now.refusals.append(time.monotonic() - started)
                tally.refused.add(id)
                tally.unhinted += come_again_after(error) is None
            elif code is grpc.StatusCode.DEADLINE_EXCEEDED:
                now.late += 1
                if "is in the log at" in (error.details() or ""):
                    tally.accepted.append(id)
            elif code is grpc.StatusCode.UNAVAILABLE and NOT_KNOWN in (error.details() or ""):
                now.late += 1
            elif code is grpc.StatusCode.CANCELLED:
                now.cut += 1
            else:
                now.other[f"{code.name}: {error.details()}"] += 1
            return
        now = tally.now
        now.accepted += 1
        now.latencies.append(time.monotonic() - started)
        tally.accepted.append(id)


async def rush(address: str, key: str, rate: float, seconds: float) -> Tally:
    """`Strangers.rush`, by several processes."""
    tally = Tally()
    with ProcessPoolExecutor(PROCESSES, multiprocessing.get_context("spawn")) as pool:
        loop = asyncio.get_running_loop()
        await asyncio.gather(*(loop.run_in_executor(pool, _start) for _ in range(PROCESSES)))
        tally.began = time.monotonic()
        share = address, key, rate / PROCESSES, seconds, tally.began
        for each in await asyncio.gather(*(loop.run_in_executor(pool, _rush, *share) for _ in range(PROCESSES))):
            tally.add(each)
    return tally


def _start() -> None:
    """Have each process import what it needs, before it counts."""
    time.sleep(0.5)


def _rush(address: str, key: str, rate: float, seconds: float, began: float) -> Tally:
    async def run() -> Tally:
        strangers = Strangers(address, key, Tally(began))
        await strangers.rush(rate, seconds)
        await strangers.close()
        return strangers.tally

    return asyncio.run(run())


async def heed(address: str, key: str, jobs: int, timeout: float) -> list[float]:
    """A user with the platform's own client, who comes again when told: seconds that each submit took."""
    took = []
    async with AsyncClient(address, token=key, timeout=timeout) as client:
        for _ in range(jobs):
            started = time.monotonic()
            await client.submit(
                name="patient", command=["true"], resources={"cpus": 0.01, "memory": "1Mi"}, timeout=timeout
            )
            took.append(time.monotonic() - started)
    return took


async def flood(settings: Settings, count: int) -> float:
    """Publish so many submits straight to Kafka, as fast as it takes them; seconds that took."""
    producer = AIOKafkaProducer(**client_options(settings), linger_ms=5, max_batch_size=256 << 10)
    await producer.start()
    try:
        began = time.monotonic()
        last: Any = None
        for _ in range(count):
            id = new_command_id().encode()
            last = await producer.send(
                f"{settings.prefix}commands.jobs",
                BODY,
                key=None,
                headers=[("ce_id", id), ("ce_type", TYPE.encode())],
            )
        await producer.flush()
        await last
        return time.monotonic() - began
    finally:
        await producer.stop()
