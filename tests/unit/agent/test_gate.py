"""The agent's gate: given what it has read and whether it is stopping, then a task is started or not."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from events.language.jobs import ExitReason
from events.language.resources import HeldTasks
from events.language.resources.hardware import NodeSpec
from events.log.positions import ReaderPosition
from events.process.settings import Settings
from services.resources.agent.agent import Agent
from services.resources.agent.attempts import Attempt, Exit, Task
from services.resources.agent.config import Config
from services.resources.agent.environment import Around
from services.resources.agent.store import Store


@pytest.fixture
def agent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Agent:
    config = Config("n1", tmp_path, tmp_path / "secrets")
    around = Around("n1", tmp_path, config.secrets, "", {})
    made = Agent(Settings(), config, Store(tmp_path), cast(NodeSpec, None), ("resources", 0), around)
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


# What the pool believes and what is there


@pytest.fixture
def registered(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> Agent:
    """An agent whose attempt `alloc` runs; what is reported as not found is in `lost`."""
    attempt = agent._running.attempts.pop("a")
    attempt.warden = 4711
    agent._running.attempts[attempt.key] = attempt
    lost: list[str] = []
    monkeypatch.setattr(agent._running, "lost_track", lambda attempt: lost.append(attempt.key))
    cast(Any, agent).lost = lost
    return agent


def held(allocation: str, tasks: str = "0", attempt: int = 1) -> HeldTasks:
    return HeldTasks(allocation_id=allocation, job_id="job", project="local/default", tasks=tasks, attempt=attempt)


def test_what_both_know_of_goes_on(registered: Agent) -> None:
    assert registered._reconcile([held("alloc")]) == []
    assert cast(Any, registered).lost == []


def test_what_only_the_pool_knows_of_is_reported(registered: Agent) -> None:
    assert registered._reconcile([held("alloc"), held("other", "2-3", 4)]) == []
    assert sorted(cast(Any, registered).lost) == ["other-2-4", "other-3-4"]


def test_what_only_the_agent_knows_of_is_not_to_run(registered: Agent) -> None:
    (surplus,) = registered._reconcile([])
    assert (surplus.key, surplus.gone) == ("alloc-0-1", True)


def test_what_has_ended_and_is_being_told_is_left_alone(registered: Agent) -> None:
    registered._running.attempts["alloc-0-1"].exit = Exit(ExitReason.EXITED, 1.0, exit_code=0)
    assert registered._reconcile([]) == []
