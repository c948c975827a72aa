"""`forgelog repair --retry`: given what services say of their stops, then how long it waits, and what it returns."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from events.log.envelope import Position
from forgelog.cli import repair

AT = Position("events.jobs", 2, 17)


def client_of(*answers: dict[str, int]) -> Any:
    """Of places that are stopped at the record, each with the time since when, at one look after the other."""
    looks = iter(answers)

    async def status(context: str) -> dict[str, Any]:
        if context != "jobs":
            return {}
        return {"stopped": [{"place": name, "position": str(AT), "since": at} for name, at in next(looks).items()]}

    return SimpleNamespace(log=SimpleNamespace(status=status))


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async def no_sleep(_seconds: float) -> None:
        return

    monkeypatch.setattr("asyncio.sleep", no_sleep)


async def test_places_that_stop_again_are_told_of_once_each_was_tried() -> None:
    before = {"jobs/2": 1, "tables": 1}
    client = client_of(before, {"jobs/2": 5, "tables": 1}, {"jobs/2": 5, "tables": 6})
    assert await repair._gone(client, AT, before, False) == (["jobs/2", "tables"], True)


async def test_places_that_go_on_are_not_told_of() -> None:
    before = {"jobs/2": 1, "tables": 1}
    assert await repair._gone(client_of(before, {"tables": 1}, {}), AT, before, False) == ([], False)


async def test_places_that_nobody_tries_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repair, "GOES_ON_SECONDS", -1.0)
    before = {"jobs/2": 1}
    assert await repair._gone(client_of(before), AT, before, False) == (["jobs/2"], False)
