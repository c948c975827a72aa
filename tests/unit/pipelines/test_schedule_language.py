"""What can be said of a schedule and of its promises, and what is refused with what to do."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from events.language.pipelines.schedule import CatchUp, Interval, Schedule
from events.language.pipelines.sla import Sla
from events.language.pipelines.triggers import DatasetRule, DatasetTrigger, Trigger

MAY = datetime(2026, 5, 1, tzinfo=UTC)
JUNE = datetime(2026, 6, 1, tzinfo=UTC)


def test_a_schedule_by_expression_is_in_a_zone_and_catches_up_with_the_latest_tick() -> None:
    schedule = Schedule(cron="30 1 * * *", timezone="Europe/Zurich")
    assert (schedule.every_seconds, schedule.catch_up) == (None, CatchUp.LATEST)


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ({}, "give either cron"),
        ({"cron": "* * * * *", "every_seconds": 60}, "give either cron"),
        ({"every_seconds": 60, "timezone": "Europe/Zurich"}, "timezone is for cron only"),
        ({"cron": "* * * * *", "start_at": JUNE, "end_at": MAY}, "end_at is not after start_at"),
        ({"cron": "* * * *"}, "cron"),
        ({"cron": "0 * * * * *"}, "cron"),
        ({"every_seconds": 0}, "every_seconds"),
        ({"every_seconds": 0.5}, "every_seconds"),
        ({"cron": "* * * * *", "timezone": "../etc/passwd"}, "timezone"),
    ],
)
def test_a_schedule_that_says_nothing_or_two_things_is_refused(said: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        Schedule.model_validate(said)


def test_an_interval_is_never_empty() -> None:
    assert Interval(start=MAY, end=JUNE).end == JUNE
    with pytest.raises(ValidationError, match="is not after start"):
        Interval(start=MAY, end=MAY)


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ({}, "give at least one of"),
        ({"start_within_seconds": 60, "finish_within_seconds": 30}, "start_within_seconds 60 is above"),
        ({"finish_within_seconds": 0}, "finish_within_seconds"),
        ({"finish_by": "6:00"}, "finish_by"),
        ({"finish_by": "24:00"}, "finish_by"),
    ],
)
def test_a_promise_that_can_not_be_kept_is_refused(said: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        Sla.model_validate(said)


def test_a_promise_may_be_a_time_of_day_alone() -> None:
    assert Sla(finish_by="06:00").finish_within_seconds is None


FILES = {"type": "s3", "path": "s3://bucket/in/*.csv"}


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ({"name": "t"}, "trigger 't' needs exactly one of"),
        ({"name": "t", "files": FILES, "dataset": {"datasets": ["orders.abc234"]}}, "needs exactly one of"),
        ({"name": "t", "dataset": {"datasets": []}}, "datasets"),
        ({"name": "t", "dataset": {"datasets": ["a", "a"]}}, "names a dataset twice"),
        ({"name": "t", "files": {**FILES, "type": "database"}}, "where no files arrive; give one of azure_blob"),
        ({"name": "t", "files": {**FILES, "path": "s3://b/${day}/*"}}, "no run is there yet"),
        ({"name": "t", "files": {**FILES, "path": ""}}, "path"),
        ({"name": "t", "topic": {"topic": "two words"}}, "topic"),
        ({"name": "t", "topic": {"topic": "orders", "max_records": 0}}, "max_records"),
    ],
)
def test_a_trigger_is_one_thing_that_can_be_watched(said: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        Trigger.model_validate(said)


def test_a_trigger_by_versions_starts_for_any_dataset_unless_told() -> None:
    assert Trigger.model_validate({"name": "t", "dataset": {"datasets": ["a", "b"]}}).dataset == DatasetTrigger(
        datasets=("a", "b"), rule=DatasetRule.ANY
    )
