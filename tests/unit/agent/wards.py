"""Tasks under test: started through a real launcher, watched by real wardens."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil

from services.resources.agent.attempts import Exit
from services.resources.agent.launching import Launched, Launching
from tests import PATIENCE

PYTHON = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}


class Wards:
    def __init__(self, folder: Path, launching: Launching) -> None:
        self.tasks = folder / "tasks"
        self.scratch = folder / "scratch"
        self.launching = launching
        self.started: dict[str, Launched] = {}

    async def start(
        self,
        key: str,
        command: str,
        *args: str,
        env: dict[str, str] | None = None,
        grace: float = 5.0,
        max_runtime: float | None = None,
        cwd: str = "",
        secrets: dict[str, str] | None = None,
        output_bytes: int | None = None,
    ) -> Launched:
        spec = {
            "key": key,
            "folder": str(self.tasks / key),
            "task_folder": str(self.scratch / key),
            "record": {"note": "kept"},
            "command": command,
            "args": list(args),
            "env": {**PYTHON, **(env or {})},
            "secrets": secrets or {},
            "refused": "",
            "cwd": cwd,
            "grace": grace,
            "max_runtime": max_runtime,
            "output_bytes": output_bytes,
        }
        answer = await asyncio.wait_for(self.launching.launch(spec), PATIENCE)
        self.started[key] = answer
        return answer

    def stop(self, key: str, reason: str = "stopped", grace: float = 5.0) -> None:
        path = self.tasks / key / "stop.json"
        path.write_text(json.dumps({"reason": reason, "grace": grace, "message": ""}))
        os.kill(self.started[key].warden, signal.SIGTERM)

    async def exit(self, key: str) -> Exit:
        """How it ended, once it has."""
        path = self.tasks / key / "exit.json"
        await until(path.exists, f"{key} has not ended")
        return Exit.of(json.loads(path.read_text()))

    def file(self, key: str, name: str) -> str:
        """A file of the control folder; empty if it is not there: a stream's file is made when something is printed."""
        path = self.tasks / key / name
        return path.read_text() if path.exists() else ""

    async def printed(self, key: str, wanted: str) -> None:
        """Wait until the task has printed something."""
        await until(lambda: wanted in self.file(key, "stdout"), f"{key} did not print {wanted!r}")


async def until(condition: Callable[[], Any], problem: str) -> Any:
    end = time.monotonic() + PATIENCE
    while not (value := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"{problem} in {PATIENCE:.0f} s")
        await asyncio.sleep(0.01)
    return value


def running(pid: int) -> bool:
    """Whether there is such a process, zombies left out."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@asynccontextmanager
async def wards(folder: Path, program: Path | None = None, umask: int | None = None) -> AsyncIterator[Wards]:
    (folder / "tasks").mkdir()
    (folder / "scratch").mkdir()
    (folder / "spare").mkdir()
    async with Launching(folder / "spare", program, umask) as launching:
        made = Wards(folder, launching)
        try:
            yield made
        finally:
            for key, answer in made.started.items():
                if not (folder / "tasks" / key / "exit.json").exists() and running(answer.warden):
                    made.stop(key, grace=0)
