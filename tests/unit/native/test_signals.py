"""The compiled launcher signals a process that it has seen, and not one that has its pid by now."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from services.resources.agent import proctree


def send(driver: Path, pid: int, ticks: int, number: int) -> None:
    done = subprocess.run([driver, "signal", str(pid), str(ticks), str(number)], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("earlier", [1, 1000])
def test_only_the_process_that_was_seen_is_signalled(driver: Path, earlier: int) -> None:
    with subprocess.Popen(["sleep", "1000"]) as process:
        seen = proctree.look(process.pid)
        assert seen is not None
        send(driver, process.pid, seen.ticks - earlier, signal.SIGKILL)
        send(driver, process.pid, seen.ticks, signal.SIGTERM)
        assert process.wait() == -signal.SIGTERM


def test_one_that_is_gone_is_passed_over(driver: Path) -> None:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    send(driver, process.pid, 1, signal.SIGKILL)
