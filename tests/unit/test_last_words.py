"""What is shown of the log of a process that ends at each of its starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from forgelog.embedded import doctor
from forgelog.embedded.process import log_tail

REFUSED = "router: FORGELOG_ROUTER_KEY: /tls.key has a password"


def test_a_line_of_each_start_counts_once(tmp_path: Path) -> None:
    log = tmp_path / "router.log"
    log.write_text("it listened\nit ended\n" + f"{REFUSED}\n" * 8)
    assert log_tail(log, 2) == f"The end of {log}:\n  it ended\n  {REFUSED}"


async def test_a_doctor_repeats_the_last_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    child = {"name": "router", "kind": "router", "state": "restarting", "log": "/router.log"}
    problems = [f"The end of /router.log:\n  it ended\n  {REFUSED}", ""]

    class Restarting:
        def __init__(self, data: Path) -> None:
            pass

        def report(self) -> dict[str, Any]:
            return {"state": "degraded", "children": [{**child, "problem": problem} for problem in problems]}

        async def contexts(self, report: dict[str, Any]) -> list[Any]:
            return []

    monkeypatch.setattr(doctor, "Platform", Restarting)
    found = [check.found for check in await doctor._work(tmp_path)]
    assert found == [f"restarting: {REFUSED}", "restarting: no reason is known"]
