"""The agent's gate: given what it has read and whether it is stopping, then a task is started or not."""

from __future__ import annotations

from typing import Any, cast

import pytest

from events.language.hardware import NodeSpec
from events.log.tail import ReaderPosition
from events.runtime.settings import Settings
from services.resources.agent.agent import Agent
from services.resources.agent.attempts import Attempt, Task


@pytest.fixture
def agent(monkeypatch: pytest.MonkeyPatch) -> Agent:
    nothing = cast(Any, None)
    made = Agent(Settings(), nothing, nothing, cast(NodeSpec, None), ("resources", 0), nothing)
    launched: list[str] = []
    monkeypatch.setattr(made._running, "_launch", lambda attempt: launched.append(attempt.key))
    made._running.attempts["a"] = Attempt(Task("alloc", "job", 0, 1, "local/default", "boot", 1.0, 0))
    cast(Any, made).launched = launched
    return made


def launched(agent: Agent) -> list[str]:
    return cast(Any, agent).launched  # type: ignore[no-any-return]


def test_nothing_starts_before_the_log_was_read_up_to_the_registration(agent: Agent) -> None:
    agent._gate = 10
    agent._read = ReaderPosition(10)
    agent._take(())
    assert launched(agent) == []
    agent._read = ReaderPosition(11)
    agent._take(())
    assert len(launched(agent)) == 1


def test_an_agent_that_drains_starts_nothing_though_its_registration_is_answered(agent: Agent) -> None:
    agent._gate = 10
    agent._read = ReaderPosition(11)
    agent.stop()
    agent._take(())
    assert launched(agent) == []
