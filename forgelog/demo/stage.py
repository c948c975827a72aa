"""How the demo is shown: headings, a table of jobs that moves on a terminal, a line a change elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.text import Text

from forgelog.cli.jobs import job_columns, tally
from forgelog.cli.render import Column, column, rich_table


class Stage:
    """Writes to standard output."""

    def __init__(self) -> None:
        self.console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else 140, highlight=False)
        self._began = time.monotonic()

    def act(self, text: str) -> None:
        """What happens next."""
        self.console.print(f"\n[bold]{time.monotonic() - self._began:5.1f} s  {text}[/bold]")

    def say(self, text: str) -> None:
        self.console.print(f"         {text}", markup=False)

    def line(self, text: str) -> None:
        """A line as it is, colours included."""
        self.console.print(Text.from_ansi(f"         {text}"), no_wrap=True, overflow="ignore")

    def table(self, rows: Sequence[Mapping[str, Any]], columns: Sequence[Column]) -> None:
        self.console.print(rich_table(rows, columns))

    def jobs(self) -> Jobs:
        return Jobs(self)


class Jobs:
    """The demo's jobs as they move; a context manager."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._rows: dict[str, Mapping[str, Any]] = {}
        self._told: dict[str, str] = {}
        self._live = Live(console=stage.console, auto_refresh=False) if stage.console.is_terminal else None

    def __enter__(self) -> Jobs:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, job: Mapping[str, Any]) -> None:
        """A job as it is now."""
        self._rows[job["job_id"]] = job
        if self._live is not None:
            rows = sorted(self._rows.values(), key=lambda row: row["submitted_at"])
            self._live.update(rich_table(rows, job_columns(datetime.now(UTC))), refresh=True)
            return
        text = " ".join(filter(None, (job["status"], tally(job["tasks"]))))
        if self._told.get(job["job_id"]) != text:
            self._told[job["job_id"]] = text
            self._stage.say(f"{job['name']:<8} {text}")

    def say(self, text: str) -> None:
        """A remark above the table."""
        self._stage.say(text)


MODELS = (
    column("Task", right=True),
    column("Model"),
    column("Parameters"),
    column("Accuracy", right=True),
    column("Seconds", right=True),
    column("Attempts", right=True),
)
"""Columns of the models that were trained."""
