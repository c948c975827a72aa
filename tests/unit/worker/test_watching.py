"""A watcher's way with a trigger that can't be looked at for a while, on real files."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from events.language.base import Command, Event
from events.language.pipelines.pipeline import PipelineSpec
from events.language.pipelines.run_commands import ReportWorkerReady
from events.language.pipelines.watch_messages import ReportFilesArrived, ReportTriggerTrouble, TriggerWatched
from events.language.pipelines.work import WorkerSpec
from forgelog.pipelines.io import IoContext
from forgelog.worker.starting import Start
from forgelog.worker.watch.serving import Watcher

SECONDS = 30.0


class Sent:
    """What a watcher reports."""

    def __init__(self) -> None:
        self._reports: asyncio.Queue[Command] = asyncio.Queue()

    def report(self, command: Command, *, urgent: bool = True) -> None:
        self._reports.put_nowait(command)

    async def next(self, kind: type[Any]) -> Any:
        async with asyncio.timeout(SECONDS):
            while not isinstance(found := await self._reports.get(), kind):
                pass
        return found


class Described:
    """One version of a pipeline."""

    def __init__(self, path: Path) -> None:
        files = {"type": "file_system", "path": str(path), "poll_seconds": 1, "settle_seconds": 0}
        trigger = {"name": "arrivals", "files": files}
        self._spec = PipelineSpec.model_validate({"stages": [{"id": "load"}], "triggers": [trigger]})

    async def get(self, pipeline_id: str, version: int) -> PipelineSpec:
        return self._spec


async def _orders() -> AsyncIterator[Event | None]:
    yield None
    told = TriggerWatched(pipeline_id="p", worker="w", trigger="arrivals", pipeline_version=1, since=datetime.now(UTC))
    yield told
    yield told
    await asyncio.Event().wait()


async def test_what_is_wrong_is_told_once_and_what_was_seen_before_is_still_known_after_it(tmp_path: Path) -> None:
    path, sent = tmp_path / "in", Sent()
    start = Start(WorkerSpec(pipeline_id="p", worker="w", pipeline_version=1), "local/default", tmp_path, None)
    watcher = Watcher(start, sent, Described(path), IoContext(scratch=tmp_path))
    running = asyncio.create_task(watcher.run(_orders()))
    try:
        await sent.next(ReportWorkerReady)
        assert (await sent.next(ReportFilesArrived)).looked, "there is no file, and it was looked"
        assert (await sent.next(ReportTriggerTrouble)).reason == ""
        path.mkdir()
        (path / "a.csv").write_text("x\n")
        assert "is a folder" in (await sent.next(ReportTriggerTrouble)).reason
        (path / "a.csv").rename(tmp_path / "moved")
        path.rmdir()
        os.utime(tmp_path / "moved", (0, 0))
        (tmp_path / "moved").rename(path)
        arrived = await sent.next(ReportFilesArrived)
        assert [each.url for each in arrived.files] == [str(path)], "though it was written before the first look"
        assert not arrived.existing
        assert (await sent.next(ReportTriggerTrouble)).reason == ""
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
