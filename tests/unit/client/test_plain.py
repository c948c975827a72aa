"""Protobuf answers as plain Python: one rule for all messages."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest

from forgelog.client.plain import Answer, name_of, plain, timestamp, word_of
from forgelog.errors import InvalidInput
from forgelog_pb.jobs.v1 import types_pb2 as jobs_pb
from forgelog_pb.log.v1 import queries_pb2 as log_pb

NOW = datetime(2026, 5, 9, 12, 0, 0, 250_000, tzinfo=UTC)


def test_an_answer_is_a_dict_with_attributes() -> None:
    event = log_pb.LoggedEvent(context="jobs", position="events.jobs/3@7", time=NOW)
    record = plain(event)
    assert record.position == record["position"] == "events.jobs/3@7"
    assert record.time == NOW
    assert record.subject == ""


def test_an_unknown_attribute_names_those_there_are() -> None:
    with pytest.raises(AttributeError, match="there is no 'sttus' here; there are status"):
        _ = Answer(status="running").sttus


def test_an_unset_message_is_none() -> None:
    assert plain(log_pb.LoggedEvent()).time is None


def test_maps_and_lists() -> None:
    status = log_pb.GetStatusResponse(
        partitions=[log_pb.PartitionStatus(partition=1, state="ready")], projected={"b": 2, "a": 1}
    )
    record = plain(status)
    assert record.partitions[0].state == "ready"
    assert record.projected == {"a": 1, "b": 2}


def test_enums_are_the_words_users_type() -> None:
    enum = jobs_pb.JobStatus.DESCRIPTOR
    assert word_of(enum, 0) == ""
    for number, value in enum.values_by_number.items():
        if number:
            assert name_of(enum, word_of(enum, number)) == value.name
    assert word_of(enum, 999) == "999", "a value from the future is not hidden"
    with pytest.raises(ValueError, match="'runing' is none of pending, queued"):
        name_of(enum, "runing")


def test_times_survive() -> None:
    assert plain(log_pb.LoggedEvent(time=timestamp(NOW, "at"))).time == NOW


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("10m ago", "since: '10m ago' is no datetime; give one that has a time zone"),
        (date(2026, 5, 9), "since: '2026-05-09' is no datetime"),
        (1_779_000_000, "since: '1779000000' is no datetime"),
        (datetime(2026, 5, 9, 3, 12), "since: 2026-05-09T03:12:00 has no time zone"),
        (
            datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-12))),
            "since: 9999-12-31T23:00:00.* out of range",
        ),
    ],
)
def test_what_is_no_moment_is_refused_by_name(given: Any, problem: str) -> None:
    with pytest.raises(InvalidInput, match=problem):
        timestamp(given, "since")
