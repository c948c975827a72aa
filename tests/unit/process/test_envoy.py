"""Whether the wheel with Envoy is installed: its program says so, not the package that it shares with another wheel."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from events.process.envoy import installed_envoy


def test_the_program_counts_and_not_the_folder_that_another_wheel_keeps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    for name in [name for name in sys.modules if name == "envoy" or name.startswith("envoy.")]:
        monkeypatch.delitem(sys.modules, name)
    assert installed_envoy() is None
    (tmp_path / "envoy" / "config").mkdir(parents=True)  # what `xds-protos` has
    importlib.invalidate_caches()
    assert installed_envoy() is None
    program = tmp_path / "envoy" / "_bin" / "envoy"
    program.parent.mkdir()
    program.touch()
    assert installed_envoy() == program
