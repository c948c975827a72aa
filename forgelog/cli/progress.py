"""A progress bar on standard error: only on a terminal, only if the output is not for programs, and once there is
progress: what is refused before leaves no bar behind."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any

from forgelog.cli.render import Format


class Progress:
    """Use as a context manager; `update` takes done and total."""

    def __init__(self, title: str, format: Format, *, bytes: bool = False) -> None:
        """`bytes`: the unit is bytes."""
        self._title = title
        self._bytes = bytes
        self._shown = format is Format.TABLE and sys.stderr.isatty()
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Progress:
        return self

    def _begun(self) -> bool:
        """Whether there is a bar; the first call draws it."""
        if self._shown and self._bar is None:
            from rich.console import Console
            from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            self._bar = Bar(
                TextColumn("{task.description}"),
                BarColumn(),
                DownloadColumn() if self._bytes else MofNCompleteColumn(),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._task = self._bar.add_task(self._title, total=None)
            self._bar.start()
        return self._bar is not None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, done: int, total: int) -> None:
        if self._begun():
            self._bar.update(self._task, completed=done, total=total)

    def at(self, place: str, done: int, total: int) -> None:
        """Progress in one of several places."""
        if self._begun():
            self._bar.update(self._task, description=f"{self._title} {place}", completed=done, total=total)
