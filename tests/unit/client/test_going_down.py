"""What `down` says before it ends jobs, and that it asks on a terminal."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import typer

from forgelog.cli import going_down, platform
from forgelog.cli.going_down import Running
from forgelog.errors import Unavailable


@pytest.mark.parametrize(
    ("running", "text"),
    [
        (Running(["train j1"], 1), "1 running job: train j1"),
        (Running(["train j1", "sweep j2"], 5), "2 running jobs (5 tasks): train j1, sweep j2"),
        (Running([f"n j{n}" for n in range(7)], 7), "7 running jobs: n j0, n j1, n j2, n j3, n j4 and 2 more"),
    ],
)
def test_what_runs_in_words(running: Running, text: str) -> None:
    assert str(running) == text


@pytest.mark.parametrize(
    ("terminal", "ask", "answer", "stops"),
    [(False, True, False, True), (True, False, False, True), (True, True, True, True), (True, True, False, False)],
    ids=["no terminal", "--yes", "yes", "no"],
)
async def test_on_a_terminal_it_asks(
    monkeypatch: pytest.MonkeyPatch, terminal: bool, ask: bool, answer: bool, stops: bool
) -> None:
    async def running_on(_: Any) -> Running:
        return Running(["train j1"], 1)

    monkeypatch.setattr(going_down, "running_on", running_on)
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: terminal))
    monkeypatch.setattr(typer, "confirm", lambda *_, **__: answer)
    if stops:
        await platform._say_what_ends({}, keep=False, ask=ask)
    else:
        with pytest.raises(typer.Exit):
            await platform._say_what_ends({}, keep=False, ask=ask)


async def test_a_platform_that_does_not_tell_is_stopped_all_the_same(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def running_on(_: Any) -> Running:
        raise Unavailable("no platform answers")

    monkeypatch.setattr(going_down, "running_on", running_on)
    await platform._say_what_ends({}, keep=False, ask=True)
    assert "it is unknown which jobs run: no platform answers" in capsys.readouterr().err
