"""What is said of records at which places stand still."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from forgelog.embedded import doctor

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


@pytest.fixture
def contexts() -> list[dict[str, Any]]:
    behind = f"3 events are not in the tables; nothing has moved for 40 s: {TEXT}"
    jobs = context("jobs", "jobs/2", "tables of jobs reading events.jobs/2", **{"tables events.jobs/2": behind})
    others = [context(f"other-{number}", f"other-{number}/0 reading events.jobs/2") for number in range(18)]
    return [jobs, *others, context("late", database="it can't be reached"), context("fine")]


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
