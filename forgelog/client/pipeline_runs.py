"""Runs of pipelines through the client."""

from __future__ import annotations

import asyncio
import codecs
from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import datetime
from typing import Any, cast

from forgelog.client.core import Namespace
from forgelog.client.jobs import AsyncJobs
from forgelog.client.pipeline_ids import pipeline_id
from forgelog.client.plain import Answer, plain
from forgelog.client.rows import PipelineRunRow, PipelineWorkerRow, StageRunRow
from forgelog.client.statuses import PIPELINE_RUNS
from forgelog.client.words import enum_words, several
from forgelog.errors import NotFound, Timeout
from forgelog_pb.pipelines.v1 import run_queries_pb2 as pb
from forgelog_pb.pipelines.v1 import run_queries_pb2_grpc as rpc
from forgelog_pb.pipelines.v1 import types_pb2 as types

CONTEXT = "pipelines"

RUN_SECONDS = 86_400.0
"""Longest wait for a run, if no other is asked for."""

LOG_SECONDS = 10.0

ENDED = ("completed", "failed", "cancelled")


class AsyncPipelineRuns(Namespace):
    """Runs of pipelines: `forgelog.pipelines.v1.RunQueries`, and the commands on them.

    A `name` is a pipeline's name in the client's project, or its id. A `number` is a run's; 0 is the newest run.
    """

    @property
    def _stub(self) -> Any:
        return rpc.RunQueriesStub(self._core.channel)

    async def start(
        self,
        name: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        version: int = 0,
        interval: tuple[datetime, datetime] | None = None,
        debug: bool = False,
        note: str = "",
        trigger: str = "api",
        id: str = "",
    ) -> int:
        """Run a pipeline once; the run's number. `interval`: what stretch of time it is about. `debug`: keep what its
        stages wrote aside when they fail. `id`: the idempotency key; a repeat yields the same run. Raises `Refused`."""
        body: dict[str, Any] = {
            "pipeline_id": self._id(name),
            "parameters": {key: _text(value) for key, value in (parameters or {}).items()},
            "pipeline_version": version,
            "debug": debug,
            "note": note,
            "trigger": trigger,
        }
        if interval is not None:
            body["interval_start"], body["interval_end"] = (each.isoformat() for each in interval)
        outcome = await self._core.publish((f"forgelog.{CONTEXT}.v1.RunPipeline", body), id=id)
        (run,) = await self.list(name, trigger_id=outcome.id, limit=1)
        return int(run.number)

    async def cancel(self, name: str, number: int, *, reason: str = "") -> Answer:
        """End a run. Raises `Refused`."""
        return await self._send("CancelRun", name, number, reason=reason)

    async def pause(self, name: str, number: int, *, reason: str = "") -> Answer:
        """Let no further stage of a run begin. Raises `Refused`."""
        return await self._send("PauseRun", name, number, reason=reason)

    async def resume(self, name: str, number: int) -> Answer:
        """Go on with a paused run. Raises `Refused`."""
        return await self._send("ResumeRun", name, number)

    async def retry(self, name: str, number: int) -> Answer:
        """Do again what failed of a run. Raises `Refused`."""
        return await self._send("RetryRun", name, number)

    async def get(self, name: str, number: int = 0, *, at: datetime | None = None) -> PipelineRunRow:
        """A run. Raises `NotFound`."""
        options = self._core.options(CONTEXT, at)
        request = pb.GetPipelineRunRequest(pipeline_id=self._id(name), number=number, options=options)
        answer = await self._core.ask(self._stub.GetPipelineRun, request, f"run {name}/{number or 'newest'}")
        return cast("PipelineRunRow", plain(answer.run))

    async def stages(
        self,
        name: str,
        number: int = 0,
        *,
        status: Iterable[str] = (),
        at: datetime | None = None,
        limit: int | None = None,
    ) -> list[StageRunRow]:
        """Stages of a run that have begun or were skipped, by id. Raises `NotFound`."""
        request = pb.ListStageRunsRequest(
            pipeline_id=self._id(name),
            number=number,
            statuses=enum_words(types.StageStatus.DESCRIPTOR, status, "status"),
            options=self._core.options(CONTEXT, at),
        )
        return await self._core.pages(self._stub.ListStageRuns, request, "stages", "stages", limit)

    async def workers(
        self, name: str, *, at: datetime | None = None, limit: int | None = None
    ) -> list[PipelineWorkerRow]:
        """Workers of a pipeline, newest first; those that have ended too."""
        options = self._core.options(CONTEXT, at)
        request = pb.ListPipelineWorkersRequest(pipeline_id=self._id(name), options=options)
        return await self._core.pages(self._stub.ListPipelineWorkers, request, "workers", "workers", limit)

    async def watch(
        self, name: str = "", *, runs: Iterable[str] = (), project: str = ""
    ) -> AsyncIterator[PipelineRunRow]:
        """Runs as they are now, and each again whenever it has changed. `runs`: ids. Has no end."""
        wanted, of = several(runs), self._id(name) if name else ""

        def request() -> Any:
            options = self._core.options(CONTEXT, None)
            return pb.WatchPipelineRunsRequest(run_ids=wanted, pipeline_id=of, project=project, options=options)

        async for answer in self._core.connection.resumed(self._stub.WatchPipelineRuns, request, what="watch"):
            yield cast("PipelineRunRow", plain(answer.run))

    async def wait(self, name: str, number: int, *, timeout: float = RUN_SECONDS) -> PipelineRunRow:
        """Wait until a run has ended; the run as it is then. Raises `NotFound`, `Timeout`."""
        run_id = (await self.get(name, number)).run_id
        try:
            async with asyncio.timeout(timeout):
                async for row in self.watch(runs=[run_id]):
                    if row.status in ENDED:
                        return row
        except TimeoutError:
            raise Timeout(f"run {number} of {name} has not ended after {timeout:g} seconds") from None
        raise AssertionError("a watch has no end")

    async def logs(self, name: str, number: int, stage: str, *, timeout: float = LOG_SECONDS) -> AsyncIterator[str]:
        """What the last attempt of a stage printed, in pieces of text. `timeout`: longest wait for a piece that was
        printed and has not arrived, in seconds. Raises `NotFound`, if the stage has not begun too."""
        rows = await self.stages(name, number)
        found = [row for row in rows if row.stage_id == stage]
        if not found or not found[0].worker:
            begun = ", ".join(sorted(row.stage_id for row in rows if row.worker)) or "none has"
            run = f"run {number}" if number else "the newest run"
            raise NotFound(f"no stage {stage!r} of {run} of {name} has begun; those that have: {begun}")
        row = found[0]
        first, end = int(row.metrics["log_first"]), int(row.metrics["log_end"])
        whole = row.phase is None or not end  # a job of its own, or a stage that has not said where its log is
        pieces = aiter(AsyncJobs(self._core).logs(row.worker, stream="" if whole else "stdout", follow=not whole))
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        while whole or first < end:
            try:
                piece = await asyncio.wait_for(anext(pieces), timeout)
            except (StopAsyncIteration, TimeoutError):
                return
            if whole:
                yield str(piece["text"])
                continue
            begin, data = int(piece["offset"]), bytes(piece["data"])
            part = data[max(0, first - begin) : max(0, end - begin)]
            if part:
                first = begin + len(data)
                yield decoder.decode(part)

    def _id(self, name: str) -> str:
        return pipeline_id(name, self._core.own_project)

    async def _send(self, command: str, name: str, number: int, **fields: Any) -> Answer:
        body = {"pipeline_id": self._id(name), "number": number, **fields}
        return await self._core.publish((f"forgelog.{CONTEXT}.v1.{command}", body))

    # The last, for annotations below it would take its name for the builtin's.
    async def list(
        self,
        name: str = "",
        *,
        project: str = "",
        status: Iterable[str] = (),
        trigger: Iterable[str] = (),
        trigger_id: str = "",
        at: datetime | None = None,
        limit: int | None = None,
    ) -> list[PipelineRunRow]:
        """Runs of a pipeline, or of all, newest first. `trigger_id`: what asked for them, such as a command's id."""
        request = pb.ListPipelineRunsRequest(
            pipeline_id=self._id(name) if name else "",
            project=project,
            statuses=enum_words(types.PipelineStatus.DESCRIPTOR, status, "status", among=PIPELINE_RUNS),
            triggers=enum_words(types.RunTrigger.DESCRIPTOR, trigger, "trigger"),
            trigger_id=trigger_id,
            options=self._core.options(CONTEXT, at),
        )
        return await self._core.pages(self._stub.ListPipelineRuns, request, "runs", "runs", limit)


def _text(value: Any) -> str:
    """A parameter's value as it goes over the wire."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
