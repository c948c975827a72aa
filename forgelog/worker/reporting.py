"""Reports of what a worker does. Makes commands; knows neither processes nor connections."""

from __future__ import annotations

import logging
from typing import Protocol

from pydantic import ValidationError

from events.language.base import Command
from events.language.pipelines.enums import StageOutcome, StagePhase
from events.language.pipelines.run_commands import (
    ReportStageEnded,
    ReportStagePrepared,
    ReportStageProgress,
    ReportStagePublished,
    ReportStageResolved,
    ReportStageStarted,
    ReportWorkerReady,
    StageReport,
)
from events.language.pipelines.run_events import StageDispatched
from events.language.pipelines.work import FailureKind, StageFailure, StageMetrics
from events.process import faults
from forgelog.worker.platform import Refusal
from forgelog.worker.starting import Start, problems_of
from forgelog.worker.working import Done, Order, Progress

log = logging.getLogger("forgelog.worker")

_STALE = frozenset({"aborted", "failed_precondition", "not_found"})
"""Codes of refusals that say: another attempt counts by now, or none does."""


class Sender(Protocol):
    """Sends reports in their order."""

    def report(self, command: Command, *, urgent: bool = True) -> None: ...
    async def all_sent(self) -> None: ...


class Stopping(Protocol):
    """What stops an attempt whose reports are refused."""

    def refused(self, attempt: tuple[str, str, int], refusal: Refusal) -> None: ...


class Reports:
    """See `working.Reporting`."""

    def __init__(self, start: Start, sender: Sender) -> None:
        self._start, self._sender = start, sender
        self.stopping: Stopping | None = None
        """Is told of attempts that do not count any more."""

    def ready(self) -> None:
        spec = self._start.spec
        self._sender.report(ReportWorkerReady(pipeline_id=spec.pipeline_id, worker=spec.worker))

    def started(self, order: Order) -> None:
        if order.event.phase is StagePhase.PUBLISH:
            return  # the attempt has begun long ago
        # One that ends at once takes the same way as its end.
        self._sender.report(ReportStageStarted(**_attempt(order.event)), urgent=False)

    def progress(self, progress: Progress) -> None:
        event = progress.order.event
        # Not the range of its log: if the worker is lost, all that it printed is shown.
        metrics = StageMetrics(seconds=progress.seconds, peak_memory_bytes=progress.peak_memory_bytes)
        self._sender.report(ReportStageProgress(**_attempt(event), metrics=metrics))

    def done(self, done: Done) -> None:
        try:
            command = self._of(done)
        except ValidationError as error:
            problem = f"what the stage made can't be reported: {problems_of(error)}"
            command = _failed(done.order.event, problem[:4_000])
        self._sender.report(command)

    async def all_sent(self) -> None:
        await self._sender.all_sent()

    def heard(self, command: Command, refusal: Refusal | None) -> None:
        """What became of a report."""
        if refusal is None and isinstance(command, ReportStagePrepared):
            faults.point(faults.AFTER_PREPARED)
        if refusal is None or not isinstance(command, StageReport):
            return
        if refusal.code in _STALE:
            if self.stopping is not None:
                self.stopping.refused((command.run_id, command.stage_id, command.attempt), refusal)
            return
        log.error("%s was refused: %s", type(command).__name__, refusal.message)
        if not (isinstance(command, ReportStageEnded) and command.outcome is StageOutcome.FAILED):
            self._sender.report(_failed(command, f"the platform refused the stage's report: {refusal.message}"[:4_000]))

    def _of(self, done: Done) -> Command:
        event, said = done.order.event, done.said
        metrics = StageMetrics(
            **{
                **said.get("metrics", {}),
                "seconds": done.seconds,
                "log_first": done.printed.first,
                "log_end": done.printed.end,
                "log_dropped": done.printed.dropped,
            }
        )
        about = _attempt(event)
        if "prepared" in said:
            outcomes = said.get("outcomes", ())
            streams = said.get("streams", ())
            return ReportStagePrepared(**about, **said["prepared"], outcomes=outcomes, metrics=metrics, streams=streams)
        if "published" in said:
            version = event.dataset_version
            return ReportStagePublished(**about, **said["published"], dataset_version=version, metrics=metrics)
        if "resolved" in said:
            return ReportStageResolved(**about, **said["resolved"])
        outcome, failure = _outcome(done)
        return ReportStageEnded(
            **about,
            outcome=outcome,
            output=said.get("output") or None,
            failure=failure,
            metrics=metrics,
            outcomes=said.get("outcomes", ()),
            streams=said.get("streams", ()),
            first_task=event.first_task,
            failed_tasks=said.get("failed_tasks", ()),
        )


def _outcome(done: Done) -> tuple[StageOutcome, StageFailure | None]:
    if not done.failure:
        return StageOutcome.COMPLETED, None
    if done.failure["kind"] == FailureKind.CANCELLED:
        return StageOutcome.CANCELLED, None
    return StageOutcome.FAILED, StageFailure.model_validate(done.failure)


def _attempt(of: StageDispatched | StageReport) -> dict[str, object]:
    names = ("run_id", "pipeline_id", "stage_id", "attempt", "worker")
    return {name: getattr(of, name) for name in names}


def _failed(of: StageDispatched | StageReport, problem: str) -> ReportStageEnded:
    failure = StageFailure(kind=FailureKind.ERROR, problem=problem, remedy="see the worker's log")
    return ReportStageEnded(
        **_attempt(of), outcome=StageOutcome.FAILED, failure=failure, first_task=getattr(of, "first_task", None)
    )
