"""Output whose reader has left, as `head` does, ends a command quietly: also one that writes in several tasks."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

import pytest

from forgelog.cli.common import run
from forgelog.cli.render import write
from forgelog.errors import ReaderGone


def test_tasks_end_before_the_command_does(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    complaints: list[object] = []
    ended: list[str] = []

    async def waiting() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)  # as the end of a call does
            ended.append("waiting")

    async def writer() -> None:
        await asyncio.sleep(0)
        write("an event\n", flush=True)

    async def work() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context))
        async with asyncio.TaskGroup() as group:
            group.create_task(waiting())
            group.create_task(writer())

    with open(writing, "w") as out:
        monkeypatch.setattr(sys, "stdout", out)
        with pytest.raises(ReaderGone):
            run(work)
    monkeypatch.undo()
    assert ended == ["waiting"]
    assert complaints == []
    assert capfd.readouterr().err == ""


def test_the_command_has_succeeded() -> None:
    """In a process of its own, whose umask `main` changes."""
    code = """
import sys
import forgelog.cli
from forgelog.errors import ReaderGone

def gone(_command):
    raise ReaderGone

forgelog.cli.make_app = gone
sys.argv = ["forgelog", "ps"]
forgelog.cli.main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
