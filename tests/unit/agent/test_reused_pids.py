"""A pid that was another process's when the process table was read: its new process is left alone."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
from collections.abc import Callable, Iterator

import pytest

from services.resources.agent import leftovers, proctree
from services.resources.agent.leftovers import Prey
from services.resources.agent.proctree import Process

Send = Callable[[Process, int], None]
NO_MARKS = frozenset([b"NO_SUCH_VARIABLE=1"])


@pytest.fixture
def sleeping() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "1000"]) as process:
        yield process
        process.kill()


def seen(pid: int, *, earlier: int = 0) -> Process:
    """As it was read of the process table; of one with the same pid, started so many ticks earlier."""
    process = proctree.look(pid)
    assert process is not None
    process.ticks -= earlier
    return process


@pytest.fixture(params=["by descriptor", "without one"])
def send(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Send:
    if request.param == "without one":

        def none_left(_pid: int) -> int:
            raise OSError(errno.EMFILE, "Too many open files")

        monkeypatch.setattr(os, "pidfd_open", none_left)
    return proctree.send


def test_the_process_that_was_seen_is_signalled(send: Send, sleeping: subprocess.Popen[bytes]) -> None:
    send(seen(sleeping.pid), signal.SIGKILL)
    assert sleeping.wait() == -signal.SIGKILL


def test_another_that_has_its_pid_is_not(send: Send, sleeping: subprocess.Popen[bytes]) -> None:
    send(seen(sleeping.pid, earlier=1), signal.SIGKILL)
    send(seen(sleeping.pid), signal.SIGTERM)
    assert sleeping.wait() == -signal.SIGTERM


def test_one_that_is_gone_is_passed_over(send: Send, sleeping: subprocess.Popen[bytes]) -> None:
    process = seen(sleeping.pid)
    sleeping.kill()
    sleeping.wait()
    send(process, signal.SIGKILL)


def test_what_has_a_dead_warden_s_pid_is_no_warden(sleeping: subprocess.Popen[bytes]) -> None:
    """Neither its tree is asked to end, nor is it killed for it."""
    me = seen(os.getpid())
    leftovers.terminate(Prey(NO_MARKS, warden=me.pid, warden_ticks=me.ticks - 1))
    other = seen(sleeping.pid)
    assert leftovers.fell(Prey(NO_MARKS, warden=other.pid, warden_ticks=other.ticks - 1)) == 0
    proctree.send(other, signal.SIGTERM)
    assert sleeping.wait() == -signal.SIGTERM


def test_a_task_s_process_that_has_its_dead_warden_s_pid_is_ended(sleeping: subprocess.Popen[bytes]) -> None:
    process = seen(sleeping.pid)
    prey = Prey(NO_MARKS, warden=process.pid, warden_ticks=process.ticks - 1, seen={process.pid: process.ticks})
    assert [each.pid for each in leftovers._left(prey, proctree.table())] == [process.pid]
