"""What `history` shows of an event: a reason whole, in as many lines as it takes; lists and maps in short."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from forgelog.cli.event_table import event_columns
from forgelog.cli.tables import lines_of

NOW = datetime(2026, 5, 9, 3, 12, tzinfo=UTC)
REASON = "could not be started: 'trian' is not found; PATH on this node is '/usr/local/sbin:/usr/local/bin:/usr/sbin'"


def lines(width: int | None, **data: Any) -> list[str]:
    event = {
        "time": NOW, "position": "events.jobs/3@46", "type": "forgelog.jobs.v1.JobFailed", "actor": "node:laptop-0",
        "data": data,
    }  # fmt: skip
    return lines_of([event], event_columns(NOW.date()), width=width)


def test_a_reason_is_whole_in_eighty_columns() -> None:
    found = lines(80, job_id="j1", reason=REASON, exit_code=1)
    assert max(map(len, found)) <= 80
    assert found[1].endswith("  exit_code=1")
    assert "".join("".join(line.split()) for line in found[2:]) == f"reason={REASON}".replace(" ", "")
    assert all(line.startswith(" " * 20) for line in found[2:])


def test_a_refusal_says_what_was_refused_and_each_of_its_errors() -> None:
    errors = [
        {"field": "spec.stages", "problem": "is empty", "hint": "give at least 1 item"},
        {"field": "name", "problem": "is taken", "hint": ""},
    ]
    event = {
        "time": NOW, "position": "events.pipelines/1@3", "type": "forgelog.log.v1.CommandRejected", "actor": "owner",
        "subject": "night", "data": {
            "command_type": "forgelog.pipelines.v1.RunPipeline", "subject_id": "night", "command_id": "1a22",
            "message": "spec.stages: is empty (and 1 more)", "errors": errors,
        },
    }  # fmt: skip
    (_, line) = lines_of([event], event_columns(NOW.date()), width=None)
    assert line.endswith("RunPipeline of night: spec.stages: is empty; give at least 1 item; name: is taken")
    found = lines_of([event], event_columns(NOW.date()), width=80)
    assert found[1].endswith("RunPipeline of night:")
    assert (max(map(len, found)) <= 80, len(found)) == (True, 3)


def test_in_a_pipe_it_is_one_line() -> None:
    (_, line) = lines(None, reason=REASON, counts={f"number-{n}": n for n in range(50)})
    assert line.endswith(f"… reason={REASON}")


def test_a_huge_text_is_cut() -> None:
    (_, line) = lines(None, reason="x" * 50_000)
    assert len(line) < 1_200
