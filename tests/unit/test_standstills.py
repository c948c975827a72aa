"""What `status` and `doctor` say of records at which places stand still: once for each record, and what to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import pytest

from events.process.identity import Identity
from forgelog.cli import repair
from forgelog.cli.platform import _say_what_fails, fares
from forgelog.cli.render import Format
from forgelog.embedded import doctor
from forgelog.embedded.layout import ChildState, PlatformState
from forgelog.embedded.platform import Platform
from forgelog.embedded.router import ROUTER
from forgelog.embedded.standing import Standstill, standstills

AT = "events.jobs/2@77"
RECORD = "forgelog.jobs.v1.JobExited 0199-a"
CAUSE = "forgelog.jobs.v1.JobExited does not decode: job_id: is missing; tasks: is missing"
TEXT = f"at {AT} ({RECORD}): {CAUSE}; `forgelog repair` says what to do"


def context(name: str, *places: str, **waits: str) -> dict[str, Any]:
    told = {**dict.fromkeys(places, TEXT), **waits}
    stopped = {AT: CAUSE} if places else {}
    return {
        "context": name,
        "ready": not told,
        "waits": told,
        "stopped": stopped,
        "notices": {},
        "lags": [],
        "late": [],
    }


class Running:
    """A platform that runs, with a router that can't start."""

    def __init__(self, contexts: list[dict[str, Any]]) -> None:
        refused = "The end of /router.log:\n  router: FORGELOG_ROUTER_KEY: /tls.key has a password"
        child = ChildState("router", ROUTER, "restarting", restarts=1, last_exit="exit 78", problem=refused)
        self._state = PlatformState(Identity(1, ""), children=[child])
        self._contexts = contexts

    def state(self) -> PlatformState:
        return self._state

    def report(self) -> dict[str, Any]:
        return {"state": "up", "children": []}

    async def contexts(self, report: dict[str, Any]) -> list[dict[str, Any]]:
        return self._contexts


@pytest.fixture
def contexts() -> list[dict[str, Any]]:
    behind = f"3 events are not in the tables; nothing has moved for 40 s: {TEXT}"
    jobs = context("jobs", "jobs/2", "tables of jobs reading events.jobs/2", **{"tables events.jobs/2": behind})
    others = [context(f"other-{number}", f"other-{number}/0 reading events.jobs/2") for number in range(18)]
    return [jobs, *others, context("late", database="it can't be reached"), context("fine")]


def test_a_record_is_told_of_once_with_all_places(contexts: list[dict[str, Any]]) -> None:
    (found,) = standstills(contexts)
    assert isinstance(found, Standstill)
    assert (found.position, found.record, found.cause, len(found.places)) == (AT, RECORD, CAUSE, 20)
    assert found.places[:2] == ["jobs: jobs/2", "jobs: tables of jobs reading events.jobs/2"]


def test_status_says_a_cause_once_in_80_columns(contexts: list[dict[str, Any]]) -> None:
    told = "\n".join(fares(contexts))
    lines = told.splitlines()
    assert lines[0] == f"{AT} stops 20 places:"
    assert max(map(len, lines)) <= 80
    assert " ".join(told.split()).count(CAUSE) == 1
    assert f"  to decide: forgelog repair {AT}, then with --skip or --retry" in lines
    assert lines[-1] == "late is not ready: database: it can't be reached"


def test_a_reader_that_waits_for_another_place_at_the_record_is_named() -> None:
    behind = context("jobs", **{"tables events.jobs/2": f"nothing has moved for 40 s: {TEXT}"})
    (found,) = standstills([{**behind, "stopped": {AT: CAUSE}}])
    assert (found.record, found.places) == (RECORD, ["jobs: tables events.jobs/2"])


async def test_doctor_names_the_command_and_the_position(
    contexts: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Looked:
        def __init__(self, data: Path) -> None:
            pass

        def report(self) -> dict[str, Any]:
            return {"state": "unready", "children": []}

        async def contexts(self, report: dict[str, Any]) -> list[Any]:
            foreign = context("old", tables="at old/0@0 (no event): lost; `forgelog repair` says what to do")
            return [{**each, "native": "compiled", "launchers": {}} for each in (contexts[0], contexts[-2], foreign)]

    monkeypatch.setattr(doctor, "Platform", Looked)
    checks = [check for check in await doctor._work(tmp_path) if check.result == "failed"]
    command = f"forgelog repair {AT}, then with --skip or --retry"
    assert [check.fix for check in checks] == [command, command, command, doctor._FIX, "forgelog repair"]


def test_repair_lists_places_in_80_columns(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    places = [f"tables of other-{number} reading events.jobs/2" for number in range(20)]
    row = {"position": AT, "record": RECORD, "cause": CAUSE, "since": "", "skippable": True, "places": places}
    monkeypatch.setattr(repair, "with_client", lambda _work: [row])
    repair._list_stopped(Format.TABLE)
    lines = capsys.readouterr().out.splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("places: "))
    listed = [line for line in lines[first + 1 :] if line.startswith("  ")]
    assert lines[first].endswith(" 20")
    assert max(map(len, listed)) <= 80
    assert "; ".join(line.strip().removesuffix(";") for line in listed) == "; ".join(places)
    repair._list_stopped(Format.JSON)
    assert json.loads(capsys.readouterr().out)[0]["places"] == places


async def test_an_up_that_does_not_wait_says_what_it_finds(
    contexts: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    await _say_what_fails(cast("Platform", Running(contexts)))
    said = capsys.readouterr().err
    assert "its router can't start:\n  router: FORGELOG_ROUTER_KEY: /tls.key has a password" in said
    assert f"{AT} stops 20 places:" in said
    assert "it can't be reached" not in said  # it may be starting
