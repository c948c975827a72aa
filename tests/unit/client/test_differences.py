"""What `rebuild --check` shows of rows that differ."""

from __future__ import annotations

from forgelog.cli.differences import differences

ROW = {"job_id": "j-1", "status": "completed", "tasks": 3}


def test_rows_of_one_key_are_shown_side_by_side() -> None:
    live = [{**ROW, "job_id": "j-2"}, {**ROW, "status": "running"}]
    assert differences("jobs.jobs", [ROW], live) == [
        "jobs.jobs job_id=j-1: status is running, the log says completed",
        "jobs.jobs job_id=j-2: not in the log; the table says status=completed, tasks=3",
    ]


def test_of_several_rows_with_a_first_column_the_nearest_is_compared() -> None:
    rebuilt = [{"job_id": "j", "task": 0, "status": "failed"}, {"job_id": "j", "task": 1, "status": "failed"}]
    live = [{"job_id": "j", "task": 1, "status": "failed!"}, {"job_id": "j", "task": 0, "status": "failed"}]
    assert differences("jobs.tasks", rebuilt[1:], live[:1]) == [
        "jobs.tasks job_id=j task=1: status is failed!, the log says failed"
    ]


def test_what_is_missing_is_said_and_long_values_are_cut() -> None:
    row = {"job_id": "j-1", "spec": "x" * 1000, "note": None}
    (line,) = differences("jobs.jobs", [row], [])
    assert line.startswith("jobs.jobs job_id=j-1: not in the table; the log says spec=xxx")
    assert line.endswith("…, note=empty")
    assert len(line) < 160
