"""A progress bar: drawn once there is progress, on a terminal only."""

from __future__ import annotations

import sys

import pytest

from forgelog.cli.progress import Progress
from forgelog.cli.render import Format


def test_what_is_refused_before_there_is_progress_leaves_no_bar(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with pytest.raises(ValueError, match="refused"), Progress("register:", Format.TABLE, bytes=True):
        raise ValueError("refused")
    assert capsys.readouterr().err == ""
    with Progress("register:", Format.TABLE) as bar:
        bar.at("files", 1, 2)
    assert "register: files" in capsys.readouterr().err


def test_programs_get_none(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with Progress("register:", Format.JSON) as bar:
        bar.update(1, 2)
    assert capsys.readouterr().err == ""
