"""Events that do not fold, and defects: one place stops and is named, an operator's decision lets it go on.

Knows the log as someone who can write to Kafka does, and `forgelog repair` as its user does.
"""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import orjson

from events.language.jobs import JobAssigned, JobCompleted, JobSubmitted
from events.language.resources import NodeDrained, NodeRegistered
from events.log.envelope import Position
from events.log.producer import new_producer
from events.log.tail import Tail
from events.log.topics import CONTEXTS, events
from events.log.wire import Raw
from events.process import faults
from forgelog.client.aio import AsyncClient
from forgelog.errors import ForgelogError
from tests.chaos.arena import PATIENCE, Arena
from tests.chaos.workload import Workload
from tests.integration.cluster import FORGELOG

Stopped = dict[str, list[str]]
"""Record → the places that stand there."""


async def forged_event(arena: Arena, load: Workload, chance: random.Random) -> str:
    """A record with a valid epoch that no writer wrote: it can't be read, or says what can't have happened."""
    context, number = chance.choice(CONTEXTS), 0
    kind = chance.choice(("broken", "of the future", "impossible"))
    async with Tail(arena.settings, [context]) as tail:
        ends = await tail.ends()
        known: list[Any] = []
        while any(tail.positions[place].offset < end for place, end in ends.items()):
            known += await tail.poll_raw(5.0)
        filled = [place[1] for place, at in tail.positions.items() if at.epoch >= 0 and ends[place] > at.epoch + 1]
        number = chance.choice(filled or [0])
        epoch = tail.positions[context, number].epoch
    type, key, body = "forgelog.jobs.v1.JobStarted", "nobody", b'{"job_id":'
    if kind == "of the future":
        type, body = f"forgelog.{context}.v9.Teleported", b"{}"
    elif kind == "impossible" and context in IMPOSSIBLE:
        type, key, body = IMPOSSIBLE[context]([raw for raw in known if raw.partition == number], chance)
    at = await _append(arena, context, number, epoch, (type, key, body))
    arena.forged.add(f"{at.topic}/{at.partition}: offset {at.offset}")
    if kind == "impossible" or chance.random() < 0.5:
        arena.signal(context, signal.SIGKILL)  # its writer has to fold the record now
    stopped = await _named(arena, load, lambda places: str(at) in places)
    restarts = _restarts(arena)
    _only(stopped, {str(at)})
    await _decide(arena, at, "--skip")
    if _restarts(arena) != restarts:
        raise AssertionError(f"processes were started again: {restarts}, {_restarts(arena)}")
    return f"a forged event ({kind}) at {at} stopped {len(stopped[str(at)])} places; it was skipped"


def _over(known: list[Raw], chance: random.Random) -> tuple[str, str, bytes]:
    """A job that has ended gets a node; as long as none has ended, a job gets one for a task that it does not have."""
    jobs = [raw for raw in known if raw.type == JobSubmitted.type_name()]
    ended = {raw.key for raw in known if raw.type == JobCompleted.type_name()}
    raw = chance.choice([raw for raw in jobs if raw.key in ended] or jobs or [None])
    key = (raw.key or b"").decode() if raw is not None else "nobody"
    tasks = "0" if raw is not None and raw.key in ended else "9999"
    assigned = {"job_id": key, "node_id": "nowhere", "allocation_id": "none", "tasks": tasks, "attempt": 1}
    return JobAssigned.type_name(), key, orjson.dumps(assigned)


def _never_drained(known: list[Raw], chance: random.Random) -> tuple[str, str, bytes]:
    """A node that was not draining is drained."""
    made = [raw for raw in known if raw.type == NodeRegistered.type_name()]
    raw = chance.choice(made) if made else None
    pool, node = ((raw.key or b"").decode(), raw.text("ce_subject")) if raw is not None else NOBODYS
    return NodeDrained.type_name(), pool, orjson.dumps({"pool": pool, "node_id": node})


NOBODYS = "default", "nobody"

IMPOSSIBLE = {"jobs": _over, "resources": _never_drained}
"""Context → an event that its language's table of moves forbids. Those of queues allow every move but that to the same
status, which `QueueConfigured` may say."""


async def _append(arena: Arena, context: str, number: int, epoch: int, content: tuple[str, str, bytes]) -> Position:
    type, key, body = content
    headers = [("ce_id", b"forged"), ("ce_type", type.encode()), ("ce_subject", key.encode())]
    headers.append(("fl_epoch", str(epoch).encode()))
    producer = new_producer(arena.settings)
    await producer.start()
    try:
        stored = await producer.send_and_wait(
            events(context), body, key=key.encode(), partition=number, headers=headers
        )
    finally:
        await producer.stop()
    return Position(events(context), number, stored.offset)


HEARD = {
    "jobs": "resources",
    "scheduling": "jobs",
    "resources": "scheduling",
}
"""Context → another whose events it surely reacts to while jobs run."""


def defect(point: str) -> Callable[[Arena, Workload, random.Random], Awaitable[str]]:
    """An exception at every event of one partition, where it is reacted to, or projected; then it is mended."""

    async def attack(arena: Arena, load: Workload, chance: random.Random) -> str:
        context = chance.choice([*HEARD])
        source = HEARD[context] if point == faults.IN_REACT else context
        place = f"{events(source)}/{chance.randrange(4) if source == 'jobs' else ''}"  # the others fill one partition
        (arena.faults / f"{context}-0@{point}").write_text(place)
        restarts = _restarts(arena)
        stopped = await _named(arena, load, lambda places: any(at.startswith(place) for at in places))
        (arena.faults / f"{context}-0@{point}").unlink()
        await asyncio.sleep(0.5)  # what was being read may have stopped too
        stopped = await _stopped(arena)
        _only(stopped, {at for at in stopped if at.startswith(place)})
        for at in stopped:
            await _decide(arena, Position.parse(at), "--retry")
        if _restarts(arena) != restarts:
            raise AssertionError(f"processes were started again: {restarts}, {_restarts(arena)}")
        return f"a defect {point} of {context} stopped it at {', '.join(stopped)}; it was mended"

    return attack


async def _named(arena: Arena, load: Workload, which: Callable[[Stopped], bool]) -> Stopped:
    """What stands still, once `which` is among it; work goes on meanwhile."""
    loop = asyncio.get_running_loop()
    until, more = loop.time() + PATIENCE, 0.0
    while loop.time() < until:
        if loop.time() > more:
            more = loop.time() + 3.0
            load.working.append(asyncio.create_task(load.pump(2, 0.1)))
        with suppress(ForgelogError):
            if which(stopped := await _stopped(arena)):
                return stopped
        await asyncio.sleep(0.3)
    raise AssertionError(f"what was broken is named nowhere after {PATIENCE:.0f} s")


async def _stopped(arena: Arena) -> Stopped:
    found: Stopped = {}
    async with AsyncClient(arena.gateway, token=arena.platform.key) as client:
        for context in CONTEXTS:
            for stop in (await client.log.status(context)).get("stopped", ()):
                found.setdefault(stop["position"], []).append(stop["place"])
    return found


def _only(stopped: Stopped, wanted: set[str]) -> None:
    if set(stopped) != wanted:
        raise AssertionError(f"more stands still than was broken: {stopped}, not only {wanted}")


def _restarts(arena: Arena) -> dict[str, int]:
    return {child.name: child.restarts for child in arena.state.children}


async def _decide(arena: Arena, at: Position, what: str) -> None:
    """Through the command line, as an operator does; it waits until all go on."""
    process = await asyncio.create_subprocess_exec(
        *(*FORGELOG, "repair", str(at), what, "--reason", "chaos"),
        env={**arena.environment("operator"), "FORGELOG_GATEWAY": arena.gateway},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await process.communicate()
    if process.returncode:
        raise AssertionError(f"forgelog repair {at} {what} ended with {process.returncode}: {said.decode()}")
