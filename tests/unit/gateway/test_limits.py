"""What the gateway takes on, and with which hint it sends away the rest."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from events.log.envelope import Position
from events.log.wire import CAUSE, Cause, Raw
from services.gateway import limits
from services.gateway.errors import DoorError, trailing_metadata
from services.gateway.limits import Limit, Undecided

JOBS = "commands.jobs"


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(limits.time, "monotonic", lambda: self.now)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def event(cause: Position, partition: int = 0) -> Raw:
    headers = {CAUSE: str(Cause(cause, "", 0, 1)).encode()}
    return Raw("events.jobs", partition, 7, 0, b"k", b"{}", list(headers.items()))


def refused(work: Any) -> DoorError:
    with pytest.raises(DoorError) as caught:
        work()
    assert caught.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    return caught.value


def take(limit: Limit, count: int = 1) -> None:
    with limit.take(count):
        pass


def test_what_is_in_hand_is_bounded_and_given_back() -> None:
    limit = Limit("requests", 3)
    with limit.take(2):
        take(limit)
        refused(lambda: take(limit, 2))
        assert limit.count == 2
    with limit.take(3):
        refused(lambda: take(limit))
    assert limit.count == 0


def test_the_hint_is_how_long_what_is_in_hand_will_take(clock: Clock) -> None:
    limit = Limit("requests", 100)
    for _ in range(5):
        take(limit, 50)
        clock.now += 1.0
    with limit.take(100):
        assert 1.0 <= refused(lambda: take(limit)).retry_after <= 3.0
        clock.now += 1000  # a rest, which says nothing of the pace
    take(limit)
    with limit.take(100):
        assert 1.0 <= refused(lambda: take(limit)).retry_after <= 3.0


def test_commands_wait_from_published_to_decided_whoever_published_between() -> None:
    backlog = Undecided(100)
    backlog.published(Position(JOBS, 0, 10))
    assert backlog.of(JOBS) == 1
    backlog.published(Position(JOBS, 0, 500))  # 489 others came between
    backlog.published(Position(JOBS, 1, 0))
    assert backlog.of(JOBS) == 492
    backlog.saw(event(Position("events.jobs", 0, 600)))  # follows from an event
    backlog.saw(event(Position(JOBS, 0, 10)))
    assert backlog.of(JOBS) == 491
    backlog.saw(event(Position(JOBS, 0, 5)))  # never back
    backlog.saw(event(Position(JOBS, 1, 0), 1))
    assert backlog.of(JOBS) == 490
    backlog.saw(event(Position(JOBS, 0, 900)))
    assert backlog.of(JOBS) == 0
    backlog.published(Position(JOBS, 0, 800))  # told late
    assert backlog.of(JOBS) == 0


def test_many_that_wait_for_long_are_an_overload_and_others_go_on(clock: Clock) -> None:
    backlog = Undecided(100)
    for offset in range(200):
        backlog.published(Position(JOBS, 0, offset))
    backlog.check([JOBS])  # a burst
    clock.now += limits.PATIENCE
    error = refused(lambda: backlog.check([JOBS]))
    assert "200 commands in commands.jobs are not decided yet, the oldest for 1.0 s" in error.message
    backlog.check(["commands.scheduling"])
    backlog.saw(event(Position(JOBS, 0, 120)))
    backlog.check([JOBS])


def test_few_may_wait_for_ever(clock: Clock) -> None:
    backlog = Undecided(100)
    backlog.published(Position(JOBS, 0, 0))
    clock.now += 3600
    backlog.check([JOBS])


def test_what_is_remembered_of_the_waiting_is_bounded(clock: Clock) -> None:
    backlog = Undecided(1_000_000)
    for offset in range(10_000):
        backlog.published(Position(JOBS, 0, offset))
        clock.now += 0.001
    assert len(backlog._places[JOBS][0].waiting) <= 101


def test_a_refusal_tells_its_hint_to_every_kind_of_client() -> None:
    from google.rpc.error_details_pb2 import RetryInfo  # type: ignore[import-untyped]
    from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]

    told = dict(trailing_metadata(limits.exhausted("too much", 2.5)))
    assert told["grpc-retry-pushback-ms"] == "2500"
    info = RetryInfo()
    assert Status.FromString(told["grpc-status-details-bin"]).details[0].Unpack(info)
    assert info.retry_delay.ToMilliseconds() == 2500
