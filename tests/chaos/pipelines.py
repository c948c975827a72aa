"""Pipelines go on by the clock and by each other's datasets while whatever they run on is killed, and woken too late.

    python -m tests.chaos.pipelines [--rounds 20] [--seed 1] [--only WORD]      (make chaos CHAOS="pipelines ...")

1. A platform of its own. `ticking` appends rows to a dataset every ten seconds, `counting` runs whenever that has a new
   version, and `holding` runs whenever `feeding` has written one, and takes as long as it is held.
2. Each round makes one attack, drawn as from a deck: a worker is killed at one of its named points; one is stopped
   there and woken after another one has published in its place; a process of the platform is killed, or stopped until a
   second process of the service has taken over; five versions come while a run is held, with a kill amid them, and with
   two processes of the service.
3. After each: every tick fired once, at its time, and its run completed; each version of a dataset was committed and
   published once, in order; each tick's rows are in the table once; triggers took each version once. The tables of
   pipelines equal a rebuild.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import psutil
from aiokafka.errors import KafkaError

from events.language.pipelines.dataset_messages import VersionPublished
from events.language.pipelines.run_events import (
    RunCompleted,
    RunEnded,
    RunQueued,
    RunStarted,
    StageDispatched,
    WorkerReady,
)
from events.language.pipelines.schedule_messages import ScheduleFired
from events.process import faults
from events.projections import rebuild
from forgelog import AsyncClient
from forgelog.errors import ForgelogError
from tests.chaos import checks, outputs
from tests.chaos.arena import PROCESSES, Arena
from tests.chaos.outputs import EVERY, ROWS

PATIENCE = 240.0
LONGEST_PUBLICATION = 200.0
"""Seconds until another worker has published in place of one that stands still: limit, next attempt, a new worker."""
STOPPED_AT = (faults.AFTER_ASIDE, faults.AFTER_PREPARED, faults.BEFORE_PUBLICATION)
KILLED = (PROCESSES.get("pipelines", "pipelines"), "gateway", "kafka", "postgres", "agent-0", "agent-1", "supervisor")
RUNS = "forgelog.pipelines.v1.RunPipeline"

Attack = Callable[[], Awaitable[None]]


def specs(folder: Path, held: Path) -> dict[str, dict[str, Any]]:
    """The pipelines. Their workers' named points are in `folder`."""
    execution = {
        "variables": {"FORGELOG_FAULTS": str(folder), "FORGELOG_INSTANCE": "worker"},
        "keep_warm_seconds": 30,
        "max_workers": 2,
        "worker": {"cpus": 0.1, "memory_bytes": 600 << 20},
    }
    rest: dict[str, Any] = {"retry": {"max": 50, "backoff_seconds": 0}, "timeout_seconds": 20}
    raw = {"raw": {"source": {"type": "file_system", "path": str(folder.parent / "rows.csv")}}}

    def appending(id: str, dataset: str, sql: str) -> dict[str, Any]:
        sink = {"type": "dataset", "dataset": dataset, "mode": "append"}
        return {"id": id, "inputs": raw, "transformations": [_sql(sql)], "sink": sink, **rest}

    counted = {
        "id": "count",
        "inputs": {"given": {"source": {"type": "dataset", "dataset": "ticked"}}},
        "transformations": [_sql("SELECT count(*) AS rows FROM given")],
        "sink": {"type": "dataset", "dataset": "counted"},
        **rest,
    }
    job = {
        "metadata": {"name": "held"},
        "command": "sh",
        "args": ["-c", f"while [ -e {held} ]; do sleep 0.1; done"],
        "resources": {"cpus": 0.05, "memory_bytes": 32 << 20},
    }
    made: dict[str, dict[str, Any]] = {
        "ticking": {
            "stages": [appending("load", "ticked", "SELECT id, $interval_end AS tick FROM raw")],
            "schedule": {"every_seconds": EVERY, "catch_up": "all"},
        },
        "counting": {"stages": [counted], "triggers": [_trigger("ticked")]},
        "feeding": {"stages": [appending("feed", "fed", "SELECT id FROM raw")]},
        "holding": {
            "stages": [{"id": "hold", "job": job, **rest, "timeout_seconds": 600}],
            "triggers": [_trigger("fed")],
        },
    }
    return {name: {**spec, "execution": execution} for name, spec in made.items()}


def _sql(text: str) -> dict[str, Any]:
    return {"type": "custom", "custom": {"sql": text}}


def _trigger(dataset: str) -> dict[str, Any]:
    return {"name": "fresh", "dataset": {"datasets": [dataset]}}


class Story:
    """The platform, its pipelines, and what is done to them."""

    def __init__(self, arena: Arena, chance: random.Random) -> None:
        self.arena, self.chance = arena, chance
        self.log = checks.Log()
        self.held = arena.folder / "held"

    async def begin(self) -> None:
        lines = "\n".join(map(str, range(ROWS)))
        (self.arena.folder / "rows.csv").write_text(f"id\n{lines}\n")
        async with self.client() as client:
            for name, spec in specs(self.arena.faults, self.held).items():
                await client.pipelines.define(name, spec)
                await client.pipelines.activate(name)
        # an attack on a platform that has done nothing yet would leave nothing to compare
        await self.event(VersionPublished, lambda event: event.dataset_id == "ticked", PATIENCE)

    def client(self) -> AsyncClient:
        return AsyncClient(self.arena.gateway, token=self.arena.platform.key, timeout=30)

    def attacks(self) -> dict[str, Attack]:
        found: dict[str, Attack] = {}
        for point in faults.OF_WORKERS:
            found[f"worker killed {point}"] = partial(self.killed_at, point)
        for point in STOPPED_AT:
            found[f"zombie {point}"] = partial(self.zombie, point)
        for name in KILLED:
            found[f"kill {name}"] = partial(self.killed, name)
        found["workers killed"] = self.workers_killed
        found["second process of the service"] = self.second
        found["five versions"] = partial(self.five, replica=False)
        found["five versions, two processes"] = partial(self.five, replica=True)
        return found

    # Attacks

    async def killed_at(self, point: str) -> None:
        self.arena.arm("worker", point)
        await self.until(lambda: self.arena.reached("worker", point), f"no worker came to {point}")

    async def zombie(self, point: str) -> None:
        """The worker stands still with its executor, until its stage is published by another one."""
        self.arena.arm("worker", point, signal.SIGSTOP)
        await self.until(lambda: self.arena.reached("worker", point), f"no worker came to {point}")
        still = await self._stopped()
        try:
            job = next(each.environ()["FORGELOG_JOB"] for each in still)
            await self.log.read(self.arena)
            orders = [each.data for each in self.log.of(StageDispatched)]
            mine = next(each for each in reversed(orders) if isinstance(each, StageDispatched) and each.worker == job)
            await self.event(
                VersionPublished,
                lambda event: (event.run_id, event.stage_id) == (mine.run_id, mine.stage_id),
                LONGEST_PUBLICATION,
            )
        finally:
            for each in reversed(still):  # the worker last: its executor is not ended before it has gone on
                with suppress(psutil.NoSuchProcess):
                    each.resume()

    async def _stopped(self) -> list[psutil.Process]:
        """A worker that stands still at a point, with its executors; all stand still then."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            for worker in workers():
                with suppress(psutil.NoSuchProcess):
                    all_ = [worker, *worker.children(recursive=True)]
                    if any(each.status() == psutil.STATUS_STOPPED for each in all_):
                        for each in all_:
                            each.suspend()
                        return all_
            await asyncio.sleep(0.05)
        raise TimeoutError("no worker stands still")

    async def killed(self, name: str) -> None:
        await asyncio.sleep(self.chance.uniform(0, EVERY))
        self.arena.signal(name, signal.SIGKILL)
        await asyncio.sleep(self.chance.uniform(0, 3))

    async def workers_killed(self) -> None:
        """All of them, several times, whatever they do. Of three in a row that end before they are ready, the third
        would fail what waits for it, so one gets ready in between."""
        for _ in range(2):
            for _ in range(2):
                ready = await self.count(WorkerReady)
                for worker in list(workers()):
                    with suppress(psutil.NoSuchProcess):
                        worker.kill()
                await asyncio.sleep(self.chance.uniform(1, EVERY / 2))
            await self.until_count(WorkerReady, ready + 1)

    async def second(self) -> None:
        """The first process of the service stands still until the second one decides, and goes on then."""
        replica = await self.arena.start_replica("pipelines")
        try:
            self.arena.signal(KILLED[0], signal.SIGSTOP)
            fired = await self.count(ScheduleFired)
            until = time.monotonic() + PATIENCE
            while await self.count(ScheduleFired) <= fired and time.monotonic() < until:
                await asyncio.sleep(0.5)
            self.arena.thaw()
            await asyncio.sleep(3)
        finally:
            self.arena.end_replica(replica)

    async def five(self, *, replica: bool) -> None:
        """Versions come while a run of the trigger is held; the service is killed amid them."""
        second = await self.arena.start_replica("pipelines") if replica else ""
        try:
            self.held.touch()
            before = await self.count(RunStarted, lambda event: event.pipeline_id == "holding")
            await self.fed(1)
            await self.until_count(RunStarted, before + 1, lambda event: event.pipeline_id == "holding")
            await self.fed(2)
            self.arena.signal(KILLED[0], signal.SIGKILL)
            await self.fed(3)
        finally:
            self.held.unlink(missing_ok=True)
            if second:
                self.arena.end_replica(second)

    async def fed(self, count: int) -> None:
        """So many versions more of what feeds."""
        for _ in range(count):
            published = await self.count(VersionPublished, lambda event: event.dataset_id == "fed")
            async with self.client() as client:
                until = time.monotonic() + PATIENCE
                while True:
                    try:
                        await client.publish((RUNS, {"pipeline_id": "feeding"}))
                        break
                    except (ForgelogError, OSError):
                        if time.monotonic() > until:
                            raise
                        await asyncio.sleep(0.5)
            await self.until_count(VersionPublished, published + 1, lambda event: event.dataset_id == "fed")

    # Waiting

    async def until(self, done: Callable[[], bool], problem: str) -> None:
        until = time.monotonic() + PATIENCE
        while not done():
            if time.monotonic() > until:
                raise TimeoutError(problem)
            await asyncio.sleep(0.05)

    async def read(self) -> None:
        with suppress(KafkaError, OSError):
            await self.log.read(self.arena)

    async def count(self, kind: type, matches: Callable[[Any], bool] = lambda _: True) -> int:
        await self.read()
        return sum(matches(each.data) for each in self.log.of(kind))

    async def until_count(self, kind: type, count: int, matches: Callable[[Any], bool] = lambda _: True) -> None:
        until = time.monotonic() + PATIENCE
        while await self.count(kind, matches) < count:
            if time.monotonic() > until:
                raise TimeoutError(f"there are not {count} {kind.__name__} after {PATIENCE:.0f} s")
            await asyncio.sleep(0.2)

    async def event(self, kind: type, matches: Callable[[Any], bool], seconds: float) -> None:
        until = time.monotonic() + seconds
        while not await self.count(kind, matches):
            if time.monotonic() > until:
                raise TimeoutError(f"there is no {kind.__name__} after {seconds:.0f} s")
            await asyncio.sleep(0.1)

    async def settled(self) -> list[str]:
        """Wait until all runs that there are have ended, and what they have published was taken."""
        await self.log.read(self.arena)
        queued = {each.data.run_id for each in self.log.of(RunQueued)}  # type: ignore[attr-defined]
        until = time.monotonic() + PATIENCE
        while open_ := queued - {each.data.run_id for each in self.log.of(RunEnded)}:  # type: ignore[attr-defined]
            if time.monotonic() > until:
                return [f"run {id} has not ended {PATIENCE:.0f} s after the attack" for id in sorted(open_)]
            await asyncio.sleep(0.5)
            await self.read()
        return []

    # What must hold

    async def problems(self) -> list[str]:
        found = await self.settled()
        difference = await rebuild.diff(self.arena.settings, "pipelines")
        if not difference.equal:
            found.append(f"pipelines differs from a rebuild: {difference.missing or ''} {difference.surplus or ''}")
        return [*found, *outputs.wrong(self.log)]


def workers() -> Iterator[psutil.Process]:
    """The workers that this process's platform has, not their executors."""
    for each in psutil.process_iter():
        with suppress(psutil.Error):
            command = each.cmdline()
            if command[-1:] == ["forgelog.worker"] and each.environ().get("FORGELOG_INSTANCE") == "worker":
                yield each


async def play(rounds: int, seed: int, only: str) -> list[str]:
    """What did not hold. The platform's folder stays if there is anything."""
    folder = Path(tempfile.mkdtemp(prefix="forgelog-pipelines-"))
    chance, found, deck = random.Random(seed), list[str](), list[str]()
    async with Arena(folder) as arena:
        story = Story(arena, chance)
        await story.begin()
        for number in range(1, rounds + 1):
            attacks = {name: attack for name, attack in story.attacks().items() if only in name}
            if not deck:
                deck = sorted(attacks)
                chance.shuffle(deck)
            name = deck.pop()
            began = time.monotonic()
            wrong: list[str] = []
            try:
                await attacks[name]()
            except TimeoutError as error:
                wrong.append(str(error))
            attacked = time.monotonic()
            await arena.recover()
            wrong += await story.problems()
            ran = sum(1 for _ in story.log.of(RunCompleted))
            took = f"{attacked - began:.0f} s, whole after {time.monotonic() - attacked:.0f} s"
            print(f"round {number}, {name}: {took}; {ran} runs so far; {wrong or 'clean'}", flush=True)
            if wrong:
                found += [f"round {number} ({name}): {each}" for each in wrong]
                break  # what follows would say the same again
    if found:
        print(f"the platform's folder is {folder}")
    else:
        shutil.rmtree(folder)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.pipelines", description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="only attacks whose name has this in it")
    asked = parser.parse_args()
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # that the broker can't be reached is no news here
    found = asyncio.run(play(asked.rounds, asked.seed, asked.only))
    print("clean" if not found else f"{len(found)} PROBLEMS")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
