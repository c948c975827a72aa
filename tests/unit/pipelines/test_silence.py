"""Workers that fall silent amid their work: another one takes over, and what they wake with counts no more."""

from __future__ import annotations

from datetime import timedelta

import pytest

from events.language.common import Refused
from events.language.jobs import ExitReason
from events.language.pipelines.pipeline import Execution
from events.language.pipelines.run_commands import (
    ReportStageEnded,
    ReportStagePrepared,
    ReportStageProgress,
    ReportWorkerReady,
)
from events.language.pipelines.run_events import (
    StageDispatched,
    StageFailed,
    StageRetrying,
    StageStopRequested,
    WorkerReleased,
    WorkerRequested,
)
from events.language.pipelines.stages import ForEach, StageSpec
from events.language.pipelines.work import StageMetrics
from services.pipelines.pipeline.failures import MOST_LOSSES
from services.pipelines.pipeline.hearing import MOST_FAILURES
from services.pipelines.pipeline.silence import START_SECONDS
from services.pipelines.pipeline.stage_fold import STOP_SECONDS
from tests.unit.pipelines.desk import ID, RunDesk, kinds
from tests.unit.pipelines.test_ending_runs import alone
from tests.unit.pipelines.test_runs import MANIFEST, RUN, committed, writing

LIMIT = 60
EXECUTION = Execution(silence_seconds=LIMIT)
ALONE = Execution(max_workers=1, silence_seconds=LIMIT)


def at_work(stage: str | StageSpec = "load") -> RunDesk:
    """A worker has begun with a stage that has no limit of time."""
    desk = RunDesk(stage, execution=EXECUTION)
    desk.run()
    desk.begin(stage if isinstance(stage, str) else stage.id)
    return desk


def tasks(count: int) -> StageSpec:
    return StageSpec(id="each", for_each=ForEach(count=count))


def starting() -> tuple[RunDesk, str]:
    """A run waits for a worker whose process has started."""
    desk = RunDesk("load", execution=EXECUTION, workers=False)
    desk.run()
    (worker,) = desk.state.workers
    desk.start(worker)
    return desk, worker


def progress(desk: RunDesk, stage: str = "load", seconds: float = 1.0) -> None:
    desk.send(ReportStageProgress(**desk.about(stage), metrics=StageMetrics(seconds=seconds)))


def test_another_worker_takes_over_what_a_silent_one_had() -> None:
    desk = at_work()
    first = desk.order("load").worker
    assert desk.wait(LIMIT - 1) == []
    found = desk.wait(2)
    assert kinds(found)[:2] == ["StageStopRequested", "StageRetrying"]
    assert isinstance(found[0], StageStopRequested)
    assert isinstance(found[1], StageRetrying)
    assert (found[0].worker, found[0].reason, found[1].counted) == (first, "silent", False)
    assert found[1].failure.problem.startswith("its worker has said nothing for 60 seconds")
    assert (desk.order("load").attempt, desk.order("load").worker != first) == (2, True)
    assert "WorkerReleased" in kinds(desk.wait(STOP_SECONDS)), "its job is ended"


def test_who_says_that_it_is_at_work_is_not_silent_and_the_log_does_not_grow_by_it() -> None:
    desk = at_work()
    for _ in range(100):
        assert not [each for each in desk.wait(5) if isinstance(each, StageStopRequested)]
        progress(desk)
    assert kinds(desk.events).count("StageProgressed") <= 51
    assert desk.order("load").attempt == 1


def test_whoever_takes_a_pipeline_over_gives_its_workers_the_whole_time_anew() -> None:
    """What they said meanwhile may not have been heard."""
    desk = at_work()
    desk.now += timedelta(seconds=10 * LIMIT)
    desk.state = desk.decider.load(ID, desk.decider.dump(desk.state))
    desk.decider.on_resume(desk.state, desk.now)
    assert desk.wait(LIMIT - 1) == []
    assert kinds(desk.wait(2))[:2] == ["StageStopRequested", "StageRetrying"]


def test_what_a_worker_wakes_with_is_refused_and_its_attempt_is_no_version() -> None:
    desk = at_work(alone())
    old = desk.about("clean")
    desk.wait(LIMIT + STOP_SECONDS + 1)
    desk.lose(old["worker"])
    with pytest.raises(Refused, match=r"attempt 1 of stage clean in run .* is over"):
        desk.send(ReportStagePrepared(**old, manifest=MANIFEST))
    assert kinds(desk.send(ReportStagePrepared(**desk.about("clean"), manifest=MANIFEST))) == ["CommitRequested"]


def test_a_publication_of_a_silent_worker_is_done_by_another_one() -> None:
    desk = writing()
    committed(desk)
    first = desk.order("clean").worker
    progress(desk, "clean", 9.0)
    assert desk.state.runs[RUN].stages["clean"].metrics == StageMetrics(), "its figures are those of the stage's work"
    desk.wait(310)
    order = desk.order("clean")
    assert (order.phase, order.dataset_version, order.worker != first) == ("publish", 4, True)


def test_the_tasks_of_a_silent_worker_go_to_others_but_not_for_ever() -> None:
    desk = RunDesk(tasks(40), execution=ALONE)
    desk.run()
    used = []
    for _ in range(MOST_LOSSES):
        used.append(desk.order("each").worker)
        desk.begin("each")
        for _ in range(LIMIT // 5):
            desk.wait(5)
            progress(desk, "each")
        desk.wait(LIMIT + STOP_SECONDS + 1)
        desk.lose(used[-1])
    assert len(set(used)) == MOST_LOSSES
    assert desk.state.runs[RUN].status.value == "failed"
    dispatched = [each for each in desk.events if isinstance(each, StageDispatched)]
    assert {each.attempt for each in dispatched} == {1}


def test_a_range_that_wakes_is_refused() -> None:
    desk = RunDesk(tasks(4), execution=ALONE)
    desk.run()
    desk.begin("each")
    order, old = desk.order("each"), desk.about("each")
    desk.wait(LIMIT + STOP_SECONDS + 1)
    desk.lose(old["worker"])
    with pytest.raises(Refused, match="is not this worker's"):
        desk.send(ReportStageEnded(**old, outcome="completed", first_task=order.first_task))


def test_a_worker_that_hangs_before_it_is_ready_is_replaced() -> None:
    desk, first = starting()
    assert desk.wait(START_SECONDS - 1) == []
    released, asked = desk.wait(2)
    assert isinstance(released, WorkerReleased)
    assert (released.worker, released.hung) == (first, True)
    assert released.reason.startswith("it was not ready 120 seconds after its process had started; 'forgelog logs ")
    assert isinstance(asked, WorkerRequested)
    with pytest.raises(Refused, match=r"is no worker of pipeline .* any more"):
        desk.send(ReportWorkerReady(pipeline_id=ID, worker=first))


def test_workers_that_hang_are_not_started_for_ever() -> None:
    desk, worker = starting()
    for _ in range(MOST_FAILURES):
        desk.wait(START_SECONDS + 1)
        desk.lose(worker, ExitReason.STOPPED)
        desk.wait(60)
        if desk.state.workers:
            (worker,) = desk.state.workers
            desk.start(worker)
    assert desk.state.runs[RUN].status.value == "failed"
    failure = next(each.failure for each in desk.events if isinstance(each, StageFailed))
    assert failure.problem.startswith("its worker did not start: it was not ready 120 seconds after")


def test_who_gets_ready_or_has_no_process_yet_is_not_replaced() -> None:
    desk, worker = starting()
    desk.send(ReportWorkerReady(pipeline_id=ID, worker=worker))
    assert not [each for each in desk.wait(10 * START_SECONDS) if isinstance(each, WorkerReleased) and each.hung]
    waiting = RunDesk("load", execution=EXECUTION, workers=False)
    waiting.run()
    assert waiting.wait(10 * START_SECONDS) == [], "its job waits for a place"


def test_whoever_takes_a_pipeline_over_gives_its_starting_workers_the_whole_time_anew() -> None:
    desk, _ = starting()
    desk.now += timedelta(seconds=10 * START_SECONDS)
    desk.state = desk.decider.load(ID, desk.decider.dump(desk.state))
    desk.decider.on_resume(desk.state, desk.now)
    assert desk.wait(START_SECONDS - 1) == []
    assert kinds(desk.wait(2))[:1] == ["WorkerReleased"]
