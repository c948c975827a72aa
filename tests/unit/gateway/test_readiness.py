"""What is not ready is in the gateway's log: those who probe it are told only that something is not."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from events.log.topics import CONTEXTS
from events.process.settings import Settings
from services.gateway.readiness import Readiness


class Services:
    """Instead of the forwarder: what each context's service answers."""

    def __init__(self) -> None:
        self.addresses = dict.fromkeys(CONTEXTS, "127.0.0.1:1")
        self.wrong: dict[str, str] = {}

    async def serving(self, context: str, timeout: float) -> str:
        return self.wrong.get(context, "")


async def test_each_change_is_logged_once(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    async def answers(_: Readiness) -> str:
        return ""

    monkeypatch.setattr(Readiness, "_kafka", answers)
    services: Any = Services()
    ready = Readiness(Settings(), services)
    ready.starting = ""
    services.wrong = {"jobs": "is starting"}
    with caplog.at_level(logging.INFO, "forgelog.gateway"):
        assert await ready.missing() == {"jobs": "is starting"}
        assert await ready.missing() == {"jobs": "is starting"}
        services.wrong = {}
        assert await ready.missing() == {}
        assert await ready.missing() == {}
        services.wrong = {"jobs": "stands still"}
        assert await ready.missing() == {"jobs": "stands still"}
    own = [each for each in caplog.records if each.name.startswith("forgelog.")]
    assert [(each.levelname, each.getMessage()) for each in own] == [
        ("WARNING", "not ready: jobs is starting"),
        ("INFO", "ready"),
        ("WARNING", "not ready: jobs stands still"),
    ]
