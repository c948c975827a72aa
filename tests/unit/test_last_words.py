"""What `up`, `status` and `doctor` say of a process that ends at each start, and of a router that can't start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from events.process.settings import Settings
from forgelog.embedded import doctor, router
from forgelog.embedded.process import log_tail
from services.deployments.wanting_routers import tell

REFUSED = "router: FORGELOG_ROUTER_KEY: /tls.key has a password"


def test_a_line_of_each_start_counts_once(tmp_path: Path) -> None:
    log = tmp_path / "router.log"
    log.write_text("it listened\nit ended\n" + f"{REFUSED}\n" * 8)
    assert log_tail(log, 2) == f"The end of {log}:\n  it ended\n  {REFUSED}"


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Of a platform that is looked at."""
    found = list[dict[str, Any]]()

    class Looked:
        def __init__(self, data: Path) -> None:
            pass

        def report(self) -> dict[str, Any]:
            return {"state": "degraded", "children": found}

        async def contexts(self, report: dict[str, Any]) -> list[Any]:
            return []

    monkeypatch.setattr(doctor, "Platform", Looked)
    return found


async def test_a_doctor_repeats_the_last_line(children: list[dict[str, Any]], tmp_path: Path) -> None:
    child = {"name": "router", "kind": "router", "state": "restarting", "log": "/router.log"}
    problems = [f"The end of /router.log:\n  it ended\n  {REFUSED}", ""]
    children += [{**child, "problem": problem} for problem in problems]
    found = [check.found for check in await doctor._work(tmp_path)]
    assert found == [f"restarting: {REFUSED}", "restarting: no reason is known"]


@pytest.mark.usefixtures("children")
async def test_a_doctor_names_what_a_router_lacks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(router, "find_spec", lambda _name: None)
    monkeypatch.delenv("FORGELOG_ROUTER_LISTEN", raising=False)
    assert await doctor._work(tmp_path) == []
    tell(Settings.load(data=tmp_path), wanted=True)
    (check,) = await doctor._work(tmp_path)
    assert (check.name, check.result) == ("router", "note")
    assert "pip install 'forgelog[serving]'" in check.fix
