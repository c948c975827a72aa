"""`rebuild` where a context has no projections."""

from __future__ import annotations

from typing import Any

import pytest
import typer

from events.process.settings import Settings
from events.projections import rebuild as runtime
from events.projections.rebuild import Difference, NoProjection
from forgelog.cli import maintenance
from forgelog.cli.render import Format


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The contexts that were compared. There are three; ``mute`` has no projections."""
    names: list[str] = []

    async def diff(_settings: Settings, name: str, _progress: Any, **_: Any) -> Difference:
        if name == "mute":
            raise NoProjection(f"the context {name!r} has no projections")
        names.append(name)
        return Difference(name, 1, {"jobs": 1})

    contexts = ("jobs", "mute", "resources")
    monkeypatch.setattr(runtime, "diff", diff)
    monkeypatch.setattr(runtime, "rebuild", diff)
    monkeypatch.setattr(maintenance, "CONTEXTS", contexts)
    monkeypatch.setattr(maintenance, "contexts_of", lambda name: (name,))
    monkeypatch.setattr(maintenance, "platform_settings", Settings)
    return names


def test_the_others_are_checked_and_it_is_named(compared: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    maintenance.rebuild(None, check=True, output=Format.JSON)
    assert compared == ["jobs", "resources"]
    assert "the context 'mute' has no projections; nothing to check" in capsys.readouterr().err


@pytest.mark.parametrize("check", [True, False])
def test_one_that_was_asked_for_is_refused(
    compared: list[str], check: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit) as ended:
        maintenance.rebuild(["mute"], check=check, output=Format.JSON)
    assert (ended.value.exit_code, compared) == (1, [])
    assert capsys.readouterr().err.endswith("error: the context 'mute' has no projections\n")
