"""The course of an overload: measure the capacity, ask for several times as much, see it end, flood the log, check.

What must hold: memory stays within bounds, what was accepted is decided once, what was refused is not in the log, those
who heed the hints get through, and in the end the platform is as quick as before, with nobody's help.
"""

from __future__ import annotations

import asyncio
import logging
import statistics
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from events.language.contexts import contexts
from events.process.settings import Settings
from tests.overload.load import Strangers, Tally, flood, heed, rush
from tests.overload.watch import Memory, Pids, Story

CALLERS = 64
"""At once, while the capacity is measured."""
PATIENT = 4
"""Users who heed hints."""
OVERLOAD = 100
"""Refusals from which on a rush was one."""
FASTEST = 20_000.0
"""Submits per second that the callers can't reach: to be asked for more would change nothing."""
DRAIN_SECONDS = 900.0
MOST_CUT = 0.01
"""Of all calls, those that gRPC may cut: the gateway's process had no time to look at so many."""
"""Longest time until everything accepted has run."""

MIB = 1 << 20
GROWTH: Mapping[str, int] = {"gateway": 160 * MIB}
"""What a process may grow by, however much comes in; others by `OTHERS`, and `PER_JOB` for each job they must know."""
OTHERS = 160 * MIB
PER_JOB = 10_000
"""Bytes of a job in a service's memory, all told: state, dedup window, cached rows."""
SERVICES = ("gateway", *contexts())

log = logging.getLogger("overload")


@dataclass(frozen=True)
class Target:
    """A running platform."""

    gateway: str
    key: str
    settings: Settings
    pids: Pids


@dataclass
class Result:
    """What came of it."""

    capacity: float = 0.0
    rate: float = 0.0
    seconds: float = 0.0
    tally: Tally = field(default_factory=Tally)
    rushed: tuple[float, float] = (0.0, 0.0)
    """When the rush began and its last answer came, in seconds of the memory's clock."""
    patient: list[float] = field(default_factory=list)
    """Seconds that the submits of those took who heed hints."""
    before: float = 0.0
    """Median seconds of a submit with nothing else going on, before and after."""
    after: float = 0.0
    jobs: int = 0
    drained: float = 0.0
    """Seconds from the end of the rush until every accepted job had run."""
    flooded: int = 0
    flood_sent: float = 0.0
    flood_decided: float = 0.0
    flood_drained: float = 0.0
    flood_began: float = 0.0
    memory: Memory | None = None
    problems: list[str] = field(default_factory=list)


async def play(target: Target, *, seconds: float, times: float, flooded: int, pace_seconds: float = 5.0) -> Result:
    """All of it on a fresh platform."""
    result = Result(seconds=seconds, flooded=flooded)
    story = Story(target.settings)
    born = dict(target.pids())
    warm = Tally()
    strangers = Strangers(target.gateway, target.key, warm)
    with Memory(target.pids) as memory:
        result.memory = memory
        await strangers.pace(1, 1.0)
        result.before = statistics.median(await heed(target.gateway, target.key, 20, 30.0))
        result.capacity = await strangers.pace(CALLERS, pace_seconds)
        result.rate = max(result.capacity * times, 1.0)
        await strangers.close()
        log.info("capacity: %.0f submits/s; now %.0f/s for %.0f s", result.capacity, result.rate, seconds)

        tally = result.tally = await _rush(target, result)
        while len(tally.refused) < OVERLOAD and result.rate < FASTEST:
            # Other programs had the cores while the capacity was measured: it is more than that now.
            result.rate *= 2
            log.info("%d refused: now %.0f/s for %.0f s", len(tally.refused), result.rate, seconds)
            tally.add(await _rush(target, result))
        result.rushed = (tally.began - memory.began, time.monotonic() - memory.began)
        log.info("%d accepted, %d refused; waiting for the jobs", len(tally.accepted), len(tally.refused))

        try:
            result.drained = await story.until(
                lambda: not story.undecided and story.submitted <= story.ended, DRAIN_SECONDS
            )
        except TimeoutError:
            result.problems.append(
                f"{len(story.submitted - story.ended)} jobs have not run {DRAIN_SECONDS:.0f} s later"
            )
        result.jobs = len(story.submitted)
        result.after = statistics.median(await heed(target.gateway, target.key, 20, 30.0))
        if flooded:
            await _flood(target, story, result)
        result.problems += _kept(result, story)
        result.problems += _memory(memory, len(story.submitted))
    if (now := dict(target.pids())) != born:
        result.problems.append(f"processes were replaced: {born} became {now}")
    return result


async def _rush(target: Target, result: Result) -> Tally:
    patient = [asyncio.create_task(_patient(target, result.seconds)) for _ in range(PATIENT)]
    tally = await rush(target.gateway, target.key, result.rate, result.seconds)
    result.patient += [took for each in await asyncio.gather(*patient) for took in each]
    return tally


async def _patient(target: Target, seconds: float) -> list[float]:
    until = time.monotonic() + seconds
    took: list[float] = []
    while time.monotonic() < until:
        took += await heed(target.gateway, target.key, 1, 120.0)
    return took


async def _flood(target: Target, story: Story, result: Result) -> None:
    assert result.memory is not None
    result.flood_began = time.monotonic() - result.memory.began
    result.flood_sent = await flood(target.settings, result.flooded)
    log.info("%d submits are in Kafka after %.1f s", result.flooded, result.flood_sent)
    began = time.monotonic()
    try:
        await story.until(lambda: not story.undecided, DRAIN_SECONDS)
        result.flood_decided = result.flood_sent + time.monotonic() - began
        log.info("all are decided after %.1f s", result.flood_decided)
        await story.until(lambda: not story.undecided and story.submitted <= story.ended, DRAIN_SECONDS)
        result.flood_drained = result.flood_sent + time.monotonic() - began
    except TimeoutError:
        result.problems.append(
            f"of the flood {len(story.undecided)} are not decided, {len(story.submitted - story.ended)} have not run"
        )


def _kept(result: Result, story: Story) -> Iterator[str]:
    """What was promised about commands."""
    tally = result.tally
    if lost := [id for id in tally.accepted if id not in story.commands]:
        yield f"{len(lost)} accepted commands are not in the log, such as {lost[0]}"
    if undecided := story.undecided:
        yield f"{len(undecided)} commands have no outcome, such as {next(iter(undecided))}"
    if twice := [id for id, times in story.outcomes.items() if times > story.commands.get(id, 0)]:
        yield f"{len(twice)} commands were decided more often than they were sent, such as {twice[0]}"
    if leaked := [id for id in tally.refused if id in story.commands]:
        yield f"{len(leaked)} refused commands are in the log, such as {leaked[0]}"
    if not tally.refused:
        yield "nothing was refused"
    if tally.unhinted:
        yield f"{tally.unhinted} refusals had no hint"
    others = sum((second.other for second in tally.seconds), start=type(tally.seconds[0].other)())
    if others:
        yield f"calls failed otherwise: {dict(others.most_common(3))}"
    sent, cut = sum(second.sent for second in tally.seconds), sum(second.cut for second in tally.seconds)
    if cut > MOST_CUT * sent:
        yield f"{cut} of {sent} calls were cut without a word"
    if not result.patient:
        yield "nobody who heeded the hints got through"
    if result.after > 5 * result.before + 0.1:
        yield f"a submit takes {result.after * 1000:.0f} ms afterwards, {result.before * 1000:.0f} ms before"


def _memory(memory: Memory, jobs: int) -> Iterator[str]:
    """Nobody outgrew its bound."""
    for name in SERVICES:
        grown = memory.most(name) - memory.first(name)
        allowed = GROWTH.get(name, OTHERS + PER_JOB * jobs)
        if grown > allowed:
            yield f"{name} grew by {grown / MIB:.0f} MiB; at most {allowed / MIB:.0f} MiB were allowed"
