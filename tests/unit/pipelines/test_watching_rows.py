"""What triggers leave in their pipeline's row."""

from __future__ import annotations

from events.language.pipelines.commands import RetirePipeline
from services.pipelines.pipeline.rows import PIPELINES
from services.pipelines.pipeline.run_rows import RUNS, WORKERS
from tests.unit.pipelines.desk import ID
from tests.unit.pipelines.test_clock_rows import folded
from tests.unit.pipelines.test_watching import FILES, KAFKA, TOPIC, WatchDesk


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
