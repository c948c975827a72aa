"""What triggers leave in their pipeline's row."""

from __future__ import annotations

from datetime import UTC, datetime

from events.language.pipelines.answers import StreamProgress
from events.language.pipelines.commands import RetirePipeline
from events.language.pipelines.windows import StreamState
from services.pipelines.pipeline.rows import PIPELINES
from services.pipelines.pipeline.run_rows import RUNS, STAGES, WORKERS
from tests.unit.pipelines.desk import ID
from tests.unit.pipelines.test_clock_rows import folded
from tests.unit.pipelines.test_watching import FILES, KAFKA, TOPIC, WatchDesk, windowed


def test_the_troubles_of_triggers_are_in_their_pipelines_row() -> None:
    other = {"name": "sales", "topic": {"topic": "sales", "connection": KAFKA}}
    desk = WatchDesk(TOPIC, other)
    desk.topic((0, 0, 0))
    desk.topic((0, 0, 1))
    desk.fail("load")
    desk.trouble("topic: Kafka says: no")
    row = folded(desk).tables[PIPELINES.name][ID,]
    assert [(each["trigger"], each["kind"]) for each in row["trigger_troubles"]] == [
        ("stream", "run"),
        ("stream", "source"),
    ]
    desk.trouble("")
    assert [each["kind"] for each in folded(desk).tables[PIPELINES.name][ID,]["trigger_troubles"]] == ["run"]
    desk.define_as(other)
    assert folded(desk).tables[PIPELINES.name][ID,]["trigger_troubles"] == [], "there is no such trigger any more"


def test_watchers_are_among_a_pipelines_workers() -> None:
    desk = WatchDesk(FILES)
    watcher = desk.watcher
    desk.files("a.csv")
    desk.send(RetirePipeline(pipeline_id=ID))
    tables = folded(desk).tables
    assert tables[WORKERS.name][watcher,]["watches"] is True
    assert tables[WORKERS.name][watcher,]["released_at"] == desk.now
    assert tables[RUNS.name][f"{ID}.1",]["trigger_id"] == "arrivals"


def test_how_far_windows_are_is_in_their_pipelines_row_until_the_trigger_begins_anew() -> None:
    desk = WatchDesk(TOPIC, stages=[windowed()])
    desk.topic((0, 0, 0))
    desk.topic((0, 0, 3))
    end, mark = datetime(2026, 5, 9, 1, tzinfo=UTC), datetime(2026, 5, 9, 0, 59, tzinfo=UTC)
    left = StreamState(input="stream", watermark=mark, open_windows=2, next_end=end, held_by=1, late_rows=4)
    desk.complete("load", streams=(left,))
    tables = folded(desk).tables
    (stream,) = tables[PIPELINES.name][ID,]["stream_progress"]
    assert StreamProgress.model_validate(stream) == StreamProgress(
        trigger="stream",
        stage_id="load",
        topic="orders",
        url=KAFKA["url"],
        run_id=f"{ID}.1",
        at=desk.now,
        **left.model_dump(include={"input", "batch", "watermark", "open_windows", "next_end", "held_by", "late_rows"}),
    )
    assert tables[STAGES.name][f"{ID}.1", "load"]["reason"] == (
        "no rows: the first open window ends at 2026-05-09T01:00:00Z, and the watermark is at "
        "2026-05-09T00:59:00Z, held back by partition 1"
    )
    desk.define_as(TOPIC)
    assert folded(desk).tables[PIPELINES.name][ID,]["stream_progress"] == [stream]
    desk.define_as({**TOPIC, "name": "anew"})
    assert folded(desk).tables[PIPELINES.name][ID,]["stream_progress"] == []
