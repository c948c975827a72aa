"""Ranges of tasks whose worker stands still, and workers of older versions: neither holds up what waits."""

from __future__ import annotations

from typing import Any

import pytest

from events.language.pipelines.commands import DefinePipeline
from events.language.pipelines.pipeline import Execution, PipelineSpec
from events.language.pipelines.run_commands import ReportStageEnded, ReportStageProgress, ReportStageStarted
from events.language.pipelines.run_events import (
    StageFailed,
    StageStopRequested,
    TasksEnded,
    WorkerReleased,
    WorkerRequested,
)
from events.language.pipelines.stages import ForEach, StageRetry, StageSpec
from events.language.pipelines.work import StageMetrics
from services.pipelines.pipeline.state import Tasks
from services.pipelines.pipeline.stepping import RANGE_GRACE_SECONDS, START_SECONDS
from tests.unit.pipelines.desk import ID, RunDesk, begun
from tests.unit.pipelines.test_runs import RUN, finish_ranges


def fanned_out(workers: int = 2, **fields: Any) -> RunDesk:
    each = StageSpec(id="each", for_each=ForEach(count=64), **fields)
    desk = RunDesk(each, execution=Execution(max_workers=workers))
    desk.run()
    return desk


def tasks(desk: RunDesk) -> Tasks:
    found = desk.state.runs[RUN].stages["each"].tasks
    assert found is not None
    return found


def about(desk: RunDesk, worker: str) -> dict[str, Any]:
    return {**desk.about("each"), "worker": worker}


def test_ranges_of_a_worker_that_does_not_begin_go_to_another_one() -> None:
    desk = fanned_out()
    still, other = desk.state.workers
    desk.send(ReportStageStarted(**about(desk, other)))
    assert [each for each in desk.wait(START_SECONDS - 1) if isinstance(each, StageStopRequested)] == []
    (stop,) = (each for each in desk.wait(2) if isinstance(each, StageStopRequested))
    assert stop.worker == still
    assert not [each for each in tasks(desk).running.values() if each.worker == still]
    desk.wait(40)
    assert [each.worker for each in desk.events if isinstance(each, WorkerReleased)] == [still]
    finish_ranges(desk, "each")
    assert RUN not in desk.state.runs, "it is completed, each task once"


def test_a_range_that_takes_too_long_has_failed_and_what_its_worker_has_besides_is_done_by_another_one() -> None:
    desk = fanned_out(timeout_seconds=300, retry=StageRetry(max=1, backoff_seconds=0))
    still, other = desk.state.workers
    for worker in (still, other):
        desk.send(ReportStageStarted(**about(desk, worker)))
    held = sorted(first for first, each in tasks(desk).running.items() if each.worker == still)
    first, last = held[0], tasks(desk).running[held[0]].last
    desk.wait(200)
    mine = min(first for first, each in tasks(desk).running.items() if each.worker == other)
    desk.send(ReportStageEnded(**about(desk, other), outcome="completed", first_task=mine))
    desk.send(ReportStageProgress(**about(desk, still), metrics=StageMetrics()))  # it is slow, and not silent
    late = desk.wait(100 + RANGE_GRACE_SECONDS + 1)
    (ended,) = (each for each in late if isinstance(each, TasksEnded))
    assert (ended.worker, ended.first_task, ended.last_task) == (still, first, last)
    assert ended.failure is not None
    assert ended.failure.problem == "its range of tasks took longer than 300 seconds"
    assert [each.worker for each in late if isinstance(each, StageStopRequested)] == [still], "not the one that goes on"
    finish_ranges(desk, "each")
    desk.wait(1)
    finish_ranges(desk, "each")
    assert RUN not in desk.state.runs
    done = [
        task
        for each in desk.events
        if isinstance(each, TasksEnded)
        for task in range(each.first_task, each.last_task + 1)
    ]
    assert sorted(done) == sorted([*range(64), *range(first, last + 1)])


def test_the_time_of_a_range_begins_when_the_one_before_it_has_ended() -> None:
    desk = fanned_out(1, timeout_seconds=300)
    (worker,) = desk.state.workers
    desk.send(ReportStageStarted(**about(desk, worker)))
    desk.wait(299)
    (first, second) = sorted(tasks(desk).running)
    desk.send(ReportStageEnded(**about(desk, worker), outcome="completed", first_task=first))
    assert tasks(desk).running[second].since == desk.now
    assert [each for each in desk.wait(299) if isinstance(each, StageFailed | StageStopRequested)] == []


@pytest.mark.parametrize("same", [True, False])
def test_an_idle_worker_of_an_older_version_makes_room(same: bool) -> None:
    desk = RunDesk("load", execution=Execution(max_workers=1, keep_warm_seconds=3_600))
    desk.run()
    desk.complete("load")
    (old,) = desk.state.workers
    execution = Execution(max_workers=1, keep_warm_seconds=3_600, variables={} if same else {"MODE": "new"})
    desk.send(DefinePipeline(name=ID, spec=PipelineSpec(stages=(StageSpec(id="load"),), execution=execution)))
    found = desk.run()
    assert [each.worker for each in found if isinstance(each, WorkerReleased)] == ([] if same else [old])
    assert sum(isinstance(each, WorkerRequested) for each in found) == (0 if same else 1)
    assert "load" in begun(desk.events[-4:])
    assert (desk.order("load").worker == old) is same


def test_a_busy_worker_of_an_older_version_keeps_its_place() -> None:
    desk = RunDesk("load", execution=Execution(max_workers=1, max_active_runs=2))
    desk.run()
    execution = Execution(max_workers=1, max_active_runs=2, variables={"MODE": "new"})
    desk.send(DefinePipeline(name=ID, spec=PipelineSpec(stages=(StageSpec(id="load"),), execution=execution)))
    assert not [each for each in desk.run() if isinstance(each, WorkerReleased | WorkerRequested)]
    found = desk.complete("load") if desk.order("load").run_id == RUN else []
    assert [type(each).__name__ for each in found if isinstance(each, WorkerReleased | WorkerRequested)] == [
        "WorkerReleased",
        "WorkerRequested",
    ]
