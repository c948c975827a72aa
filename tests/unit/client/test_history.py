"""Events of several contexts in one list, and a replay's steps as people see them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from forgelog.cli.log import show_step
from forgelog.client.log import in_order

NOON = datetime(2026, 5, 9, 12, tzinfo=UTC)


def test_events_of_one_batch_stay_in_the_order_of_the_log() -> None:
    """They have one time, and offset 10 comes after offset 9."""
    events = [{"time": NOON, "position": f"events.jobs/3@{offset}"} for offset in (100, 9, 10)]
    assert [event["position"] for event in in_order(events)] == [f"events.jobs/3@{offset}" for offset in (9, 10, 100)]


def test_events_of_several_contexts_are_told_by_time() -> None:
    early, late = datetime(2026, 5, 9, 11, tzinfo=UTC), NOON
    events = [{"time": late, "position": "events.jobs/0@1"}, {"time": early, "position": "events.scheduling/0@7"}]
    assert [event["time"] for event in in_order(events)] == [early, late]


def change(row: str, column: str, before: Any, after: Any) -> dict[str, Any]:
    return {"table": "entries", "key": "j1", "row": row, "column": column, "before": before, "after": after}


def test_a_step_shows_what_changed_for_the_eye(capsys: pytest.CaptureFixture[str]) -> None:
    changes = [
        change("added", "status", None, "queued"),
        change("added", "labels", None, {}),
        change("changed", "status", "queued", "running"),
        change("changed", "updated_at", NOON, NOON.replace(microsecond=9)),
        change("changed", "reason", "too small", ""),
        change("removed", "status", "running", None),
        change("removed", "labels", {}, None),
    ]
    show_step({"time": NOON, "position": "events.jobs/0@1", "type": "JobStarted", "changes": changes}, NOON)
    assert [line.strip() for line in capsys.readouterr().out.splitlines()[1:]] == [
        "entries[j1].status: queued",
        "entries[j1].status: queued → running",
        "entries[j1].reason: too small → (empty)",
        "entries[j1]: removed",
    ]
