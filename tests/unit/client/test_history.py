"""Events of several contexts in one list, and a replay's steps as people see them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from events.language.contexts import contexts
from forgelog.cli.log import AggregateOption, aggregates_in, show_step, watch
from forgelog.cli.tables import clock
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


def event(time: datetime, position: str, **more: Any) -> dict[str, Any]:
    return {"time": time, "position": position, "id": f"id-of-{position}", "cause": "", "causation_id": "", **more}


def positions(events: list[dict[str, Any]]) -> list[str]:
    return [item["position"] for item in in_order(events)]


def test_a_cause_comes_before_its_effect_though_their_clocks_differ() -> None:
    """A writer whose clock is behind answers before it was asked."""
    asked = event(NOON, "events.scheduling/0@7")
    answer = event(NOON - timedelta(seconds=2), "events.resources/0@3", cause="events.scheduling/0@7")
    later = event(NOON - timedelta(seconds=1), "events.jobs/0@9", causation_id="id-of-events.resources/0@3")
    assert positions([later, answer, asked]) == [
        "events.scheduling/0@7",
        "events.resources/0@3",
        "events.jobs/0@9",
    ]


def test_events_of_one_time_are_told_by_what_led_to_what() -> None:
    events = [
        event(NOON, "events.jobs/0@4", cause="events.scheduling/0@7"),
        event(NOON, "events.scheduling/0@7", cause="events.jobs/0@3"),
        event(NOON, "events.jobs/0@3", cause="commands.jobs/0@1"),
    ]
    assert positions(events) == ["events.jobs/0@3", "events.scheduling/0@7", "events.jobs/0@4"]


def test_no_event_is_lost_in_a_long_history() -> None:
    events = [event(NOON, f"events.jobs/{offset % 4}@{offset}") for offset in range(1000)]
    assert sorted(positions(events)) == sorted(item["position"] for item in events)


TODAY = datetime.now().astimezone().replace(hour=3, minute=12, second=5, microsecond=7000)


def test_a_time_of_another_day_has_its_date() -> None:
    assert clock(TODAY, TODAY.date()) == "03:12:05.007"
    assert clock(TODAY, TODAY.date() + timedelta(days=1)) == f"{TODAY:%Y-%m-%d} 03:12:05.007"


def test_watching_for_what_no_context_has_says_so_and_ends(capsys: pytest.CaptureFixture[str]) -> None:
    """As `history` does; no platform is asked."""
    watch(type=["JobStarted"], aggregate="node")
    assert capsys.readouterr().err == "no event fits\n"


def test_kinds_of_aggregates_are_completed_from_the_language() -> None:
    complete = AggregateOption.__metadata__[0].autocompletion
    assert complete("") == aggregates_in(tuple(contexts()))
    assert complete("no") == ["node"]
