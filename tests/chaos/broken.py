"""Events that do not fold, and defects: one place stops and is named, an operator's decision lets it go on.

Knows the log as someone who can write to Kafka does, and `forgelog repair` as its user does.
"""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any

import asyncpg
import orjson
from aiokafka import TopicPartition

from events.language.jobs import JobAssigned, JobCompleted, JobSubmitted
from events.language.resources import NodeDrained, NodeRegistered
from events.language.streams import OUTPUT
from events.log.connect import connected
from events.log.consumers import new_consumer
from events.log.envelope import Position
from events.log.producer import new_producer
from events.log.reading import records_at
from events.log.tail import Tail
from events.log.topics import CONTEXTS, events
from events.log.wire import Raw
from events.process import faults
from forgelog.client.aio import AsyncClient
from forgelog.embedded.router import ROUTER
from forgelog.errors import ForgelogError
from tests.chaos import served
from tests.chaos.arena import PATIENCE, Arena
from tests.chaos.workload import Workload
from tests.integration.cluster import FORGELOG

TAKING = "defect in a stream"

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
    if _again(restarts, _restarts(arena)):
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
    "experiments": "jobs",
    "deployments": "jobs",
}
"""Context → another whose events it surely reacts to while jobs run."""

UNHEARD = {"pipelines"}
"""Contexts that hear of jobs of their own alone, and the workload has none."""

OWN_WORK: Mapping[str, Callable[[Workload], Awaitable[None]]] = {"deployments": served.changing}
"""Context → work that leads there; jobs lead to the others."""


def defect(point: str) -> Callable[[Arena, Workload, random.Random], Awaitable[str]]:
    """An exception at every event of a partition, where it is reacted to or projected, or whenever a partition acts by
    itself; then it is mended."""

    async def attack(arena: Arena, load: Workload, chance: random.Random) -> str:
        context = chance.choice([*HEARD])
        source = HEARD[context] if point == faults.IN_REACT else context
        number = _partition(source, chance)
        place = f"{events(source)}/{number}"
        armed = arena.armed(f"{context}-0", point)
        armed.write_text(f"{context}/{number}" if point == faults.IN_WAKE else place)
        restarts = _restarts(arena)
        work = partial(OWN_WORK[context], load) if context in OWN_WORK else None
        stopped = await _named(arena, load, lambda places: any(at.startswith(place) for at in places), work)
        armed.unlink()
        await asyncio.sleep(0.5)  # what was being read may have stopped too
        stopped = await _stopped(arena)
        _only(stopped, {at for at in stopped if at.startswith(place)})
        for at in stopped:
            await _decide(arena, Position.parse(at), "--retry")
        if _again(restarts, _restarts(arena)):
            raise AssertionError(f"processes were started again: {restarts}, {_restarts(arena)}")
        return f"a defect {point} of {context} stopped it at {', '.join(stopped)}; it was mended"

    return attack


def _partition(context: str, chance: random.Random) -> str:
    """The number of a partition that has events; of a context that fills one alone, nothing: it may be any."""
    return str(chance.randrange(4)) if context == "jobs" else ""


async def defect_in_take(arena: Arena, load: Workload, chance: random.Random) -> str:
    """An exception at every record of one partition of tasks' output; it is mended, and the record is tried again or
    passed over: then its job alone lacks output, and a rebuild passes over it as well."""
    topic, number = OUTPUT.name, chance.randrange(4)
    place = f"{topic}/{number}@"
    armed = arena.armed("jobs-0", faults.IN_TAKE)
    armed.write_text(place)
    restarts = _restarts(arena)
    printing = partial(load.print, 2, (1, 10, 1_000))
    stopped = await _named(arena, load, lambda places: any(at.startswith(place) for at in places), printing)
    _only(stopped, {at for at in stopped if at.startswith(place)})
    (at,) = stopped
    if stopped[at] != [f"stream {topic}/{number}"]:
        raise AssertionError(f"a stream's record stops {stopped[at]}")
    waits = (await _status(arena, "jobs")).get("waits", {})
    if not any(at in why for why in waits.values()):
        raise AssertionError(f"jobs stands still at {at}, and is said to wait for {waits}")
    armed.unlink()
    what = chance.choice(("--retry", "--skip"))
    if what == "--skip":
        load.cut_short.add(await _job_at(arena, Position.parse(at)))
    await _decide(arena, Position.parse(at), what)
    if _again(restarts, _restarts(arena)):
        raise AssertionError(f"processes were started again: {restarts}, {_restarts(arena)}")
    return f"a defect in taking output stopped it at {at}; it was mended, {what}"


async def defect_in_dump(arena: Arena, load: Workload, chance: random.Random) -> str:
    """A partition's states can't be dumped: that is a notice, and all goes on. It is mended, under that writer or the
    next, and a snapshot is taken."""
    context = chance.choice([each for each in CONTEXTS if each not in UNHEARD])  # one without a state dumps none
    number = _partition(context, chance)
    armed = arena.armed(f"{context}-0", faults.IN_DUMP)
    armed.write_text(f"{context}/{number}")
    restarts = _restarts(arena)
    jobs = partial(load.pump, 6, 0.05, int(number) if number else None)
    work = partial(OWN_WORK[context], load) if context in OWN_WORK else jobs

    async def told() -> bool:
        notices = (await _status(arena, context)).get("notices", {})
        return faults.IN_DUMP in notices.get(f"snapshots of {context}", "")

    await _until(told, load, f"that {context}/{number} has no snapshot is told nowhere", work)
    if stopped := await _stopped(arena):
        raise AssertionError(f"what can't be dumped stopped {stopped}")
    waits = (await _status(arena, context)).get("waits", {})
    if any(faults.IN_DUMP in why for why in waits.values()):
        raise AssertionError(f"what can't be dumped has {context} wait: {waits}")
    if _again(restarts, _restarts(arena)):
        raise AssertionError(f"processes were started again: {restarts}, {_restarts(arena)}")
    before = await _newest_snapshot(arena, context, number)
    if killed := chance.random() < 0.5:
        arena.signal(context, signal.SIGKILL)
    armed.unlink()

    async def taken() -> bool:
        return await _newest_snapshot(arena, context, number) > before and not await told()

    await _until(taken, load, f"{context}/{number} has no snapshot, though nothing is wrong any more", work)
    return f"the states of {context}/{number} could not be dumped{'; its writer is killed' if killed else ''}"


async def _named(
    arena: Arena, load: Workload, which: Callable[[Stopped], bool], work: Callable[[], Awaitable[None]] | None = None
) -> Stopped:
    """What stands still, once `which` is among it; work goes on meanwhile."""
    found: Stopped = {}

    async def named() -> bool:
        found.clear()
        found.update(await _stopped(arena))
        return which(found)

    await _until(named, load, "what was broken is named nowhere", work)
    return found


async def _until(
    holds: Callable[[], Awaitable[bool]],
    load: Workload,
    otherwise: str,
    work: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """Until something holds, while work goes on. Services that do not answer meanwhile are asked again."""
    loop = asyncio.get_running_loop()
    until, more = loop.time() + PATIENCE, 0.0
    while loop.time() < until:
        if loop.time() > more:
            more = loop.time() + 3.0
            load.working.append(asyncio.ensure_future((work or partial(load.pump, 2, 0.1))()))
        with suppress(ForgelogError):
            if await holds():
                return
        await asyncio.sleep(0.3)
    raise AssertionError(f"{otherwise} after {PATIENCE:.0f} s")


async def _stopped(arena: Arena) -> Stopped:
    found: Stopped = {}
    for context in CONTEXTS:
        for stop in (await _status(arena, context)).get("stopped", ()):
            found.setdefault(stop["position"], []).append(stop["place"])
    return found


async def _status(arena: Arena, context: str) -> Mapping[str, Any]:
    async with AsyncClient(arena.gateway, token=arena.platform.key) as client:
        return await client.log.status(context)


def _only(stopped: Stopped, wanted: set[str]) -> None:
    if set(stopped) != wanted:
        raise AssertionError(f"more stands still than was broken: {stopped}, not only {wanted}")


def _again(before: Mapping[str, int], now: Mapping[str, int]) -> bool:
    """Whether a process was started again. The router comes and goes with deployments."""
    return any(now.get(name, count) != count for name, count in before.items() if name != ROUTER)


def _restarts(arena: Arena) -> dict[str, int]:
    return {child.name: child.restarts for child in arena.state.children}


async def _newest_snapshot(arena: Arena, context: str, number: str) -> datetime:
    """When the newest snapshot of a context's partition was taken, or of all of them where none is named."""
    settings = arena.settings
    db = await asyncpg.connect(settings.postgres_required)
    try:
        taken: datetime | None = await db.fetchval(
            f'select max(taken_at) from "{settings.schema_}_log".snapshots where context = $1 '
            "and $2 in ('', partition::text)",
            context,
            number,
        )
    finally:
        await db.close()
    return taken or datetime.min.replace(tzinfo=UTC)


async def _job_at(arena: Arena, at: Position) -> str:
    """The job whose output a record is."""
    place = TopicPartition(arena.settings.prefix + at.topic, at.partition)
    async with connected(new_consumer(arena.settings)) as consumer:
        raw = (await records_at(consumer, {place: at.offset}))[place]
    return (raw.key or b"").decode()


async def _decide(arena: Arena, at: Position, what: str) -> None:
    """As an operator does: look at what stands still and at the record, then decide; it waits until all go on."""
    told = {row["position"]: row for row in orjson.loads(await _repair(arena, "--output", "json"))}
    if str(at) not in told:
        raise AssertionError(f"forgelog repair lists {list(told)}, and not {at}")
    if told[str(at)]["skippable"]:
        await _repair(arena, str(at))
    await _repair(arena, str(at), what, "--reason", "chaos")


async def _repair(arena: Arena, *arguments: str) -> bytes:
    """What `forgelog repair` says."""
    process = await asyncio.create_subprocess_exec(
        *(*FORGELOG, "repair", *arguments),
        env={**arena.environment("operator"), "FORGELOG_GATEWAY": arena.gateway},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said, problem = await process.communicate()
    if process.returncode:
        raise AssertionError(
            f"forgelog repair {' '.join(arguments)} ended with {process.returncode}: {problem.decode()}"
        )
    return said
