"""What tests of runs without a platform share."""

from __future__ import annotations

import os
import signal
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from forgelog.tracking import beginning, ending
from forgelog.tracking import run as module
from forgelog.tracking.run import RunWarning
from forgelog.tracking.starting import Sender


@pytest.fixture
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A spool that nobody sends."""
    for name in [*os.environ]:
        if name.startswith("FORGELOG_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("FORGELOG_SPOOL", str(tmp_path / "spool"))
    monkeypatch.setenv("FORGELOG_GATEWAY", "127.0.0.1:1")
    monkeypatch.setattr(beginning, "sender", lambda *given: Sender(*given, starts=False))
    monkeypatch.setattr(module, "WAIT", 0)
    before = signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RunWarning)
        yield tmp_path / "spool"
    for left in [*ending._open]:
        left.end("killed")
    signal.signal(signal.SIGTERM, before)
