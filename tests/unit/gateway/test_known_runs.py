"""Which runs take points, by the events that the gateway reads and the answers of the service."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from events.language.experiments.points import MAX_SERIES, SeriesName
from events.log.wire import Raw
from services.gateway import known_runs
from services.gateway.errors import DoorError
from services.gateway.known_runs import Ask, Asked, KnownRuns

LOSS, ACCURACY = SeriesName("loss", "", ""), SeriesName("accuracy", "", "")


def event(name: str, run: str = "r1", topic: str = "events.experiments") -> Raw:
    headers = [("ce_type", f"forgelog.experiments.v1.{name}".encode()), ("ce_subject", run.encode())]
    return Raw(topic, 0, 0, 0, run.encode(), b"{}", headers)


class Service:
    """Answers for runs, and counts the questions."""

    def __init__(self, answer: Asked | None = None) -> None:
        self.answer = answer
        self.asked = 0
        self.before = asyncio.Event()
        self.before.set()

    async def ask(self) -> Asked | None:
        self.asked += 1
        await self.before.wait()
        return self.answer


def never() -> Coroutine[Any, Any, Asked | None]:
    raise AssertionError("it is known")


def there(*series: SeriesName, deleted: bool = False) -> Asked:
    return Asked(deleted, frozenset(series))


async def refused(runs: KnownRuns, run: str = "r1", ask: Ask = never) -> str:
    with pytest.raises(DoorError) as caught:
        await runs.admit(run, [LOSS], ask)
    (error,) = caught.value.errors
    return f"{caught.value.code.name} {error.field}: {error.problem}"


async def test_a_run_whose_creation_was_read_is_not_asked_for() -> None:
    runs = KnownRuns()
    runs.saw(event("RunCreated"))
    await runs.admit("r1", [LOSS], never)


async def test_a_run_is_asked_for_once_and_told_of_by_its_events_from_then_on() -> None:
    runs, service = KnownRuns(), Service(there(LOSS))
    await asyncio.gather(*(runs.admit("r1", [LOSS], service.ask) for _ in range(3)))
    assert service.asked == 1
    runs.saw(event("RunDeleted"))
    assert await refused(runs) == "FAILED_PRECONDITION run_id: run r1 is deleted"
    runs.saw(event("RunRestored"))
    await runs.admit("r1", [ACCURACY], never)


async def test_there_is_no_such_run_until_it_is_created() -> None:
    runs, service = KnownRuns(), Service(None)
    for _ in range(2):
        assert await refused(runs, ask=service.ask) == "NOT_FOUND run_id: there is no run 'r1'"
    assert service.asked == 2
    runs.saw(event("RunCreated"))
    await runs.admit("r1", [LOSS], never)


async def test_an_event_counts_before_an_answer_that_may_be_older() -> None:
    runs, service = KnownRuns(), Service(there())
    service.before.clear()
    asking = asyncio.create_task(refused(runs, ask=service.ask))
    await asyncio.sleep(0)
    runs.saw(event("RunDeleted"))
    service.before.set()
    assert await asking == "FAILED_PRECONDITION run_id: run r1 is deleted"
    runs, service = KnownRuns(), Service(None)
    service.before.clear()
    admitting = asyncio.create_task(runs.admit("r1", [LOSS], service.ask))
    await asyncio.sleep(0)
    runs.saw(event("RunCreated"))
    service.before.set()
    await admitting


async def test_a_question_that_fails_is_asked_again() -> None:
    async def fail() -> Asked | None:
        raise ConnectionError("it is away")

    runs = KnownRuns()
    with pytest.raises(ConnectionError):
        await runs.admit("r1", [LOSS], fail)
    await runs.admit("r1", [LOSS], Service(there()).ask)


async def test_a_run_has_so_many_series_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_runs, "MAX_SERIES", 2)
    assert MAX_SERIES == 10_000
    runs = KnownRuns()
    await runs.admit("r1", [LOSS], Service(there(ACCURACY)).ask)
    await runs.admit("r1", [LOSS, ACCURACY], never)
    with pytest.raises(DoorError) as caught:
        await runs.admit("r1", [SeriesName("loss", "m-1", "")], never)
    assert caught.value.errors[0].field == "series"
    assert "would have 3 series; at most 2 are taken" in caught.value.message


async def test_what_was_known_longest_ago_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_runs, "MOST_RUNS", 2)
    runs = KnownRuns()
    for run in ("r1", "r2", "r3"):
        runs.saw(event("RunCreated", run))
    await runs.admit("r3", [LOSS], never)
    service = Service(there())
    await runs.admit("r1", [LOSS], service.ask)
    assert service.asked == 1


async def test_other_events_tell_nothing_and_all_is_forgotten_where_some_may_be_missed() -> None:
    runs, service = KnownRuns(), Service(there())
    runs.saw(event("RunCreated", topic="events.jobs"))
    runs.saw(event("RunEnded"))
    await runs.admit("r1", [LOSS], service.ask)
    assert service.asked == 1
    runs.forget()
    await runs.admit("r1", [LOSS], service.ask)
    assert service.asked == 2


async def test_a_purged_run_takes_no_points_and_is_not_said_to_be_restorable() -> None:
    runs = KnownRuns()
    runs.saw(event("RunCreated"))
    runs.saw(event("RunDeleted"))
    runs.saw(event("RunPurged"))
    assert await refused(runs) == "FAILED_PRECONDITION run_id: run r1 is purged"
    asked = Service(Asked(True, frozenset(), purged=True))
    assert await refused(KnownRuns(), ask=asked.ask) == "FAILED_PRECONDITION run_id: run r1 is purged"
