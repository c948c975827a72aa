"""What is shown while a platform starts: bars and steps on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from forgelog.cli import render
from forgelog.embedded.process import last_line
from forgelog.embedded.waiting import awaited, restarts_of

if TYPE_CHECKING:
    from forgelog.embedded.layout import PlatformState

SAY_SECONDS = 15.0
"""Between two lines, without a terminal, of what is waited for."""


class UpProgress(AbstractContextManager["UpProgress"]):
    """Shows the progress of `up`: bars on a terminal, else lines."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, SpinnerColumn, TextColumn
        from rich.progress import Progress as Bars

        self._console = Console(stderr=True)
        self._bars = Bars(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._steps = Bars(
            SpinnerColumn(finished_text="[green]✓"),
            TextColumn("{task.description}"),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._downloading: Any = None
        self._tasks: dict[str, Any] = {}
        self._restarts: dict[str, int] | None = None
        self._say_at = time.monotonic() + SAY_SECONDS

    def __exit__(self, *_: object) -> None:
        self.done()

    def done(self) -> None:
        """Stop drawing, so that others can write to the terminal."""
        self._bars.stop()
        self._steps.stop()

    def download(self, name: str, done: int, total: int) -> None:
        if self._downloading is None:
            if not self._console.is_terminal:
                render.note(f"downloading the broker ({total / 1e6:.0f} MB, once)")
            self._bars.start()
            self._downloading = self._bars.add_task("downloading the broker (once)", total=total)
        self._bars.update(self._downloading, completed=done)

    def waiting(self, what: str) -> None:
        """Something is waited for. Without a terminal that is said once in a while."""
        if self._console.is_terminal:
            self._step("supervisor", what, done=False)
        elif time.monotonic() >= self._say_at:
            self._say_at = time.monotonic() + SAY_SECONDS
            render.note(f"waiting for {what}")

    def children(self, state: PlatformState) -> None:
        """How far they are. One that has ended is told of at once."""
        self._bars.stop()
        if "supervisor" in self._tasks:
            self._step("supervisor", "supervisor (running)", done=True)
        for child in state.children:
            last = f" ({child.last_exit})" if child.last_exit else ""
            self._step(child.name, f"{child.name:<12} {child.state}{last}", done=child.up)
        if not self._console.is_terminal:
            self._say_ends(state)
            if left := awaited(state.children):
                self.waiting(", ".join(left))

    def _say_ends(self, state: PlatformState) -> None:
        now = restarts_of(state.children)
        before = self._restarts if self._restarts is not None else now
        for child in state.children:
            if child.restarts > before.get(child.name, 0):
                why = last_line(child.problem) or f"see {child.log}"
                render.note(f"{child.name} has failed ({child.last_exit or 'not started'}), and is tried again: {why}")
        self._restarts = now

    def _step(self, name: str, text: str, *, done: bool) -> None:
        if not self._tasks:
            self._steps.start()
        if name not in self._tasks:
            self._tasks[name] = self._steps.add_task(name, total=1)
        self._steps.update(self._tasks[name], description=text, completed=1 if done else 0)
