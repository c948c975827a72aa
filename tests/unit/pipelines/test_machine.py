"""A pipeline under any commands, reports, losses and times: what a dataset waits for is published or withdrawn, no
attempt is two workers', and runs end."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from events.language.base import Command, Event
from events.language.common import Refused
from events.language.pipelines.dataset_messages import (
    CommitRefusal,
    CommitRefused,
    VersionAbandoned,
    VersionCommitted,
    VersionPublished,
)
from events.language.pipelines.enums import StageOutcome
from events.language.pipelines.pipeline import Execution
from events.language.pipelines.run_commands import (
    CancelRun,
    PauseRun,
    ReportStageEnded,
    ReportStagePrepared,
    ReportStagePublished,
    ReportStageStarted,
    ResumeRun,
    RetryRun,
)
from events.language.pipelines.run_events import (
    CommitRequested,
    CommitWithdrawn,
    RunCancelled,
    RunEnded,
    RunQueued,
    StageDispatched,
    StageFailed,
    StagePublished,
    WorkerReleased,
)
from events.language.pipelines.stages import ForEach, StageRetry, StageSpec
from events.language.pipelines.work import FailureKind, StageFailure
from services.pipelines.pipeline.state import LIVE
from tests.unit.pipelines.desk import ID, RunDesk
from tests.unit.pipelines.test_ending_runs import alone
from tests.unit.pipelines.test_runs import MANIFEST

WORKERS, TASKS = 2, 40
RETRY = StageRetry(max=1, backoff_seconds=1)
PICK = st.integers(0, 7)


class PipelineMachine(RuleBasedStateMachine):
    """Workers answer their orders in any order, late or never; the dataset decides what it is asked, later."""

    def __init__(self) -> None:
        super().__init__()
        self.desk = RunDesk(
            "load",
            alone(retry=RETRY, timeout_seconds=100),
            StageSpec(id="each", for_each=ForEach(count=TASKS), retry=RETRY, timeout_seconds=100),
            "last: clean each",
            execution=Execution(
                max_workers=WORKERS, max_active_runs=2, fail_fast=True, keep_warm_seconds=5, silence_seconds=60
            ),
        )
        self.seen = 0
        self.orders: list[StageDispatched] = []
        self.asked: list[Any] = []
        """What the dataset has to decide: requests and withdrawals, in order."""
        self.version = 0
        self.waits: dict[int, dict[str, Any]] = {}
        """Versions that the dataset has committed, and waits for."""

    def _note(self) -> None:
        for event in self.desk.events[self.seen :]:
            if isinstance(event, StageDispatched):
                self.orders.append(event)
            if isinstance(event, CommitRequested | CommitWithdrawn | StagePublished):
                self.asked.append(event)
        self.seen = len(self.desk.events)

    def _send(self, command: Command) -> None:
        with suppress(Refused):
            self.desk.send(command)
        self._note()

    def _hear(self, event: Event) -> None:
        self.desk.hear(event)
        self._note()

    @precondition(lambda self: self.desk.state.last_run < 4)
    @rule()
    def run(self) -> None:
        self.desk.run()
        self._note()

    @rule(kind=st.sampled_from([CancelRun, PauseRun, ResumeRun, RetryRun]), number=st.integers(1, 4))
    def steer(self, kind: Any, number: int) -> None:
        self._send(kind(pipeline_id=ID, number=number))

    @precondition(lambda self: self.orders)
    @rule(pick=PICK, ok=st.booleans(), begins=st.booleans(), again=st.booleans())
    def answer(self, pick: int, ok: bool, begins: bool, again: bool) -> None:
        """A worker answers one of its orders, or once more."""
        self._answer(pick, ok, begins, again)

    def _answer(self, pick: int, ok: bool, begins: bool, again: bool) -> None:
        order = self.orders[-1 - pick % len(self.orders)]
        names = ("run_id", "pipeline_id", "stage_id", "attempt", "worker")
        about = {name: getattr(order, name) for name in names}
        if not again:
            self.orders.remove(order)
        if begins:
            self._send(ReportStageStarted(**about))
        if ok and order.phase == "publish":
            self._send(ReportStagePublished(**about, dataset_version=order.dataset_version))
        elif ok and order.stage_id == "clean":
            self._send(ReportStagePrepared(**about, manifest=MANIFEST))
        else:
            outcome = StageOutcome.COMPLETED if ok else StageOutcome.FAILED
            failure = None if ok else StageFailure(kind=FailureKind.ERROR, problem="it broke")
            self._send(ReportStageEnded(**about, outcome=outcome, failure=failure, first_task=order.first_task))

    @precondition(lambda self: self.orders)
    @rule(pick=PICK)
    def answer_well(self, pick: int) -> None:
        """Most orders are answered, and well."""
        self._answer(pick, ok=True, begins=True, again=False)

    @precondition(lambda self: self.asked)
    @rule(refuses=st.sampled_from([None, None, CommitRefusal.RULES, CommitRefusal.BUSY]))
    def decide(self, refuses: CommitRefusal | None) -> None:
        """The dataset hears the next event, as `services.pipelines.dataset.committing` answers it."""
        event = self.asked.pop(0)
        names = {name: getattr(event, name) for name in ("run_id", "pipeline_id", "stage_id", "attempt")}
        mine = (event.run_id, event.stage_id)
        own = [n for n, each in self.waits.items() if (each["run_id"], each["stage_id"]) == mine]
        match event:
            case CommitRequested():
                names["dataset_id"] = event.commit.dataset_id
                if refuses or own:
                    stale = {"cause": CommitRefusal.STALE, "dataset_version": own[0]} if own else {}
                    self._hear(CommitRefused(**names, **{"cause": refuses, "reason": "no", **stale}))
                    return
                self.version += 1
                self.waits[self.version] = names
                self._hear(VersionCommitted(**names, dataset_version=self.version, request=event.commit))
            case CommitWithdrawn():
                for number in own:
                    self._hear(VersionAbandoned(**self.waits.pop(number), dataset_version=number))
            case StagePublished():
                if (told := self.waits.pop(event.dataset_version, None)) is not None:
                    self._hear(VersionPublished(**told, dataset_version=event.dataset_version))

    @rule(pick=PICK)
    def lose(self, pick: int) -> None:
        workers = list(self.desk.state.workers)
        if workers:
            self.desk.lose(workers[pick % len(workers)])
            self._note()

    @rule(seconds=st.sampled_from([1, 31, 121]))
    def wait(self, seconds: float) -> None:
        self.desk.wait(seconds)
        self._note()

    @invariant()
    def a_snapshot_says_what_the_log_says(self) -> None:
        decider, state = self.desk.decider, self.desk.state
        assert decider.load(ID, decider.dump(state)) == state

    @invariant()
    def no_more_workers_than_there_may_be_and_each_has_what_its_stage_knows(self) -> None:
        state = self.desk.state
        shared = [each for each in state.workers.values() if not each.stage_id and not each.released]
        assert len(shared) <= WORKERS
        for id, worker in state.workers.items():
            for each in worker.assigned:
                stage = state.runs[each.run_id].stages[each.stage_id]
                assert stage.attempt == each.attempt
                if each.first_task is None:
                    assert stage.worker == id
                else:
                    assert stage.tasks is not None
                    assert stage.tasks.running[each.first_task].worker == id

    @invariant()
    def the_runs_under_way_are_known(self) -> None:
        state = self.desk.state
        assert dict(state.live()) == {id: run for id, run in state.runs.items() if run.status in LIVE}

    @invariant()
    def each_task_is_somewhere_once(self) -> None:
        for _, run in self.desk.state.live():
            tasks = run.stages["each"].tasks if "each" in run.stages else None
            if tasks is not None:
                open_ = [n for first, last in tasks.waiting for n in range(first, last + 1)]
                open_ += [n for first, each in tasks.running.items() for n in range(first, each.last + 1)]
                open_ += tasks.failed
                assert len(set(open_)) == len(open_), "a task is done by one worker at a time"

    @invariant()
    def a_run_ends_once_until_it_is_retried_and_none_is_cancelled_amid_a_publication(self) -> None:
        state = self.desk.state
        ends = [event.run_id for event in self.desk.events if isinstance(event, RunCancelled)]
        assert len(set(ends)) == len(ends)
        queued = {event.run_id for event in self.desk.events if isinstance(event, RunQueued)}
        ended = {event.run_id for event in self.desk.events if isinstance(event, RunEnded)}
        assert queued <= ended | set(state.runs), "a run is there, or has ended"
        told = {(each.run_id, each.dataset_version) for each in self.asked if isinstance(each, StagePublished)}
        withdrawn = {each.run_id for each in self.asked if isinstance(each, CommitWithdrawn)}
        failing = {event.run_id for event in self.desk.events if isinstance(event, StageFailed)}
        for number, about in self.waits.items():
            known = about["run_id"] in state.runs or (about["run_id"], number) in told
            assert known or about["run_id"] in withdrawn | failing, f"version {number} waits for a run that is over"

    @invariant()
    def nothing_is_given_to_a_worker_that_is_told_to_stop(self) -> None:
        released = {event.worker for event in self.desk.events if isinstance(event, WorkerReleased)}
        for id, worker in self.desk.state.workers.items():
            assert worker.stopping is None or not worker.assigned
            assert worker.released == (id in released)


PipelineMachine.TestCase.settings = settings(max_examples=12, stateful_step_count=25)
TestPipeline = PipelineMachine.TestCase
