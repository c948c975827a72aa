"""Runs: in which order stages begin, what follows from failures, and how runs are steered."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from events.language.base import Command, Event
from events.language.common import ErrorCode, Refused
from events.language.jobs import ExitReason, JobExited, TaskExit
from events.language.jobs.spec import JobMetadata, JobSpec
from events.language.pipelines.columns import Column
from events.language.pipelines.commands import ActivatePipeline, PausePipeline, ResumePipeline, RetirePipeline
from events.language.pipelines.commits import CommitRequest
from events.language.pipelines.connections import DataSourceType
from events.language.pipelines.dataset_messages import (
    CommitRefusal,
    CommitRefused,
    VersionAbandoned,
    VersionCommitted,
    VersionPublished,
)
from events.language.pipelines.enums import RetryOn, RunWhen, SkipReason, StageCache, StageExecution
from events.language.pipelines.manifests import CommitManifest
from events.language.pipelines.parameters import ParameterSpec, ParameterType
from events.language.pipelines.pipeline import Execution
from events.language.pipelines.run_commands import (
    CancelRun,
    PauseRun,
    ReportStageEnded,
    ReportStagePrepared,
    ReportStagePublished,
    ReportStageResolved,
    ReportStageStarted,
    ResumeRun,
    RetryRun,
    RunPipeline,
)
from events.language.pipelines.run_events import (
    CommitRequested,
    RunFailed,
    RunQueued,
    StageCompleted,
    StageDispatched,
    StageFailed,
    StageRetrying,
    StageSkipped,
    StageStopRequested,
    TasksEnded,
    WorkerReleased,
    WorkerRequested,
)
from events.language.pipelines.sinks import DataSink, WriteMode
from events.language.pipelines.stages import ForEach, StageInput, StageResources, StageRetry, StageSpec
from events.language.pipelines.work import FailureKind, StageFailure, StageMetrics, StageOutput, WorkerSpec
from services.pipelines.pipeline.failures import PUBLISHING_RETRIES, pause
from tests.unit.pipelines.desk import ID, NOON, RunDesk, begun, kinds

RUN = f"{ID}.1"


def test_stages_begin_when_those_before_them_have_completed() -> None:
    desk = RunDesk("load", "clean: load", "check: load", "report: clean check")
    first = desk.run()
    assert kinds(first)[:3] == ["RunQueued", "RunStarted", "WorkerRequested"]
    assert begun(first) == ["load"]
    assert sorted(begun(desk.complete("load"))) == ["check", "clean"]
    assert begun(desk.complete("clean")) == []
    assert begun(desk.complete("check")) == ["report"]
    assert kinds(desk.complete("report"))[:2] == ["StageCompleted", "RunCompleted"]
    assert desk.state.runs == {}


def test_a_stage_gets_the_output_that_it_takes() -> None:
    desk = RunDesk("load", StageSpec(id="report", inputs={"sales": StageInput(stage="load")}))
    desk.run()
    output = StageOutput(rows=3, value="[1, 2, 3]")
    desk.complete("load", output=output)
    (given,) = desk.order("report").inputs
    assert (given.name, given.output) == ("sales", output)


def test_one_run_at_a_time_and_the_next_one_waits() -> None:
    desk = RunDesk("load")
    desk.run()
    assert kinds(desk.run()) == ["RunQueued"]
    ended = desk.complete("load")
    assert kinds(ended)[:4] == ["StageCompleted", "RunCompleted", "RunStarted", "StageDispatched"]
    assert desk.order("load").run_id == f"{ID}.2"


def test_parameters_are_bound_when_a_run_is_asked_for() -> None:
    day = ParameterSpec(type=ParameterType.DATE, required=True)
    desk = RunDesk("load", parameters={"day": day, "limit": ParameterSpec(type=ParameterType.INTEGER, default="10")})
    (queued, *_) = desk.run(parameters={"day": "2026-05-09"})
    assert isinstance(queued, RunQueued)
    assert queued.parameters == {"day": "2026-05-09", "limit": "10"}
    assert desk.order("load").parameters == queued.parameters
    with pytest.raises(Refused) as refused:
        desk.run(parameters={"limit": "ten", "days": "1"})
    assert [(each.field, each.problem) for each in refused.value.errors] == [
        ("parameters.days", "is no parameter of this pipeline"),
        ("parameters.day", "is not given, and has no default"),
        ("parameters.limit", "is 'ten', which is no integer"),
    ]


def test_a_failed_stage_is_tried_again_after_a_pause_that_follows_from_its_attempt() -> None:
    retry = StageRetry(max=2, backoff_seconds=10, factor=3, jitter=0.5)
    desk = RunDesk(StageSpec(id="load", retry=retry))
    desk.run()
    (retrying,) = desk.fail("load")
    assert isinstance(retrying, StageRetrying)
    wait = (retrying.retry_at - desk.now).total_seconds()
    assert wait == pytest.approx(pause(retry, 0, f"{RUN}.load.1"))
    assert 10 <= wait <= 15
    assert 30 <= pause(retry, 1, f"{RUN}.load.2") <= 45
    assert begun(desk.wait(wait)) == ["load"]
    assert desk.order("load").attempt == 2
    desk.fail("load")
    desk.wait(50)
    assert kinds(desk.fail("load"))[:2] == ["StageFailed", "RunFailed"]


@pytest.mark.parametrize(
    ("on", "kind", "again"),
    [
        ((), FailureKind.ERROR, True),
        ((RetryOn.TIMEOUT,), FailureKind.ERROR, False),
        ((RetryOn.ERROR,), FailureKind.MEMORY, True),
        ((), FailureKind.RULE, False),
    ],
)
def test_only_failures_that_may_pass_are_tried_again(on: Any, kind: FailureKind, again: bool) -> None:
    desk = RunDesk(StageSpec(id="load", retry=StageRetry(max=1, on=on)))
    desk.run()
    first, *_ = desk.fail("load", kind=kind)
    assert isinstance(first, StageRetrying if again else StageFailed)


def test_the_first_two_losses_of_a_worker_do_not_count_and_then_the_stage_gets_a_worker_of_its_own() -> None:
    desk = RunDesk(StageSpec(id="load", retry=StageRetry(max=1, backoff_seconds=0)))
    desk.run()
    for attempt in (2, 3):
        lost = desk.lose(desk.order("load").worker)
        assert [each.counted for each in lost if isinstance(each, StageRetrying)] == [False]
        assert desk.order("load").attempt == attempt
    assert desk.order("load").worker == f"pipe.{RUN}.load.3.w3"
    assert [each.counted for each in desk.lose(desk.order("load").worker) if isinstance(each, StageRetrying)] == [True]
    assert "StageFailed" in kinds(desk.lose(desk.order("load").worker))


def test_an_attempt_that_takes_too_long_is_stopped() -> None:
    desk = RunDesk(StageSpec(id="load", timeout_seconds=60))
    desk.run()
    desk.wait(30)
    desk.begin("load")
    assert desk.wait(59) == []
    late = desk.wait(2)
    assert kinds(late)[:3] == ["StageStopRequested", "StageFailed", "RunFailed"]
    assert isinstance(late[1], StageFailed)
    assert late[1].failure.problem == "it took longer than 60 seconds"


def test_a_worker_that_does_not_stop_is_released_and_gets_nothing_meanwhile() -> None:
    desk = RunDesk(StageSpec(id="load", timeout_seconds=60, retry=StageRetry(max=1, backoff_seconds=1)))
    desk.run()
    first = desk.order("load").worker
    desk.begin("load")
    later = desk.wait(70)
    assert desk.order("load").worker != first
    assert not any(isinstance(each, WorkerReleased) for each in later)
    assert [each.worker for each in desk.wait(40) if isinstance(each, WorkerReleased)] == [first]


def test_a_worker_that_says_it_has_stopped_is_free() -> None:
    desk = RunDesk(StageSpec(id="load", timeout_seconds=60, retry=StageRetry(max=1, backoff_seconds=30)))
    desk.run()
    about = desk.about("load")
    desk.begin("load")
    desk.wait(61)
    assert kinds(desk.send(ReportStageEnded(**about, outcome="cancelled"))) == ["StageStopped"]
    desk.wait(40)
    assert desk.order("load").worker == about["worker"]


def test_a_stale_report_is_refused() -> None:
    desk = RunDesk(StageSpec(id="load", retry=StageRetry(max=1, backoff_seconds=0)))
    desk.run()
    about = desk.about("load")
    desk.lose(about["worker"])
    with pytest.raises(Refused) as refused:
        desk.send(ReportStageEnded(**about, outcome="completed"))
    assert refused.value.code is ErrorCode.ABORTED
    assert "is over" in refused.value.message
    desk.complete("load")
    with pytest.raises(Refused, match="belongs to a run that has ended"):
        desk.send(ReportStageEnded(**about, outcome="completed"))


def test_a_worker_that_never_begins_is_taken_for_lost() -> None:
    desk = RunDesk("load")
    desk.run()
    first = desk.order("load").worker
    assert kinds(desk.wait(121))[:2] == ["StageStopRequested", "StageRetrying"]
    assert desk.order("load").worker != first


@pytest.mark.parametrize(
    ("run_when", "ended", "begins"),
    [
        (RunWhen.ALL_OK, ("completed", "completed"), True),
        (RunWhen.ALL_OK, ("completed", "failed"), False),
        (RunWhen.ALL_OK, ("failed", ""), False),
        (RunWhen.ALL_OK, ("completed", ""), None),
        (RunWhen.ALL_OK, ("completed", "excused"), True),
        (RunWhen.ANY_OK, ("completed", ""), True),
        (RunWhen.ANY_OK, ("failed", ""), None),
        (RunWhen.ANY_OK, ("failed", "failed"), False),
        (RunWhen.ALL_DONE, ("failed", "completed"), True),
        (RunWhen.ALL_DONE, ("failed", ""), None),
        (RunWhen.ANY_FAILED, ("failed", ""), True),
        (RunWhen.ANY_FAILED, ("completed", "completed"), False),
        (RunWhen.ANY_FAILED, ("completed", ""), None),
    ],
)
def test_when_a_stage_begins(run_when: RunWhen, ended: tuple[str, str], begins: bool | None) -> None:
    last = StageSpec(id="last", after=("a", "b"), run_when=run_when)
    desk = RunDesk("a", StageSpec(id="b", skip_on_failure=ended[1] == "excused"), "hold", last)
    desk.run()
    for stage, end in zip(("a", "b"), ended, strict=True):
        if end == "completed":
            desk.complete(stage)
        elif end:
            desk.fail(stage)
    found = desk.statuses().get("last")
    assert found == {True: "running", False: "skipped", None: None}[begins]


def test_a_stage_whose_input_was_skipped_is_skipped_and_nothing_has_failed() -> None:
    desk = RunDesk(
        StageSpec(id="load", skip_on_failure=True), StageSpec(id="report", inputs={"sales": StageInput(stage="load")})
    )
    desk.run()
    ended = desk.fail("load")
    assert [(each.stage_id, each.reason) for each in ended if isinstance(each, StageSkipped)] == [
        ("load", SkipReason.FAILURE),
        ("report", SkipReason.NOT_NEEDED),
    ]
    assert "RunCompleted" in kinds(ended)


@pytest.mark.parametrize(("rows", "does"), [(3, "completed"), (0, "skipped")])
def test_a_condition_decides_whether_a_stage_is_done(rows: int, does: str) -> None:
    report = StageSpec(id="report", after=("load",), condition="stages.load.rows > 2 && parameters.full")
    desk = RunDesk("load", report, parameters={"full": ParameterSpec(type=ParameterType.BOOLEAN, default="true")})
    desk.run()
    ended = desk.complete("load", output=StageOutput(rows=rows))
    if does == "completed":
        assert kinds(ended)[:3] == ["StageCompleted", "ConditionHeld", "StageDispatched"]
    else:
        (skipped,) = (each for each in ended if isinstance(each, StageSkipped))
        assert skipped.reason is SkipReason.CONDITION
        assert kinds(ended)[-1] == "RunCompleted"


def test_a_condition_that_has_no_value_fails_its_stage() -> None:
    desk = RunDesk("load", StageSpec(id="report", after=("load",), condition="size(stages.load.value) > 1"))
    desk.run()
    ended = desk.complete("load", output=StageOutput(value="7"))
    (failed,) = (each for each in ended if isinstance(each, StageFailed))
    assert failed.failure.kind is FailureKind.CONDITION
    assert "can't be evaluated" in failed.failure.problem


def test_a_value_that_is_nested_too_deeply_for_a_condition_is_a_text() -> None:
    desk = RunDesk("load", StageSpec(id="report", after=("load",), condition="stages.load.value == 7"))
    desk.run()
    ended = desk.complete("load", output=StageOutput(value="[" * 8_000 + "]" * 8_000))
    assert "StageSkipped" in kinds(ended)


def test_a_failure_ends_the_run_at_once_if_the_pipeline_says_so() -> None:
    desk = RunDesk("a", "b", "c: b", execution=Execution(fail_fast=True))
    desk.run()
    other = desk.about("b")
    ended = desk.fail("a")
    assert kinds(ended)[:4] == ["StageFailed", "StageStopRequested", "StageSkipped", "RunFailed"]
    with pytest.raises(Refused, match="is to be stopped"):
        desk.send(ReportStageStarted(**other))


def test_without_that_the_other_stages_go_on() -> None:
    desk = RunDesk("a", "b", "c: b", "d: a")
    desk.run()
    assert [each.stage_id for each in desk.fail("a") if isinstance(each, StageSkipped)] == ["d"]
    desk.complete("b")
    (failed,) = (each for each in desk.complete("c") if isinstance(each, RunFailed))
    assert failed.reason == "stage a failed"


def test_a_run_is_paused_and_resumed() -> None:
    desk = RunDesk("a", "b: a")
    desk.run()
    assert kinds(desk.send(PauseRun(pipeline_id=ID, number=1))) == ["RunPaused"]
    assert begun(desk.complete("a")) == []
    assert begun(desk.send(ResumeRun(pipeline_id=ID, number=1))) == ["b"]


def test_a_paused_pipeline_starts_no_run() -> None:
    desk = RunDesk("a")
    desk.send(ActivatePipeline(pipeline_id=ID))
    desk.send(PausePipeline(pipeline_id=ID))
    assert kinds(desk.run()) == ["RunQueued"]
    assert kinds(desk.send(ResumePipeline(pipeline_id=ID)))[:2] == ["PipelineResumed", "RunStarted"]


def test_a_cancelled_run_stops_what_it_does() -> None:
    desk = RunDesk("a", "b: a")
    desk.run()
    ended = desk.send(CancelRun(pipeline_id=ID, number=1, reason="wrong day"))
    assert kinds(ended) == ["StageStopRequested", "StageSkipped", "RunCancelled"]
    assert desk.state.runs == {}
    assert desk.send(CancelRun(pipeline_id=ID, number=1)) == []


def test_a_retried_run_does_again_what_failed_and_keeps_the_rest() -> None:
    desk = RunDesk("a", "b: a", "c: b")
    desk.run()
    desk.complete("a")
    desk.fail("b")
    assert desk.statuses() == {"a": "completed", "b": "failed", "c": "skipped"}
    assert begun(desk.send(RetryRun(pipeline_id=ID, number=1))) == ["b"]
    assert desk.order("b").attempt == 2
    assert begun(desk.complete("b")) == ["c"]
    assert "RunCompleted" in kinds(desk.complete("c"))


def test_a_stage_that_is_open_again_goes_on_with_its_attempts() -> None:
    desk = RunDesk("load", "check", execution=Execution(fail_fast=True, max_workers=2))
    desk.run()
    desk.fail("check")
    assert desk.statuses() == {"load": "skipped", "check": "failed"}
    desk.send(RetryRun(pipeline_id=ID, number=1))
    desk.wait(60)
    assert {stage: desk.order(stage).attempt for stage in ("load", "check")} == {"load": 2, "check": 2}


def test_a_retired_pipeline_cancels_its_runs_and_releases_its_workers() -> None:
    desk = RunDesk("a")
    desk.run()
    ended = desk.send(RetirePipeline(pipeline_id=ID))
    assert kinds(ended) == ["StageStopRequested", "StageSkipped", "RunCancelled", "PipelineRetired"]
    assert kinds(desk.wait(31)) == ["WorkerReleased"]


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (CancelRun(pipeline_id=ID, number=7), "there is no run 7"),
        (PauseRun(pipeline_id=ID, number=2), "run 2 can't go from queued to paused"),
        (ResumeRun(pipeline_id=ID, number=1), None),
        (RetryRun(pipeline_id=ID, number=1), "run 1 is running and has not failed"),
        (RunPipeline(pipeline_id=ID, pipeline_version=9), "version 9 is not kept"),
    ],
)
def test_what_can_not_be_is_refused(command: Command, told: str | None) -> None:
    desk = RunDesk("a")
    desk.run()
    desk.run()
    if told is None:
        assert desk.send(command) == []
        return
    with pytest.raises(Refused, match=told):
        desk.send(command)


def test_an_idle_worker_is_kept_for_a_while() -> None:
    desk = RunDesk("a", execution=Execution(keep_warm_seconds=60))
    desk.run()
    desk.complete("a")
    desk.wait(50)
    desk.run()
    assert len([each for each in desk.events if isinstance(each, WorkerRequested)]) == 1
    desk.complete("a")
    assert kinds(desk.wait(61)) == ["WorkerReleased"]


def test_there_are_as_many_workers_as_stages_and_no_more_than_there_may_be() -> None:
    desk = RunDesk("a", "b", "c", "d", execution=Execution(max_workers=3))
    desk.run()
    assert len(desk.state.workers) == 3
    assert len(begun(desk.events)) == 3
    assert begun(desk.complete("a")) == ["d"]


def test_no_more_stages_of_a_run_than_there_may_be() -> None:
    desk = RunDesk("a", "b", "c", execution=Execution(max_parallel_stages=2))
    desk.run()
    assert begun(desk.events) == ["a", "b"]
    assert begun(desk.complete("b")) == ["c"]


def test_workers_that_never_get_ready_fail_the_stages_that_wait_for_them() -> None:
    desk = RunDesk("a", workers=False)
    desk.run()
    for _ in range(3):
        (worker,) = desk.state.workers
        ended = desk.lose(worker, ExitReason.SPAWN_FAILED)
        desk.wait(5)
    assert kinds(ended)[:3] == ["WorkerGone", "StageFailed", "RunFailed"]
    assert isinstance(ended[1], StageFailed)
    assert ended[1].failure.problem.startswith("its worker did not start: spawn failed")


def test_a_stage_that_needs_more_gets_a_worker_of_its_own() -> None:
    desk = RunDesk(StageSpec(id="a", resources=StageResources(gpus=1)), StageSpec(id="b", execution=StageExecution.OWN))
    requested = [each for each in desk.run() if isinstance(each, WorkerRequested)]
    assert [(each.stage_id, each.job.resources.gpus) for each in requested] == [("a", 1), ("b", 0)]
    assert sorted(begun(desk.events)) == ["a", "b"]
    assert [each.worker for each in desk.complete("a") if isinstance(each, WorkerReleased)] == [requested[0].worker]


def test_the_jobs_of_workers_are_as_their_pipeline_says() -> None:
    execution = Execution.model_validate(
        {
            "worker": {"cpus": 2.5, "memory_bytes": 3 << 30, "storage_bytes": 5 << 30},
            "queue": "nightly",
            "priority": "high",
            "node_selector": {"disk": "fast"},
            "tolerations": [{"key": "spot"}],
            "variables": {"TZ": "UTC"},
            "secrets": [{"name": "warehouse", "env": "WAREHOUSE"}],
        }
    )
    desk = RunDesk("a", execution=execution)
    (job,) = [each.job for each in desk.run() if isinstance(each, WorkerRequested)]
    told = WorkerSpec.model_validate_json(job.environment.variables["FORGELOG_WORKER"])

    assert (job.resources.cpus, job.resources.memory_bytes, job.resources.storage_bytes) == (2.5, 3 << 30, 5 << 30)
    assert (job.queue, job.priority) == ("nightly", "high")
    assert job.scheduling.node_selector == {"disk": "fast"}
    assert [each.key for each in job.scheduling.tolerations] == ["spot"]
    assert job.environment.variables["TZ"] == "UTC"
    assert [(each.name, each.env) for each in job.environment.secrets] == [("warehouse", "WAREHOUSE")]
    assert (told.pipeline_id, told.pipeline_version, told.once) == (ID, 1, False)
    assert (told.cpus, told.memory_bytes, told.engine) == (2.5, 3 << 30, "duckdb")


def test_no_more_workers_do_tasks_of_a_stage_than_it_says() -> None:
    stage = StageSpec(id="each", for_each=ForEach(count=10_000), parallelism=2)
    desk = RunDesk(stage, execution=Execution(max_workers=8))
    desk.run()
    assert {each.worker for each in desk.events if isinstance(each, StageDispatched)} == set(desk.state.workers)
    assert len(desk.state.workers) == 2


def test_a_stage_that_is_a_job_ends_with_it() -> None:
    job = JobSpec(metadata=JobMetadata(name="train"), command="train")
    desk = RunDesk(StageSpec(id="train", job=job), "after: train")
    desk.run(parameters={})
    order = desk.order("train")
    assert order.job is not None
    assert order.job.environment.variables["FORGELOG_PIPELINE_RUN"] == "1"
    exit_ = {"task": 0, "attempt": 1, "ended_at": desk.now, "exit_code": 0}
    ended = desk.hear(JobExited(job_id=order.worker, node_id="n1", tasks=(TaskExit(**exit_),)))
    assert kinds(ended)[:2] == ["WorkerGone", "StageCompleted"]
    assert "after" in begun(ended)


def test_a_stage_that_is_a_job_knows_whether_its_run_is_debugged() -> None:
    desk = RunDesk(StageSpec(id="train", job=JobSpec(metadata=JobMetadata(name="train"), command="train")))
    told = []
    for debug in (False, True):
        desk.run(debug=debug)
        order = desk.order("train")
        assert order.job is not None
        told.append(order.job.environment.variables.get("FORGELOG_DEBUG"))
        desk.send(CancelRun(pipeline_id=ID, number=desk.state.last_run))
    assert told == [None, "1"]


def test_a_stage_that_was_done_with_the_same_inputs_takes_its_result() -> None:
    key = "4f" * 32
    desk = RunDesk(StageSpec(id="a", cache=StageCache.CONTENT))
    desk.run()
    assert desk.order("a").phase == "resolve"
    assert begun(desk.send(ReportStageResolved(**desk.about("a"), cache_key=key))) == ["a"]
    assert desk.order("a").phase == "run"
    desk.complete("a", output=StageOutput(value="1"))
    desk.run()
    (completed, *_) = desk.send(ReportStageResolved(**desk.about("a"), cache_key=key))
    assert isinstance(completed, StageCompleted)
    assert (completed.cached_from, completed.output.value) == (RUN, "1")


def finish_ranges(desk: RunDesk, stage: str, failing: set[int] = frozenset()) -> int:  # type: ignore[assignment]
    """Let workers do all ranges that they have; how many there were."""
    done = 0
    while ranges := [
        (worker_id, each)
        for worker_id, worker in desk.state.workers.items()
        for each in worker.assigned
        if each.first_task is not None and each.stage_id == stage
    ]:
        worker_id, each = ranges[0]
        tasks = desk.state.runs[each.run_id].stages[stage].tasks
        assert tasks is not None
        assert each.first_task is not None
        first, last = each.first_task, tasks.running[each.first_task].last
        bad = tuple(sorted(failing & set(range(first, last + 1))))
        failure = StageFailure(kind=FailureKind.ERROR, problem="bad item") if bad else None
        desk.send(
            ReportStageEnded(
                run_id=each.run_id,
                pipeline_id=ID,
                stage_id=stage,
                attempt=each.attempt,
                worker=worker_id,
                first_task=first,
                failed_tasks=bad,
                failure=failure,
                outcome="failed" if bad else "completed",
                metrics=StageMetrics(seconds=0.002 * (last - first + 1)),
            )
        )
        done += 1
    return done


def test_tasks_are_given_out_in_ranges_two_ahead_a_worker() -> None:
    desk = RunDesk(StageSpec(id="each", for_each=ForEach(count=10_000)), execution=Execution(max_workers=2))
    desk.run()
    assert [len(worker.assigned) for worker in desk.state.workers.values()] == [2, 2]
    done = finish_ranges(desk, "each")
    ended = [each for each in desk.events if isinstance(each, TasksEnded)]
    assert sorted(task for each in ended for task in range(each.first_task, each.last_task + 1)) == [*range(10_000)]
    assert done < 110, "a range is worth a quarter of a second"
    assert "RunCompleted" in kinds(desk.events)


def test_tasks_that_failed_are_done_again_and_no_others() -> None:
    desk = RunDesk(
        StageSpec(id="each", for_each=ForEach(count=100), retry=StageRetry(max=1, backoff_seconds=1)),
        execution=Execution(max_workers=1),
    )
    desk.run()
    finish_ranges(desk, "each", failing={7, 8, 50})
    assert desk.statuses() == {"each": "retrying"}
    again = desk.wait(2)
    ranges = [(each.first_task, each.last_task) for each in again if isinstance(each, StageDispatched)]
    assert ranges == [(7, 8), (50, 50)]
    finish_ranges(desk, "each", failing={50})
    (failed,) = (each for each in desk.events if isinstance(each, StageFailed))
    assert failed.failure.problem == "task 50 failed: bad item"


def test_tasks_of_a_lost_worker_go_to_another_one() -> None:
    desk = RunDesk(StageSpec(id="each", for_each=ForEach(count=40)), execution=Execution(max_workers=1))
    desk.run()
    desk.lose(desk.order("each").worker)
    finish_ranges(desk, "each")
    assert "RunCompleted" in kinds(desk.events)


def test_tasks_that_cost_too_many_workers_fail_and_those_that_others_have_are_stopped() -> None:
    desk = RunDesk(
        StageSpec(id="each", for_each=ForEach(count=10_000)), execution=Execution(max_workers=2, keep_warm_seconds=0)
    )
    desk.run()
    steady = next(iter(desk.state.workers))
    while desk.state.runs[RUN].status.value == "running":
        desk.lose(next(id for id, each in desk.state.workers.items() if id != steady and each.assigned))
    (stop,) = (each for each in desk.events if isinstance(each, StageStopRequested))
    assert stop.worker == steady
    assert desk.state.workers[steady].assigned == []
    assert "WorkerGone" in kinds(desk.lose(steady)), "its end is nothing that a stage has to know"


def test_the_report_of_a_range_does_not_end_the_stage() -> None:
    desk = RunDesk(StageSpec(id="each", for_each=ForEach(count=40)))
    desk.run()
    with pytest.raises(Refused, match="is not this worker's"):
        desk.complete("each")


def test_tasks_of_a_list_are_as_many_as_it_has_rows() -> None:
    each = StageSpec(id="each", inputs={"days": StageInput(stage="list")}, for_each=ForEach(input="days"))
    desk = RunDesk("list", each, "last: each")
    desk.run()
    desk.complete("list", output=StageOutput(rows=3, value='["a", "b", "c"]'))
    assert desk.order("each").last_task is not None
    finish_ranges(desk, "each")
    assert desk.order("last").stage_id == "last"


def test_a_stage_with_more_tasks_than_can_be_fails() -> None:
    each = StageSpec(id="each", inputs={"days": StageInput(stage="list")}, for_each=ForEach(input="days"))
    desk = RunDesk("list", each)
    desk.run()
    failed = desk.complete("list", output=StageOutput(rows=10_001))[1]
    assert isinstance(failed, StageFailed)
    assert failed.failure.problem == "there are 10,001 of them, and a stage has at most 10,000 tasks"
    assert desk.statuses()["each"] == "failed"


def test_a_list_without_items_is_done_at_once() -> None:
    each = StageSpec(id="each", inputs={"days": StageInput(stage="list")}, for_each=ForEach(input="days"))
    desk = RunDesk("list", each)
    desk.run()
    assert kinds(desk.complete("list", output=StageOutput(rows=0, value="[]")))[-1] == "RunCompleted"


def test_stopped_tasks_are_stopped_on_each_worker() -> None:
    desk = RunDesk(StageSpec(id="each", for_each=ForEach(count=1_000)), execution=Execution(max_workers=2))
    desk.run()
    ended = desk.send(CancelRun(pipeline_id=ID, number=1))
    assert len({each.worker for each in ended if isinstance(each, StageStopRequested)}) == 2


MANIFEST = CommitManifest(
    attempt=f"{RUN}.clean.1",
    type=DataSourceType.DATASET,
    mode=WriteMode.OVERWRITE,
    base="file:///data/datasets/clean",
    aside="file:///data/datasets/clean/_forgelog/1",
    columns=(Column(name="day", type="DATE"),),
    rows=3,
    bytes=100,
)
OF_STAGE = {"dataset_id": "clean-sales", "pipeline_id": ID, "run_id": RUN, "stage_id": "clean", "attempt": 1}


def writing(**fields: Any) -> RunDesk:
    """A run whose stage has written its output aside."""
    sink = DataSink(type=DataSourceType.DATASET, dataset="clean-sales")
    clean = StageSpec(id="clean", inputs={"raw": StageInput(stage="load")}, sink=sink, **fields)
    desk = RunDesk("load", clean, StageSpec(id="report", inputs={"clean": StageInput(stage="clean")}))
    desk.run()
    desk.complete("load")
    (requested, *_) = desk.send(ReportStagePrepared(**desk.about("clean"), manifest=MANIFEST))
    assert isinstance(requested, CommitRequested)
    assert requested.commit.dataset_id == "clean-sales"
    return desk


def committed(desk: RunDesk, version: int = 4) -> list[Event]:
    request = desk.state.runs[RUN].stages["clean"].commit
    return desk.hear(VersionCommitted(**OF_STAGE, dataset_version=version, request=request))


def test_what_is_committed_is_published_and_then_the_stage_is_complete() -> None:
    desk = writing()
    assert kinds(committed(desk)) == ["StageCommitted", "StageDispatched"]
    order = desk.order("clean")
    assert (order.phase, order.dataset_id, order.dataset_version) == ("publish", "clean-sales", 4)
    assert order.manifest == MANIFEST
    assert kinds(desk.send(ReportStagePublished(**desk.about("clean"), dataset_version=4))) == ["StagePublished"]
    ended = desk.hear(VersionPublished(**OF_STAGE, dataset_version=4))
    assert kinds(ended)[:2] == ["StageCompleted", "StageDispatched"]
    (given,) = desk.order("report").inputs
    assert (given.output.dataset_id, given.output.dataset_version, given.output.rows) == ("clean-sales", 4, 3)


def test_a_stage_that_reads_a_dataset_by_its_name_sees_what_its_run_has_published() -> None:
    """Tables may be behind: a worker waits for them, as for what a trigger started the run for."""
    sink = DataSink(type=DataSourceType.DATASET, dataset="clean-sales")
    load = StageInput.model_validate({"source": {"type": "file_system", "path": "/data/raw.csv"}})
    clean = StageSpec(id="clean", inputs={"raw": load}, sink=sink)

    def reads(id: str, name: str) -> StageSpec:
        source = {"type": "dataset", "dataset": name}
        return StageSpec.model_validate({"id": id, "after": ["clean"], "inputs": {"rows": {"source": source}}})

    names = {"newest": "clean-sales", "aside": "clean-sales.quarantine", "other": "stock"}
    desk = RunDesk(clean, *(reads(id, name) for id, name in names.items()))
    desk.run()
    desk.send(ReportStagePrepared(**desk.about("clean"), manifest=MANIFEST))
    committed(desk)
    desk.send(ReportStagePublished(**desk.about("clean"), dataset_version=4))
    desk.hear(VersionPublished(**OF_STAGE, dataset_version=4))
    told = {id: desk.order(id).datasets for id in names}
    assert told == {"newest": {"clean-sales": 4}, "aside": {"clean-sales": 4}, "other": {}}


def test_a_place_that_has_a_name_is_that_dataset() -> None:
    sink = {"type": "file_system", "path": "/data/out", "id": "reports"}
    desk = RunDesk(StageSpec.model_validate({**_writer().model_dump(mode="json"), "sink": sink}))
    desk.run()
    (asked,) = desk.send(ReportStagePrepared(**desk.about("clean"), manifest=MANIFEST))
    assert isinstance(asked, CommitRequested)
    assert asked.commit.dataset_id == "reports"


def test_what_is_committed_is_published_by_another_worker_if_its_own_is_gone() -> None:
    desk = writing()
    first = desk.order("clean").worker
    desk.lose(first)
    assert desk.statuses()["clean"] == "running", "nothing is lost: the dataset decides"
    committed(desk)
    assert desk.order("clean").phase == "publish"
    assert desk.order("clean").worker != first
    desk.lose(desk.order("clean").worker)
    assert desk.order("clean").phase == "publish"
    assert desk.order("clean").attempt == 1


def test_a_worker_that_does_not_publish_in_time_is_stopped_and_another_one_publishes() -> None:
    desk = writing(timeout_seconds=60)
    committed(desk)
    first = desk.order("clean").worker
    assert kinds(desk.wait(59)) == []
    late = desk.wait(10)
    assert kinds(late)[:2] == ["StageStopRequested", "StageRetrying"]
    order = desk.order("clean")
    assert (order.phase, order.dataset_version, order.worker != first) == ("publish", 4, True)
    assert kinds(desk.send(ReportStagePublished(**desk.about("clean"), dataset_version=4))) == ["StagePublished"]
    assert "StageCompleted" in kinds(desk.hear(VersionPublished(**OF_STAGE, dataset_version=4)))


def fails(desk: RunDesk) -> None:
    """Publishing fails for good."""
    for _ in range(PUBLISHING_RETRIES + 1):
        desk.fail("clean")
        while desk.state.runs[RUN].stages["clean"].status.value == "retrying":
            desk.wait(10)
    assert desk.state.runs[RUN].status.value == "failed"


def test_a_retried_run_publishes_what_was_committed() -> None:
    desk = writing()
    committed(desk)
    fails(desk)
    desk.send(RetryRun(pipeline_id=ID, number=1))
    order = desk.order("clean")
    assert (order.phase, order.manifest, order.dataset_version) == ("publish", MANIFEST, 4)
    assert kinds(desk.send(ReportStagePublished(**desk.about("clean"), dataset_version=4))) == ["StagePublished"]
    assert kinds(desk.hear(VersionPublished(**OF_STAGE, dataset_version=4)))[0] == "StageCompleted"


def test_a_retried_run_makes_again_what_was_abandoned() -> None:
    desk = writing()
    committed(desk)
    abandoned = VersionAbandoned(**OF_STAGE, dataset_version=4, reason="the disk is full")
    assert "StageFailed" in kinds(desk.hear(abandoned))
    desk.send(RetryRun(pipeline_id=ID, number=1))
    order = desk.order("clean")
    assert (order.phase, order.attempt, order.dataset_version) == ("run", 2, 0)


def test_a_retried_run_publishes_what_was_skipped_amid_its_publication() -> None:
    """Runs did not always wait for that."""
    desk = writing()
    committed(desk)
    desk.send(ReportStagePublished(**desk.about("clean"), dataset_version=4))
    names = {"run_id": RUN, "pipeline_id": ID}
    skipped = StageSkipped(**names, stage_id="clean", reason=SkipReason.FAIL_FAST)
    desk.take([skipped, RunFailed(**names, reason="another stage failed")])
    desk.send(RetryRun(pipeline_id=ID, number=1))
    assert desk.order("clean").phase == "publish"
    assert kinds(desk.send(ReportStagePublished(**desk.about("clean"), dataset_version=4))) == ["StagePublished"]


@pytest.mark.parametrize(
    ("cause", "version", "then"),
    [
        (CommitRefusal.CONTRACT, 0, ["StageFailed", "StageSkipped", "RunFailed"]),
        (CommitRefusal.QUALITY, 0, ["StageFailed", "StageSkipped", "RunFailed"]),
        (CommitRefusal.RULES, 0, ["StageRetrying"]),
        (CommitRefusal.STALE, 3, ["StageCommitted", "StageDispatched"]),
    ],
)
def test_a_dataset_may_refuse(cause: CommitRefusal, version: int, then: list[str]) -> None:
    desk = writing(retry=StageRetry(max=1))
    refused = CommitRefused(**OF_STAGE, cause=cause, reason="total is gone", dataset_version=version)
    assert kinds(desk.hear(refused)) == then


def test_a_change_of_rules_or_contract_is_no_fault_of_the_attempt_that_did_not_know_it() -> None:
    """Its tables were behind: another attempt is made soon, though the stage has no retries."""
    desk = writing()
    refused = CommitRefused(**OF_STAGE, cause=CommitRefusal.RULES, reason="they are others now")
    (retrying,) = desk.hear(refused)
    assert isinstance(retrying, StageRetrying)
    assert (retrying.counted, retrying.retry_at - desk.now) == (False, timedelta(seconds=1))


def busy(desk: RunDesk) -> list[Event]:
    reason = "20 wait already for version 3, which is not published"
    return desk.hear(CommitRefused(**OF_STAGE, cause=CommitRefusal.BUSY, reason=reason))


def test_a_dataset_that_has_no_room_is_asked_again_about_the_same_output() -> None:
    """The stage has no retries, and needs none: its output is aside."""
    desk = writing()
    request, waits = desk.state.runs[RUN].stages["clean"].commit, []
    for _ in range(8):
        asked_at = desk.now
        assert kinds(busy(desk)) == ["CommitPostponed"]
        again = desk.wait(1) or desk.wait(29)
        asked = next(each for each in again if isinstance(each, CommitRequested))
        assert (asked.commit, asked.attempt) == (request, 1)
        waits.append((desk.now - asked_at).total_seconds())
    assert waits == sorted(waits)
    assert desk.statuses()["clean"] == "running"
    assert "StageCommitted" in kinds(committed(desk))
    assert desk.order("clean").phase == "publish"
    assert not [each for each in desk.wait(40) if isinstance(each, CommitRequested)], "it is asked no more"


def test_a_dataset_that_has_no_room_is_asked_as_long_as_the_stage_may_take() -> None:
    desk = RunDesk(_writer(timeout_seconds=10))
    desk.run()
    desk.begin("clean")
    desk.send(ReportStagePrepared(**desk.about("clean"), manifest=MANIFEST))
    while kinds(busy(desk)) == ["CommitPostponed"]:
        desk.wait((desk.decider.due(desk.state) - desk.now).total_seconds())
    (failed,) = [each for each in desk.events if isinstance(each, StageFailed)]
    assert failed.failure.kind is FailureKind.TIMEOUT
    assert failed.failure.problem == (
        "clean-sales took no version within the stage's 10 seconds: "
        "20 wait already for version 3, which is not published"
    )
    assert desk.now - NOON == timedelta(seconds=10)


def test_a_run_that_is_cancelled_asks_a_dataset_no_more() -> None:
    desk = writing()
    busy(desk)
    assert kinds(desk.send(CancelRun(pipeline_id=ID, number=1)))[-1] == "RunCancelled"
    assert not [each for each in desk.wait(60) if isinstance(each, CommitRequested)]


def _writer(**fields: Any) -> StageSpec:
    source = {"type": "file_system", "path": "/data/raw.csv"}
    sink = {"type": "dataset", "dataset": "clean-sales"}
    return StageSpec.model_validate({"id": "clean", "inputs": {"raw": {"source": source}}, "sink": sink, **fields})


def test_a_stage_that_writes_can_not_end_without_a_version() -> None:
    desk = writing()
    with pytest.raises(Refused, match="is not this worker's"):
        desk.complete("clean")


def test_a_decision_about_an_attempt_that_is_over_changes_nothing() -> None:
    desk = writing()
    desk.send(CancelRun(pipeline_id=ID, number=1))
    request = CommitRequest(**{**OF_STAGE, "pipeline_version": 1}, manifest=MANIFEST)
    assert desk.hear(VersionCommitted(**OF_STAGE, dataset_version=4, request=request)) == []
