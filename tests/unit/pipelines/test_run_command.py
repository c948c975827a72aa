"""`forgelog pipeline run`: what is said of stages that have failed, stages tried on a sample, and dry runs."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from events.language.pipelines.backfill import BackfillRerun
from events.language.pipelines.schedule import Schedule
from events.language.pipelines.sources import DataSource
from forgelog.cli.pipeline_failures import told_failures
from forgelog.cli.pipeline_plans import awaited, to_run
from forgelog.cli.pipeline_runs import of_run
from forgelog.cli.pipeline_waits import coming_worker, failing_watcher, told_queue, told_windows
from forgelog.cli.pipelines import app
from forgelog.worker.sampling import sampled


def test_a_failed_stage_is_told_with_its_field_its_remedy_and_its_place_in_the_code() -> None:
    failure = {"field": "inputs.raw.path", "problem": "no file fits", "remedy": "check it", "traceback": "  line 3\n"}
    stages = [
        {"stage_id": "load", "status": "failed", "failure": failure},
        {"stage_id": "tried-again", "status": "completed", "failure": failure},
        {"stage_id": "report", "status": "skipped", "failure": None},
    ]
    assert told_failures(stages) == ["load: inputs.raw.path: no file fits; check it", "  line 3"]


FILE = """
kind: Pipeline
name: sales
parameters: {least: {type: number, default: 5}}
schedule: {cron: "30 1 * * *"}
stages:
  - id: by-country
    inputs: {sales: load}
    transformations:
      - type: aggregate
        aggregate: {group_by: [country], columns: [{name: total, expression: sum(amount)}]}
    sink: {type: dataset, dataset: sales-by-country}
  - id: load
    inputs: {raw: {type: file_system, path: "FOLDER/*.csv"}}
    transformations: [{type: custom, custom: {python: {module: mine_of_a_sample, function: above}}}]
    rules: [{rule_id: known, type: pattern, columns: [country], pattern: "[A-Z]{3}"}]
  - id: report
    job: {name: report, command: "true"}
upload: FOLDER
"""

CODE = """
import os

def above(raw, least: float):
    print("rows above", least)
    import narwhals as nw
    return raw.filter(nw.col("amount") > least)
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "mine_of_a_sample.py").write_text(CODE)
    (tmp_path / "a.csv").write_text("country,amount\nCHE,10\nFRA,3\nx,7.5\nCHE,20\n")
    path = tmp_path / "sales.yaml"
    path.write_text(FILE.replace("FOLDER", str(tmp_path)))
    return path


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["run", *map(str, arguments)])


def test_a_stage_is_tried_on_a_sample_with_those_whose_rows_it_takes(file: Path) -> None:
    before = sorted(file.parent.iterdir())
    tried = run(file, "--stage", "by-country", "-o", "json")
    assert tried.exit_code == 0, tried.output
    assert json.loads(tried.stdout)["rows"] == [{"country": "CHE", "total": 30.0}]
    assert "rows above 5.0" in tried.stderr
    few = run(file, "--stage", "load", "--sample", 3, "-p", "least=1")
    assert [line.split() for line in few.stdout.splitlines()[1:]] == [["CHE", "10.0"], ["FRA", "3.0"]]
    assert "rule known: 1 of 3 rows fail, 1 would go to the quarantine" in few.stderr
    assert sorted(path for path in file.parent.iterdir() if path.name != "__pycache__") == before, "nothing is written"


def test_what_keeps_a_sample_from_being_taken_is_named(file: Path) -> None:
    assert "there is no stage 'lod'; there are: by-country, load, report" in run(file, "--stage", "lod").output
    assert "is 'x', which is no number" in run(file, "--stage", "load", "-p", "least=x").output
    assert "report.job: is a job, which has no rows to show" in run(file, "--stage", "report").output
    assert "--sample is of --stage" in str(run(file, "--sample", 3).exception)
    assert "--detach says nothing of what is not run" in str(run(file, "--stage", "load", "-d").exception)
    (file.parent / "a.csv").write_text("country,amount\nCHE,1,1\n")
    failed = run(file, "--stage", "by-country")
    assert failed.exit_code == 1
    assert failed.output.startswith("load.inputs.raw.format.csv: line 2 of ")


def test_a_place_that_can_be_asked_for_less_gives_no_more() -> None:
    database = {"type": "database", "connection": {"url": "postgresql://host/shop"}}
    table = sampled(DataSource.model_validate({**database, "table": "public.orders"}), 7)
    assert table.query == 'SELECT * FROM (SELECT * FROM "public"."orders"\n) AS forgelog_sample LIMIT 7'
    query = sampled(DataSource.model_validate({**database, "query": "SELECT 1; "}), 7)
    assert query.query == "SELECT * FROM (SELECT 1\n) AS forgelog_sample LIMIT 7"
    topic = {"type": "kafka", "connection": {"url": "kafka://host:9092"}, "topic": "orders", "format": {"type": "json"}}
    streaming = sampled(DataSource.model_validate(topic), 7).streaming
    assert streaming is not None
    assert streaming.max_records == 7


def test_a_dry_run_says_what_each_stage_would_read_and_write(file: Path) -> None:
    planned = json.loads(run(file, "--dry-run", "-o", "json").stdout)
    assert [each["stage"] for each in planned["stages"]] == ["load", "by-country", "report"]
    assert planned["stages"][0]["reads"] == ["raw: 1 file, 41 bytes"]
    assert planned["stages"][1]["writes"] == "overwrite dataset sales-by-country"
    assert planned["parameters"] == {"least": "5"}
    assert len(planned["interval"]) == 2
    (file.parent / "a.csv").unlink()
    assert "no file fits" in run(file, "--dry-run").output


def test_a_backfill_s_plan_passes_over_what_has_run() -> None:
    days = [datetime(2026, 5, day, tzinfo=UTC) for day in range(1, 7)]
    runs = [
        {"interval_start": days[1], "interval_end": days[2], "status": "completed"},
        {"interval_start": days[2], "interval_end": days[3], "status": "failed"},
        {"interval_start": days[3], "interval_end": days[4], "status": "running"},
        {"interval_start": None, "interval_end": None, "status": "completed"},
    ]
    schedule = Schedule(cron="0 0 * * *")
    found = {rerun: to_run(schedule, days[0], days[5], rerun, runs) for rerun in BackfillRerun}
    assert {rerun: [each.start.day for each in intervals] for rerun, (intervals, _) in found.items()} == {
        BackfillRerun.MISSING: [1, 4, 5],
        BackfillRerun.FAILED: [1, 3, 4, 5],
        BackfillRerun.ALL: [1, 2, 3, 4, 5],
    }
    assert found[BackfillRerun.MISSING][1] == 2


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"dataset": ["orders", "rates"]}, "new versions of orders, rates"),
        ({"topic": "clicks"}, "new records of topic clicks"),
        ({"files": "/data/in/*.csv"}, "new files at /data/in/*.csv"),
    ],
)
def test_an_activation_s_plan_says_what_each_trigger_awaits(given: dict[str, Any], said: str) -> None:
    assert awaited({"dataset": [], "topic": "", "files": "", **given}) == said


def test_windows_are_told_with_what_they_wait_for() -> None:
    stream = {"stage_id": "hours", "input": "orders", "watermark": None, "open_windows": 0, "next_end": None}
    stream |= {"held_by": None, "held_rows": 0, "late_rows": 0}
    end = datetime(2026, 5, 9, 1, tzinfo=UTC)
    opened = {"watermark": end.replace(hour=0), "open_windows": 1, "next_end": end, "held_by": 3, "held_rows": 1_200}
    assert told_windows([stream, {**stream, **opened}]) == [
        "hours/orders: none is complete; 0 rows are held, 0 were late",
        "hours/orders: complete up to 2026-05-09T00:00:00Z; 1 is open, the first ends at 2026-05-09T01:00:00Z; "
        "partition 3 holds the watermark back; 1,200 rows are held, 0 were late",
    ]


def test_a_queued_run_says_what_it_waits_for() -> None:
    pipeline = {"status": "active", "spec": {"execution": {"max_active_runs": 1}}}
    backfill = {"number": 3, "status": "running", "trigger": "backfill"}
    running = {"number": 4, "status": "paused", "trigger": "manual"}
    assert told_queue(pipeline, [backfill, running]) == "run 4 is paused, and execution.max_active_runs is 1"
    assert told_queue(pipeline, [backfill]) == ""
    assert told_queue({**pipeline, "status": "paused"}, [running]) == "the pipeline is paused"


def test_of_workers_the_newest_is_waited_for_that_is_not_ready() -> None:
    gone = {"worker": "w1", "watches": False, "ready": False, "ended_at": 1, "released_at": None}
    watcher = {**gone, "worker": "w2", "watches": True, "ended_at": None}
    ready = {**watcher, "worker": "w3", "watches": False, "ready": True}
    coming = {**ready, "worker": "w4", "ready": False}
    assert coming_worker([watcher, coming, ready, gone]) == "w4"
    assert coming_worker([watcher, ready, gone]) == ""


def watcher(**fields: Any) -> dict[str, Any]:
    whole = {"watches": True, "reason": "", "started_at": None, "ready_at": None, "released_at": None, "ended_at": None}
    return whole | fields


LACKS = watcher(reason="spawn failed: secret 'kafka' can't be read", ended_at=1)
READY = watcher(started_at=1, ready_at=2, ended_at=3, reason="lost")
HUNG = watcher(started_at=1, released_at=2, ended_at=3, reason="it was not ready 300 seconds after")


@pytest.mark.parametrize(
    ("workers", "told"),
    [
        ([], ""),
        ([READY, LACKS], ""),
        ([watcher()], ""),
        ([watcher(released_at=1, ended_at=2, reason="no trigger needs it")], ""),
        ([{**LACKS, "watches": False}, READY], ""),
        ([watcher(), LACKS, LACKS, READY, LACKS], f" (2 times): {LACKS['reason']}"),
        ([LACKS], f": {LACKS['reason']}"),
        ([HUNG], f": {HUNG['reason']}"),
    ],
)
def test_a_watcher_that_does_not_start_is_told(workers: list[dict[str, Any]], told: str) -> None:
    said = f"nobody looks at topics and files: the watcher does not start{told}" if told else ""
    assert failing_watcher(workers) == said


@pytest.mark.parametrize(
    ("said", "meant"),
    [(("sales", 0), ("sales", 0)), (("sales/7", 0), ("sales", 7)), (("sales/x", 0), ("sales/x", 0)),
     (("sales/7", 3), ("sales/7", 3))],
)  # fmt: skip
def test_a_run_may_be_named_as_its_lineage_names_it(said: tuple[str, int], meant: tuple[str, int]) -> None:
    assert of_run(*said) == meant
