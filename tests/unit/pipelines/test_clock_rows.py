"""Given what a pipeline's clock decided, then the tables of backfills, missed promises and pipelines say it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from events.language.pipelines.commands import ActivatePipeline, PausePipeline, ResumePipeline
from events.language.pipelines.schedule import CatchUp, Schedule
from events.language.pipelines.schedule_messages import CancelBackfill, StartBackfill
from events.language.pipelines.sla import Sla
from events.log.envelope import Meta, Position, Recorded
from services.pipelines.clock.rows import BACKFILLS, SLA_MISSES
from services.pipelines.pipeline.rows import PIPELINES
from services.pipelines.projections import PipelinesProjection
from tests.rows import HeldRows
from tests.unit.pipelines.desk import ID, NOON, Desk

HOURLY = Schedule(cron="0 * * * *")


def folded(desk: Desk) -> HeldRows:
    """All that a desk has decided, in rows."""
    projection = PipelinesProjection()
    rows = HeldRows(projection)
    for number, event in enumerate(desk.events):
        meta = Meta("e", type(event).type_name(), event.subject(), desk.now, desk.project, "owner")
        projection.project(Recorded(event, meta, ID, Position("events.pipelines", 0, number)), rows)
    return rows


def started(desk: Desk, **fields: Any) -> None:
    times = {"range_start": NOON - timedelta(hours=6, minutes=30), "range_end": NOON - timedelta(minutes=30)}
    desk.send(StartBackfill(pipeline_id=ID, **{**times, **fields}))


def test_a_backfill_s_row_says_how_far_it_is() -> None:
    desk = Desk()
    desk.define("load", schedule=HOURLY)
    started(desk, max_parallel=2, note="since April")
    row = folded(desk).tables[BACKFILLS.name][ID, 1]
    assert (row["status"], row["intervals"], row["runs"], row["passed"]) == ("running", 5, 2, 0)
    assert (row["cursor"], row["note"], row["author"]) == (NOON - timedelta(hours=4), "since April", "owner")
    desk.send(CancelBackfill(pipeline_id=ID, number=1, reason="wrong files"))
    row = folded(desk).tables[BACKFILLS.name][ID, 1]
    assert (row["status"], row["reason"], row["ended_at"]) == ("cancelled", "wrong files", desk.now)
    started(desk, max_parallel=9)
    row = folded(desk).tables[BACKFILLS.name][ID, 2]
    assert (row["runs"], row["passed"], row["cursor"]) == (3, 2, NOON - timedelta(minutes=30))


def test_a_missed_promise_has_a_row_and_is_counted() -> None:
    desk = Desk()
    desk.define("load", schedule=HOURLY, sla=Sla(finish_within_seconds=600))
    desk.send(ActivatePipeline(pipeline_id=ID))
    desk.wait(3600 + 601)
    rows = folded(desk)
    deadline = NOON + timedelta(hours=1, minutes=10)
    row = rows.tables[SLA_MISSES.name][ID, "finish_within", deadline, f"{ID}.1"]
    assert (row["project"], row["tick"]) == (desk.project, None)
    assert rows.tables[PIPELINES.name][ID,]["sla_misses"] == 1


def test_a_pipeline_s_row_says_when_it_fired_and_how_much_it_skipped() -> None:
    desk = Desk()
    desk.define("load", schedule=HOURLY.model_copy(update={"catch_up": CatchUp.NONE}))
    desk.send(ActivatePipeline(pipeline_id=ID))
    desk.wait(3600)
    desk.send(PausePipeline(pipeline_id=ID))
    desk.wait(3 * 3600 + 120)
    desk.send(ResumePipeline(pipeline_id=ID))
    desk.wait(1)
    row = folded(desk).tables[PIPELINES.name][ID,]
    assert (row["last_tick"], row["skipped_ticks"]) == (NOON + timedelta(hours=1), 3)
    assert row["schedule_problem"] == ""
