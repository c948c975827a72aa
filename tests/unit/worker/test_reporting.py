"""What a worker reports of its orders."""

from __future__ import annotations

from typing import Any

import pytest

from events.language.base import Command
from events.language.pipelines.pipeline import PipelineSpec
from events.language.pipelines.run_commands import (
    ReportStageEnded,
    ReportStagePrepared,
    ReportStageProgress,
    ReportStagePublished,
    ReportStageResolved,
    ReportStageStarted,
    ReportWorkerReady,
)
from events.language.pipelines.run_events import StageDispatched
from events.language.pipelines.work import StageMetrics, WorkerSpec
from forgelog.worker.ordering import order_of
from forgelog.worker.platform import Refusal
from forgelog.worker.printing import LogRange
from forgelog.worker.reporting import Reports
from forgelog.worker.starting import CantStart, Start, read, secret_of
from forgelog.worker.working import Done, Progress

WORKER = WorkerSpec(pipeline_id="daily", worker="pipe.daily.w1", pipeline_version=2)
SPEC = PipelineSpec.model_validate(
    {
        "stages": [{"id": "clean", "timeout_seconds": 60}, {"id": "sum"}],
        "parameters": {"day": {"type": "date"}},
    }
)
MANIFEST = {
    "attempt": "daily.7.clean.1",
    "type": "dataset",
    "mode": "overwrite",
    "base": "/data/clean",
    "aside": "/data/clean/data",
    "columns": [{"name": "id", "type": "BIGINT"}],
    "rows": 2,
    "bytes": 519,
}


def dispatched(**more: Any) -> StageDispatched:
    given = {"run_id": "daily.7", "pipeline_id": "daily", "stage_id": "clean", "attempt": 1, "worker": "pipe.daily.w1"}
    return StageDispatched.model_validate({**given, "pipeline_version": 2, **more})


class Desk:
    def __init__(self, tmp_path: Any) -> None:
        self.sent: list[Command] = []
        self.refusals: list[Any] = []
        self.start = Start(WORKER, "local/default", tmp_path, None)
        self.reports = Reports(self.start, self)
        self.reports.stopping = self

    def report(self, command: Command, *, urgent: bool = True) -> None:
        assert urgent or isinstance(command, ReportStageStarted)
        self.sent.append(command)

    async def all_sent(self) -> None: ...

    def refused(self, attempt: tuple[str, str, int], refusal: Refusal) -> None:
        self.refusals.append((attempt, refusal.code))

    def done(self, said: Any = None, failure: Any = None, **more: Any) -> Any:
        order = order_of(self.start, dispatched(**more), SPEC)
        self.reports.done(Done(order, said or {}, failure or {}, 1.5, LogRange(10, 30, 4)))
        return self.sent[-1]


@pytest.fixture
def desk(tmp_path: Any) -> Desk:
    return Desk(tmp_path)


def test_an_order_has_all_that_the_work_needs(desk: Desk) -> None:
    order = order_of(desk.start, dispatched(parameters={"day": "2026-05-09"}), SPEC)

    assert order.key == ("daily.7", "clean", 1, "run")
    assert order.timeout == 60
    assert order.work["stage"] == {"id": "clean", "timeout_seconds": 60.0}
    assert order.work["parameter_specs"] == {"day": {"type": "date"}}
    assert order.work["debug"] is False


def test_the_work_of_a_debugged_run_says_so(desk: Desk) -> None:
    assert order_of(desk.start, dispatched(debug=True), SPEC).work["debug"] is True


def test_a_publication_and_each_range_of_tasks_are_orders_of_their_own(desk: Desk) -> None:
    keys = {
        order_of(desk.start, dispatched(**more), SPEC).key
        for more in ({}, {"phase": "publish"}, {"first_task": 0, "last_task": 9}, {"first_task": 10, "last_task": 19})
    }
    assert len(keys) == 4


def test_a_worker_says_that_it_is_ready_and_that_it_has_begun(desk: Desk) -> None:
    desk.reports.ready()
    desk.reports.started(order_of(desk.start, dispatched(), SPEC))

    ready, started = desk.sent
    assert ready == ReportWorkerReady(pipeline_id="daily", worker="pipe.daily.w1")
    assert isinstance(started, ReportStageStarted)
    assert (started.run_id, started.stage_id, started.attempt) == ("daily.7", "clean", 1)


def test_work_that_takes_long_says_how_far_it_is(desk: Desk) -> None:
    """In whatever phase: a worker that says nothing is taken for lost."""
    phases = ({}, {"phase": "resolve"}, {"phase": "publish"}, {"first_task": 0, "last_task": 9})
    for more in phases:
        order = order_of(desk.start, dispatched(**more), SPEC)
        desk.reports.progress(Progress(order, 6.5, 1 << 20))

    assert len(desk.sent) == len(phases)
    for report in desk.sent:
        assert isinstance(report, ReportStageProgress)
        assert report.metrics == StageMetrics(seconds=6.5, peak_memory_bytes=1 << 20)


def test_a_stage_without_a_sink_ends_with_its_output_and_figures(desk: Desk) -> None:
    report = desk.done({"output": {"rows": 2, "inline": "AAAA"}, "metrics": {"rows_written": 2}})

    assert isinstance(report, ReportStageEnded)
    assert report.outcome == "completed"
    assert report.output is not None
    assert report.output.rows == 2
    assert (report.metrics.seconds, report.metrics.rows_written) == (1.5, 2)
    assert (report.metrics.log_first, report.metrics.log_end, report.metrics.log_dropped) == (10, 30, 4)


def test_a_stage_with_a_sink_asks_to_be_committed_and_says_when_it_is_public(desk: Desk) -> None:
    prepared = desk.done({"prepared": {"manifest": MANIFEST, "quarantine": None}})
    published = desk.done(
        {"published": {"location": "/data/clean", "already": True}}, phase="publish", dataset_version=3
    )

    assert isinstance(prepared, ReportStagePrepared)
    assert prepared.manifest.attempt == "daily.7.clean.1"
    assert isinstance(published, ReportStagePublished)
    assert (published.already, published.dataset_version) == (True, 3)


def test_a_look_at_the_inputs_is_reported(desk: Desk) -> None:
    report = desk.done({"resolved": {"count": 3}}, phase="resolve")
    assert isinstance(report, ReportStageResolved)
    assert report.count == 3


def test_a_failure_is_reported_with_its_field(desk: Desk) -> None:
    report = desk.done({}, {"kind": "error", "field": "inputs.raw.path", "problem": "no file fits"})

    assert report.outcome == "failed"
    assert (report.failure.kind, report.failure.field) == ("error", "inputs.raw.path")


def test_a_stop_is_reported_as_cancelled(desk: Desk) -> None:
    report = desk.done({}, {"kind": "cancelled", "problem": "the run was cancelled"})
    assert (report.outcome, report.failure) == ("cancelled", None)


def test_a_range_says_which_of_its_tasks_failed(desk: Desk) -> None:
    said = {"output": {}, "failed_tasks": [4]}
    report = desk.done(said, {"kind": "error", "problem": "4 is wrong"}, first_task=3, last_task=5)
    assert (report.first_task, report.failed_tasks, report.outcome) == (3, (4,), "failed")


def test_what_can_t_be_reported_is_a_failure(desk: Desk) -> None:
    report = desk.done({"prepared": {"manifest": {**MANIFEST, "rows": -1}}})
    assert report.outcome == "failed"
    assert "manifest.rows" in report.failure.problem


def test_a_refusal_of_a_stale_attempt_stops_it(desk: Desk) -> None:
    report = desk.done({"output": {}})
    desk.reports.heard(report, None)
    desk.reports.heard(report, Refusal("aborted", "attempt 2 counts"))

    assert desk.refusals == [(("daily.7", "clean", 1), "aborted")]
    assert desk.sent == [report]


def test_a_report_that_is_refused_otherwise_fails_the_stage_once(desk: Desk) -> None:
    refusal = Refusal("invalid_argument", "metrics.rows_read: is too much")
    desk.reports.heard(desk.done({"output": {}}), refusal)
    failed = desk.sent[-1]
    desk.reports.heard(failed, refusal)

    assert isinstance(failed, ReportStageEnded)
    assert failed.outcome == "failed"
    assert failed.failure is not None
    assert "rows_read" in failed.failure.problem
    assert desk.sent[-1] is failed


@pytest.mark.parametrize(
    ("given", "problem"),
    [({}, "FORGELOG_WORKER is not set"), ({"FORGELOG_WORKER": "{"}, "FORGELOG_WORKER: ")],
)
def test_a_worker_that_is_told_nothing_says_so(given: dict[str, str], problem: str) -> None:
    with pytest.raises(CantStart, match=problem):
        read(given)


def test_a_worker_finds_what_it_is_in_its_environment(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    start = read({"FORGELOG_WORKER": WORKER.to_json().decode(), "FORGELOG_PROJECT": "acme/lab"})
    assert (start.spec, start.project, start.folder) == (WORKER, "acme/lab", tmp_path)


def test_a_secret_is_a_file_and_one_that_is_not_there_is_named(tmp_path: Any) -> None:
    (tmp_path / "shop").write_text("hunter2\n")
    assert secret_of(tmp_path, "shop") == "hunter2"
    with pytest.raises(LookupError, match="no secret 'bank'"):
        secret_of(tmp_path, "bank")
