"""A keeper: given a child that behaves so, then it is started, watched and started again like this."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from events.process.settings import SettingsError
from forgelog.embedded.keeper import Backoff, Keeper, Plan
from forgelog.embedded.process import (
    Child,
    EmbeddedError,
    Identity,
    Spec,
    find_running,
    until,
)
from tests import PATIENCE

SLEEPS = "import time; time.sleep(600)"


def python(tmp_path: Path, code: str, **environment: str) -> Spec:
    return Spec("child", [sys.executable, "-c", code], tmp_path / "child.log", environment, grace=2.0)


async def started(spec: Spec) -> Child:
    """A child whose command and environment can be seen: for a moment after its start the kernel shows neither."""
    child = Child.start(spec)
    assert await until(lambda: find_running(spec) == child.identity, PATIENCE)
    return child


class Hurried(Keeper):
    """Notes its pauses instead of waiting them out."""

    def __init__(self, make: Callable[[], Spec], backoff: Backoff) -> None:
        super().__init__(Plan("child", "service", make, lambda: None), lambda: None, backoff)
        self.pauses: list[float] = []
        self.exits: list[str] = []
        """How the child had ended before each."""

    async def _sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.exits.append(self.state.last_exit)


def keeper_of(make: Callable[[], Spec], backoff: Backoff | None = None, probe: bool | None = None) -> Keeper:
    async def ready() -> bool:
        return bool(probe)

    plan = Plan("child", "service", make, make, None if probe is None else ready)
    return Keeper(plan, lambda: None, backoff)


async def test_a_crashing_child_is_started_again_with_growing_pauses(tmp_path: Path) -> None:
    code = "import sys; print('no such table'); sys.exit(3)"
    keeper = Hurried(lambda: python(tmp_path, code, MARK=str(tmp_path)), Backoff(0.1, 0.4))
    keeper.start()
    assert await until(lambda: len(keeper.pauses) >= 5, PATIENCE)
    await keeper.stop()
    assert keeper.pauses[:5] == [0.1, 0.2, 0.4, 0.4, 0.4]
    assert keeper.exits[:5] == ["exit 3"] * 5
    assert "no such table" in (tmp_path / "child.log").read_text()
    assert keeper.state.state == "stopped"


async def test_pauses_start_over_after_a_healthy_while(tmp_path: Path) -> None:
    code = "import time; time.sleep(0.3)"
    keeper = Hurried(lambda: python(tmp_path, code, MARK=str(tmp_path)), Backoff(0.1, 10.0, healthy_after=0.2))
    keeper.start()
    assert await until(lambda: len(keeper.pauses) >= 4, PATIENCE)
    await keeper.stop()
    assert set(keeper.pauses) == {0.1}


async def test_a_killed_child_shows_its_signal(tmp_path: Path) -> None:
    keeper = keeper_of(lambda: python(tmp_path, SLEEPS, MARK=str(tmp_path)))
    keeper.start()
    assert await until(lambda: keeper.up, PATIENCE)
    first = keeper.state.pid
    os.kill(first, signal.SIGKILL)
    assert await until(lambda: keeper.up and keeper.state.pid not in (0, first), PATIENCE)
    assert keeper.state.last_exit == "SIGKILL"
    assert keeper.state.restarts == 1
    await keeper.stop()


async def test_a_child_without_an_answer_is_not_ready(tmp_path: Path) -> None:
    keeper = keeper_of(lambda: python(tmp_path, SLEEPS, MARK=str(tmp_path)), probe=False)
    keeper.start()
    assert await until(lambda: bool(keeper.state.pid), PATIENCE)
    assert keeper.state.state == "starting"
    await keeper.stop()


async def test_a_child_that_says_what_it_waits_for_is_shown_with_that(tmp_path: Path) -> None:
    shown: list[tuple[str, str]] = []

    async def asked() -> bool:
        raise EmbeddedError("node n1 is held by another agent")

    def make() -> Spec:
        return python(tmp_path, SLEEPS, MARK=str(tmp_path))

    def changed() -> None:
        shown.append((keeper.state.state, keeper.state.problem))

    keeper = Keeper(Plan("child", "agent", make, make, asked), changed)
    keeper.start()
    assert await until(lambda: ("starting", "node n1 is held by another agent") in shown, PATIENCE)
    await keeper.stop()


@pytest.mark.parametrize("error", [OSError(24, "Too many open files"), SettingsError("FORGELOG_X: is no file")])
async def test_a_probe_that_fails_is_shown_and_made_again(tmp_path: Path, error: Exception) -> None:
    waits = True

    async def ready() -> bool:
        if waits:
            raise error
        return True

    plan = Plan("child", "server", lambda: python(tmp_path, SLEEPS, MARK=str(tmp_path)), lambda: None, ready)
    keeper = Keeper(plan, lambda: None)
    keeper.start()
    assert await until(lambda: str(error) in keeper.state.problem, PATIENCE)
    waits = False
    assert await until(lambda: keeper.state.state == "ready" and not keeper.state.problem, PATIENCE)
    await keeper.stop()


async def test_a_child_whose_work_outlives_it_is_replaced_without_a_chance_to_end_that(tmp_path: Path) -> None:
    code = (
        "import signal, pathlib; signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM]);"
        f"folder = pathlib.Path({str(tmp_path)!r}); (folder / 'waits').touch();"
        "signal.sigwait([signal.SIGTERM]); (folder / 'told').touch()"
    )

    def make() -> Spec:
        return python(tmp_path, code, MARK=str(tmp_path))

    keeper = Keeper(Plan("child", "agent", make, make, outlived=True), lambda: None)
    keeper.start()
    assert await until((tmp_path / "waits").exists, PATIENCE)
    first = keeper.state.pid
    await keeper.restart()
    assert await until(lambda: keeper.up and keeper.state.pid not in (0, first), PATIENCE)
    assert not (tmp_path / "told").exists()
    await keeper.stop()


async def test_a_child_that_ignores_the_stop_signal_is_killed(tmp_path: Path) -> None:
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
    )
    keeper = keeper_of(lambda: python(tmp_path, code, MARK=str(tmp_path)))
    keeper.start()
    log = tmp_path / "child.log"
    assert await until(lambda: log.exists() and "deaf" in log.read_text(), PATIENCE)
    pid = keeper.state.pid
    await keeper.stop()
    assert not psutil.pid_exists(pid)


async def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    keeper = keeper_of(lambda: Spec("child", [str(tmp_path / "absent")], tmp_path / "child.log"))
    keeper.start()
    assert await until(lambda: keeper.state.restarts >= 1, PATIENCE)
    assert "absent: No such file or directory" in keeper.state.problem
    await keeper.stop()


async def test_a_predecessors_child_is_adopted(tmp_path: Path) -> None:
    spec = python(tmp_path, SLEEPS, MARK=str(tmp_path))
    left = await started(spec)
    keeper = keeper_of(lambda: spec)
    keeper.start(left.identity)
    assert await until(lambda: keeper.up, PATIENCE)
    assert keeper.state.pid == left.pid
    await keeper.stop()
    assert not left.running


async def test_a_predecessors_child_with_another_spec_is_replaced(tmp_path: Path) -> None:
    left = await started(python(tmp_path, SLEEPS, MARK="old"))
    keeper = keeper_of(lambda: python(tmp_path, SLEEPS, MARK="new"))
    keeper.start(left.identity)
    assert await until(lambda: keeper.up, PATIENCE)
    assert keeper.state.pid != left.pid
    assert not left.running
    await keeper.stop()


async def test_a_reused_pid_is_not_taken_for_the_child(tmp_path: Path) -> None:
    stranger = await started(python(tmp_path, SLEEPS, MARK="stranger"))
    try:
        noted = Identity(stranger.pid, stranger.identity.started + "0")
        assert not noted.alive
        keeper = keeper_of(lambda: python(tmp_path, SLEEPS, MARK="ours"))
        keeper.start(noted)
        assert await until(lambda: keeper.up, PATIENCE)
        assert stranger.running
        await keeper.stop()
    finally:
        await stranger.kill()


async def test_restart_on_request_is_no_crash(tmp_path: Path) -> None:
    keeper = keeper_of(lambda: python(tmp_path, SLEEPS, MARK=str(tmp_path)))
    keeper.start()
    assert await until(lambda: keeper.up, PATIENCE)
    first = keeper.state.pid
    await keeper.restart()
    assert await until(lambda: keeper.up and keeper.state.pid not in (0, first), PATIENCE)
    assert keeper.state.restarts == 0
    await keeper.stop()


async def test_processes_are_found_by_command_and_environment(tmp_path: Path) -> None:
    spec = python(tmp_path, SLEEPS, MARK=str(tmp_path))
    assert find_running(spec) is None
    child = await started(spec)
    try:
        assert find_running(python(tmp_path, SLEEPS, MARK="other")) is None
    finally:
        child.send(signal.SIGKILL)


async def test_an_immortal_process_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    child = Child.start(python(tmp_path, SLEEPS, MARK=str(tmp_path)))
    try:
        with monkeypatch.context() as patched:
            patched.setattr(Child, "send", lambda _self, _number: None)

            async def no_time(_self: Child, _seconds: float) -> bool:
                return False

            patched.setattr(Child, "wait", no_time)
            with pytest.raises(EmbeddedError, match="does not end even after SIGKILL"):
                await child.stop()
    finally:
        await child.kill()


async def test_a_held_child_is_killed_and_comes_back_when_it_is_released(tmp_path: Path) -> None:
    keeper = keeper_of(lambda: python(tmp_path, SLEEPS, MARK=str(tmp_path)))
    keeper.start()
    assert await until(lambda: keeper.up, PATIENCE)
    pid = keeper.state.pid
    await keeper.hold("no room")
    assert await until(lambda: keeper.state.state == "held", PATIENCE)
    assert keeper.state.problem == "no room"
    assert not psutil.pid_exists(pid)
    await keeper.hold("still no room")
    assert keeper.state.problem == "still no room"
    keeper.release()
    assert await until(lambda: keeper.up, PATIENCE)
    assert keeper.state.pid not in (0, pid)
    assert keeper.state.restarts == 0
    await keeper.hold("again")
    await keeper.stop()
    assert keeper.state.state == "stopped"
    assert not psutil.pid_exists(keeper.state.pid) or keeper.state.pid == 0


async def test_a_spec_that_can_not_be_written_is_tried_again(tmp_path: Path) -> None:
    tries: list[int] = []

    def make() -> Spec:
        tries.append(1)
        if len(tries) < 3:
            raise OSError(28, "No space left on device")
        return python(tmp_path, SLEEPS, MARK=str(tmp_path))

    keeper = Keeper(Plan("child", "service", make, lambda: None), lambda: None, Backoff(0.05, 0.1))
    keeper.start()
    assert await until(lambda: keeper.up, PATIENCE)
    assert len(tries) == 3
    await keeper.stop()


async def test_a_child_that_was_held_between_two_starts_has_its_pauses_afterwards(tmp_path: Path) -> None:
    waited_out: list[bool] = []

    class Noting(Keeper):
        async def _sleep(self, seconds: float) -> None:
            await super()._sleep(seconds)
            waited_out.append(not self._wake.is_set())

    def make() -> Spec:
        return python(tmp_path, "import sys; sys.exit(3)", MARK=str(tmp_path))

    keeper = Noting(Plan("child", "service", make, lambda: None), lambda: None, Backoff(600, 600))
    keeper.start()
    assert await until(lambda: keeper.state.state == "restarting", PATIENCE)
    await keeper.hold("no room")
    assert await until(lambda: keeper.state.state == "held", PATIENCE)
    assert waited_out == [False]
    keeper._backoff = Backoff(0.05, 0.05)
    keeper.release()
    assert await until(lambda: len(waited_out) >= 4, PATIENCE)
    await keeper.stop()
    assert waited_out[1:4] == [True, True, True]


async def test_a_child_that_is_held_while_it_is_made_does_not_stay(tmp_path: Path) -> None:
    making, go_on = threading.Event(), threading.Event()

    def make() -> Spec:
        making.set()
        go_on.wait(PATIENCE)
        return python(tmp_path, SLEEPS, MARK=str(tmp_path))

    keeper = Keeper(Plan("child", "service", make, lambda: None), lambda: None)
    keeper.start()
    assert await until(making.is_set, PATIENCE)
    await keeper.hold("no room")
    go_on.set()
    assert await until(lambda: keeper.state.state == "held", PATIENCE)
    keeper.release()
    assert await until(lambda: keeper.up, PATIENCE)
    await keeper.stop()
