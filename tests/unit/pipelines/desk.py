"""A pipeline's decisions in memory, without a log: commands, events of its jobs and time in, events out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from events.language.base import Command, Event
from events.language.jobs import ExitReason, JobExited, JobStarted, TaskExit, TaskStart
from events.language.pipelines.commands import DefinePipeline
from events.language.pipelines.enums import StageOutcome
from events.language.pipelines.pipeline import PipelineSpec
from events.language.pipelines.run_commands import (
    ReportStageEnded,
    ReportStageStarted,
    ReportWorkerReady,
    RunPipeline,
)
from events.language.pipelines.run_events import StageDispatched, WorkerRequested
from events.language.pipelines.stages import StageSpec
from events.language.pipelines.work import FailureKind, StageFailure
from events.log.ids import with_assigned_id
from events.writer.decider import DecisionContext
from services.pipelines.pipeline.decide import Pipelines
from services.pipelines.pipeline.state import Pipeline

NOON = datetime(2026, 5, 9, 12, tzinfo=UTC)
PROJECT = "local/default"
ID = "sales"


def stages(*written: str, **fields: Any) -> tuple[StageSpec, ...]:
    """Stages as ``report: load clean``: report waits for load and for clean."""
    found = []
    for text in written:
        id, _, after = text.partition(":")
        found.append(StageSpec(id=id.strip(), after=tuple(after.split()), **fields))
    return tuple(found)


def spec(*written: str, **fields: Any) -> PipelineSpec:
    return PipelineSpec(stages=stages(*written), **fields)


class Desk:
    """Decides as the writer does: each event is folded, and then `after_batch` is asked until it has nothing."""

    def __init__(self, project: str = PROJECT) -> None:
        self.decider = Pipelines("/data/datasets")
        self.state: Pipeline = self.decider.initial(ID)
        self.project = project
        self.now = NOON
        self.events: list[Event] = []
        self._ids = 0

    def send(self, command: Command) -> list[Event]:
        """What follows from a command. Raises Refused."""
        self._ids += 1
        command = with_assigned_id(command, f"c{self._ids}", self.project)
        decided = self.decider.decide(self.state, command, self.context(command.subject()))
        if command.quiet:
            self.decider.note_quiet(self.state, command, self.now)
        return self.take(decided)

    def hear(self, event: Event) -> list[Event]:
        return self.take(self.decider.react(self.state, event, self.context()))

    def wait(self, seconds: float) -> list[Event]:
        """Let time pass; the pipeline wakes whenever something is due."""
        end, found = self.now + timedelta(seconds=seconds), []
        while (due := self.decider.due(self.state)) is not None and due <= end:
            self.now = max(self.now, due)
            woken = self.take(self.decider.wake(self.state, self.context()))
            assert woken or self.decider.due(self.state) != due, f"nothing happens at {due}, though it is due"
            found += woken
        self.now = end
        return found

    def define(self, *written: str, **fields: Any) -> list[Event]:
        return self.send(DefinePipeline(name="sales", spec=spec(*written, **fields)))

    def take(self, decided: Sequence[Event]) -> list[Event]:
        found = self._fold(decided)
        while (more := self.decider.after_batch(self.state, self.context())) and self._acts():
            found += self._fold(more)
        self.events += found
        return found

    def _acts(self) -> bool:
        """The writer asks no state that rests what it does."""
        return not self.decider.may_passivate(self.state)

    def context(self, subject: str = ID) -> DecisionContext:
        self._ids += 1
        return DecisionContext(self.now, f"i{self._ids}", "owner", self.project, subject)

    def _fold(self, decided: Iterable[Event]) -> list[Event]:
        found = list(decided)
        for event in found:
            self.state = self.decider.evolve(self.state, event, self.now)
        return found


class RunDesk(Desk):
    """A desk with runs: the jobs of its workers start when they are asked for, and its workers say what they are told
    to."""

    def __init__(self, *written: str | StageSpec, workers: bool = True, **fields: Any) -> None:
        super().__init__()
        made = tuple(each if isinstance(each, StageSpec) else stages(each)[0] for each in written)
        self.send(DefinePipeline(name=ID, spec=PipelineSpec(stages=made, **fields)))
        self.serves = workers

    def take(self, decided: Sequence[Event]) -> list[Event]:
        found = super().take(decided)
        if getattr(self, "serves", False):
            for each in found:
                if isinstance(each, WorkerRequested):
                    found = [*found, *self.send(ReportWorkerReady(pipeline_id=ID, worker=each.worker))]
        return found

    def run(self, number: int = 1, **fields: Any) -> list[Event]:
        return self.send(RunPipeline(pipeline_id=ID, **fields))

    def order(self, stage: str) -> StageDispatched:
        """The last order of a stage."""
        return next(
            each for each in reversed(self.events) if isinstance(each, StageDispatched) and each.stage_id == stage
        )

    def about(self, stage: str) -> dict[str, Any]:
        """What names an attempt in reports, as the last order says."""
        order = self.order(stage)
        return {
            "run_id": order.run_id,
            "pipeline_id": ID,
            "stage_id": stage,
            "attempt": order.attempt,
            "worker": order.worker,
        }

    def begin(self, stage: str) -> list[Event]:
        return self.send(ReportStageStarted(**self.about(stage)))

    def complete(self, *names: str, **fields: Any) -> list[Event]:
        found: list[Event] = []
        for stage in names:
            found += self.send(ReportStageEnded(**self.about(stage), outcome=StageOutcome.COMPLETED, **fields))
        return found

    def fail(self, stage: str, problem: str = "it broke", kind: FailureKind = FailureKind.ERROR) -> list[Event]:
        failure = StageFailure(kind=kind, problem=problem)
        return self.send(ReportStageEnded(**self.about(stage), outcome=StageOutcome.FAILED, failure=failure))

    def start(self, worker: str) -> list[Event]:
        """A worker's process starts."""
        start = TaskStart(task=0, attempt=1, allocation_id="a1", pid=1, started_at=self.now)
        return self.hear(JobStarted(job_id=worker, node_id="n1", tasks=(start,)))

    def lose(self, worker: str, reason: ExitReason = ExitReason.LOST) -> list[Event]:
        """A worker's process ends."""
        exit = TaskExit(task=0, attempt=1, reason=reason, ended_at=self.now)
        return self.hear(JobExited(job_id=worker, node_id="n1", tasks=(exit,)))

    def statuses(self, run_id: str = f"{ID}.1") -> dict[str, str]:
        """Stage → how it stands, of those that have begun or were skipped."""
        return {id: stage.status.value for id, stage in self.state.runs[run_id].stages.items()}


def kinds(events: Iterable[Event]) -> list[str]:
    """What happened, in words."""
    return [type(event).__name__ for event in events]


def begun(events: Iterable[Event]) -> list[str]:
    """The stages that workers are to do."""
    return [event.stage_id for event in events if isinstance(event, StageDispatched)]
