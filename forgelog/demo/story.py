"""The demo: training data made by a pipeline, real training runs on a two-node cluster, a service killed on the way,
a search for a better model, which is then served, and proof that nothing was lost.

Uses only what any user has: the client, and the checks behind `forgelog rebuild --check` and `forgelog audit verify`.
Every claim it prints is checked; a claim that does not hold raises `DemoFailed`.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from events.audit.audit import verify
from events.language.contexts import contexts
from events.process.settings import Settings
from events.projections import rebuild
from forgelog.cli.render import column
from forgelog.client.aio import AsyncClient, AsyncJob
from forgelog.demo import train
from forgelog.demo.data import Data
from forgelog.demo.experiments import ENVIRONMENT, RESOURCES, Experiments
from forgelog.demo.promises import DemoFailed, check
from forgelog.demo.serving import Serving
from forgelog.demo.stage import MODELS, Jobs, Stage
from forgelog.embedded.platform import Options, Platform

TASKS = len(train.CONFIGURATIONS)
PATIENCE = 150.0
"""Seconds for the training runs, a restart of the broker included."""


@dataclass
class Story:
    """One performance."""

    platform: Platform
    client: AsyncClient
    stage: Stage
    victim: str
    """The process that is killed with -9 midway."""
    midway: datetime | None = None
    jobs: dict[str, AsyncJob] = field(default_factory=dict)

    environment: dict[str, str] = field(default_factory=dict)
    """Of each training: where its images are."""

    async def perform(self) -> None:
        data = Data(self.client, self.stage)
        await data.perform()
        self.environment = data.environment
        await self.submit()
        await self.train_and_kill()
        await self.winner()
        await self.why()
        await Experiments(self.client, self.stage, self.environment).perform(self.jobs["search"])
        await Serving(self.platform, self.client, self.stage).perform()
        await self.rebuilt()
        await self.audited()
        await self.earlier()

    async def submit(self) -> None:
        self.stage.act(f"Submit: {TASKS} models to train, a job that asks for too much, one to cancel, one that waits")
        python = [sys.executable, "-u"]
        search = await self.client.submit(
            name="digits",
            command=[*python, str(Path(train.__file__))],
            array={"size": TASKS, "max_parallel": 4},
            resources=RESOURCES,
            restart={"mode": "on_failure", "max_restarts": 2, "backoff": "500ms"},
            env={**ENVIRONMENT, **self.environment},
        )
        self.jobs["search"] = search
        self.jobs["greedy"] = await self.client.submit(name="greedy", command="true", resources={"cpus": 512})
        self.jobs["nap"] = await self.client.submit(
            name="nap", command=["sleep", "3600"], resources={"cpus": 0.1, "memory": "16Mi"}
        )
        said = "print('every model is trained')"
        self.jobs["report"] = await self.client.submit(
            name="report", command=[*python, "-c", said], depends_on=[search.id], resources={"cpus": 0.1}
        )

    async def train_and_kill(self) -> None:
        self.stage.act("They run")
        search, nap, report = (self.jobs[name] for name in ("search", "nap", "report"))
        killing: asyncio.Task[None] | None = None
        cancelled = False
        left = {search.id, nap.id, report.id}
        with self.stage.jobs() as shown:
            async with asyncio.timeout(PATIENCE):
                async for job in self._watch():
                    shown.show(job)
                    if job.job_id == search.id and job.tasks.running >= 2 and killing is None:
                        self.midway = datetime.now(UTC)
                        killing = asyncio.create_task(self._kill(shown))
                    if job.job_id == nap.id and job.status == "running" and not cancelled:
                        cancelled = True
                        await nap.cancel(reason="the demo is no place to sleep")
                    if job.status in ("completed", "failed", "cancelled"):
                        left.discard(job.job_id)
                    if not left:
                        break
            if killing is not None:
                await killing
        ends = {name: (await self.jobs[name].refresh()).status for name in ("search", "nap", "report")}
        check(ends == {"search": "completed", "nap": "cancelled", "report": "completed"}, f"the jobs ended as {ends}")
        check(self.midway is not None, "the training was never seen running")

    async def _watch(self) -> AsyncIterator[Any]:
        async for job in self.client.jobs.watch([job.id for job in self.jobs.values()]):
            yield job

    async def _kill(self, shown: Jobs) -> None:
        """End a process as a crash would, and wait until the platform is whole again."""
        state = self.platform.state()
        check(state is not None, "the platform has no state")
        assert state is not None
        if self.victim == "supervisor":
            pid = state.supervisor.pid
        else:
            (pid,) = [child.pid for child in state.children if child.name == self.victim]
        os.kill(pid, signal.SIGKILL)
        shown.say(f"killed {self.victim} (pid {pid}) with -9, amid the work")
        if self.victim == "supervisor":
            await self.platform.up()
        while (now := self.platform.state()) is not None:
            ready = [child for child in now.children if child.up]
            same = [child for child in now.children if child.name == self.victim and child.pid == pid]
            if now.supervisor.alive and not same and len(ready) == len(now.children):
                break
            await asyncio.sleep(0.05)
        shown.say(f"{self.victim} is back")

    async def winner(self) -> None:
        self.stage.act("The models, from what each task printed")
        search = self.jobs["search"]
        attempts = await search.attempts()
        lines: dict[int, list[str]] = {}
        async for piece in search.logs(stream="stdout"):
            lines.setdefault(piece.task, []).append(piece.text)
        rows = []
        for task in range(TASKS):
            said = "".join(lines.get(task, [])).strip().splitlines()
            check(bool(said), f"task {task} printed nothing")
            tried = sum(attempt.task == task for attempt in attempts)
            rows.append({**json.loads(said[-1]), "attempts": tried})
        rows.sort(key=lambda row: -row["accuracy"])
        self.stage.table(rows, MODELS)
        best = rows[0]
        self.stage.say(f"the winner: {best['model']} {best['parameters']}, accuracy {best['accuracy']:.1%}")
        failing = next(row for row in rows if row["task"] == train.FAILING_TASK)
        check(failing["attempts"] >= 2, "the task that fails at first was not tried again")
        codes = [attempt.exit_code for attempt in attempts if attempt.task == train.FAILING_TASK]
        self.stage.say(f"task {train.FAILING_TASK} failed at first and was run again: exit codes {codes}")
        check(best["accuracy"] > 0.95, "no model is any good")

    async def why(self) -> None:
        greedy = self.jobs["greedy"]
        self.stage.act(f"Why does {greedy.name} still wait?")
        found = await greedy.why()
        self.stage.say(found.message)
        check(bool(found.entries) and bool(found.entries[0].reasons), "nobody knows why greedy waits")
        columns = [column("Nodes", right=True), column("Of", "node_group"), column("Reason"), column("Detail")]
        self.stage.table(found.entries[0].reasons, columns)
        await greedy.cancel(reason="it will never fit")
        check((await greedy.wait(timeout=30)).status == "cancelled", "greedy was not cancelled")

    async def rebuilt(self) -> None:
        self.stage.act("Build every table anew from the log, beside the live ones, and compare")
        rows = []
        for context in contexts():
            found = await rebuild.diff(self._settings(), context)
            rows.append(
                {
                    "service": context,
                    "events": found.events,
                    "rows": sum(found.rows.values()),
                    "result": "ok" if found.equal else "differs",
                }
            )
            check(found.equal, f"a rebuild of {context} differs: missing {found.missing}, surplus {found.surplus}")
        columns = [
            column("Service"),
            column("Events", right=True),
            column("Rows", right=True),
            column("Result", style=True),
        ]
        self.stage.table(rows, columns)

    async def audited(self) -> None:
        self.stage.act("Verify the hash chain of the whole history")
        found = await verify(self._settings())
        problems = [f"{item.place}: {problem}" for item in found for problem in item.problems]
        check(not problems, "; ".join(problems))
        records, void = sum(item.records for item in found), sum(item.void for item in found)
        self.stage.say(f"{records} records in {len(found)} partitions are as they were written; {void} void")

    async def earlier(self) -> None:
        search = self.jobs["search"]
        assert self.midway is not None
        self.stage.act(f"The training as it was at {self.midway:%H:%M:%S.%f} UTC, right before the kill")
        then = await search.refresh(at=self.midway)
        counted = {name: number for name, number in then.tasks.items() if number and name != "total"}
        self.stage.say(f"{then.name} was {then.status}: {counted}")
        check(then.status == "running", f"as of {self.midway} the search was {then.status}, not running")

    def _settings(self) -> Settings:
        state = self.platform.state()
        assert state is not None
        return self.platform.settings.model_copy(update=state.servers)


async def perform(data: Path | None, victim: str, *, keep: bool, progress: Any) -> None:
    """Start a platform if none runs, play the story, and stop what was started. Raises ForgelogError."""
    platform = Platform(data)
    was_up = platform.supervised
    stage = Stage()
    try:
        stage.act("Start a platform: the real Kafka broker, the real Postgres, the services, two nodes")
        await platform.up(Options(agents=2), progress.download, seen=progress.waiting)
        state = await platform.wait(seen=progress.children)
        progress.done()
        stage.say(f"it is up; gateway {state.gateway}, data in {platform.folder.path}")
        victims: Sequence[str] = ["supervisor", *(child.name for child in state.children)]
        if victim not in victims:
            raise DemoFailed(f"--kill: there is no {victim!r}; there are {', '.join(victims)}")
        async with AsyncClient(state.gateway, token=platform.key) as client:
            await Story(platform, client, stage, victim).perform()
        stage.act("Everything held.")
    finally:
        if not was_up and not keep:
            await platform.down()
        elif keep:
            stage.say(f"the platform runs on; 'forgelog down --data {platform.folder.path}' stops it")
