"""The tables of runs follow what a pipeline decides, whatever happens to its runs."""

from __future__ import annotations

from typing import Any

from events.language.pipelines.run_commands import CancelRun, ReportWorkerReady, RetryRun
from events.language.pipelines.stages import ForEach, StageRetry, StageSpec
from events.language.pipelines.work import StageMetrics, StageOutput
from events.log.envelope import Meta, Position, Recorded
from services.pipelines.projections import PROJECTION
from tests.rows import HeldRows
from tests.unit.pipelines.desk import ID, NOON, RunDesk
from tests.unit.pipelines.test_runs import finish_ranges

RUN = f"{ID}.1"


def rows(desk: RunDesk) -> Any:
    """Table → key → row, of all that the desk has decided."""
    held = HeldRows(PROJECTION)
    for number, event in enumerate(desk.events):
        meta = Meta("e", type(event).type_name(), event.subject(), desk.now, desk.project, "owner")
        PROJECTION.project(Recorded(event, meta, ID, Position("events.pipelines", 0, number)), held)
    return held.tables


def test_a_run_counts_its_stages_and_sums_what_they_used() -> None:
    desk = RunDesk("a", "b: a", "c: a")
    desk.run(note="by hand")
    desk.begin("a")
    used = StageMetrics(rows_read=10, rows_written=4, cpu_seconds=0.5, peak_memory_bytes=100, seconds=2.0)
    desk.complete("a", output=StageOutput(rows=4), metrics=used)
    desk.fail("b")
    tables = rows(desk)
    run = tables["pipeline_runs"][RUN,]
    counts = {name: run[name] for name in ("stages", "completed", "failed", "skipped", "running")}
    assert counts == {"stages": 3, "completed": 1, "failed": 1, "skipped": 0, "running": 1}
    assert (run["status"], run["current_stages"], run["note"]) == ("running", ["c"], "by hand")
    assert (run["rows_read"], run["cpu_seconds"], run["memory_byte_seconds"]) == (10, 0.5, 200.0)
    stage = tables["stage_runs"][RUN, "a"]
    assert (stage["status"], stage["output"]["rows"], stage["started_at"]) == ("completed", 4, NOON)
    assert tables["pipelines"][ID,]["runs"] == 1


def test_a_retried_run_is_open_again() -> None:
    desk = RunDesk("a", "b: a")
    desk.run()
    desk.fail("a")
    failed = rows(desk)["pipeline_runs"][RUN,]
    assert (failed["status"], failed["reason"], failed["skipped"]) == ("failed", "stage a failed", 1)
    desk.send(RetryRun(pipeline_id=ID, number=1))
    desk.complete("a", "b")
    run = rows(desk)["pipeline_runs"][RUN,]
    assert (run["status"], run["completed"], run["failed"], run["skipped"]) == ("completed", 2, 0, 0)


def test_tasks_are_counted() -> None:
    desk = RunDesk(StageSpec(id="each", for_each=ForEach(count=50), retry=StageRetry(max=1, backoff_seconds=1)))
    desk.run()
    finish_ranges(desk, "each", failing={7})
    stage = rows(desk)["stage_runs"][RUN, "each"]
    assert (stage["task_count"], stage["tasks_completed"], stage["status"]) == (50, 49, "retrying")
    desk.wait(2)
    finish_ranges(desk, "each")
    stage = rows(desk)["stage_runs"][RUN, "each"]
    assert (stage["tasks_completed"], stage["tasks_failed"], stage["status"]) == (50, 0, "completed")


def test_workers_come_and_go() -> None:
    desk = RunDesk("a", workers=False)
    desk.run()
    (worker,) = desk.state.workers
    desk.start(worker)
    assert rows(desk)["pipeline_workers"][worker,]["started_at"] == NOON
    desk.send(ReportWorkerReady(pipeline_id=ID, worker=worker))
    assert rows(desk)["pipeline_workers"][worker,]["ready"]
    desk.lose(worker)
    assert rows(desk)["pipeline_workers"][worker,]["ended_at"] == NOON


def test_a_cancelled_run_has_nothing_under_way() -> None:
    desk = RunDesk("a", "b")
    desk.run()
    desk.send(CancelRun(pipeline_id=ID, number=1, reason="wrong day"))
    run = rows(desk)["pipeline_runs"][RUN,]
    assert (run["status"], run["reason"], run["running"], run["skipped"]) == ("cancelled", "wrong day", 0, 2)
