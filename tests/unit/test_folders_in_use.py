"""Given a folder that changes while it is copied."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.folders_in_use import copy_in_use


def test_what_vanishes_meanwhile_is_left_out_and_what_cannot_be_read_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").mkdir()
    for name in ("stays", "goes", "fails"):
        (tmp_path / "a" / name).write_text(name)
    copy = shutil.copyfile

    def copying(source: os.PathLike[str], target: str, **more: bool) -> str:
        if os.fspath(source).endswith("goes"):
            Path(source).unlink()
        if os.fspath(source).endswith("fails") and fails:
            raise OSError(5, "Input/output error", os.fspath(source))
        return copy(source, target, **more)

    monkeypatch.setattr(shutil, "copyfile", copying)
    fails = False
    copy_in_use(tmp_path / "a", tmp_path / "b")
    assert sorted(path.name for path in (tmp_path / "b").iterdir()) == ["fails", "stays"]
    fails = True
    with pytest.raises(shutil.Error, match="fails"):
        copy_in_use(tmp_path / "a", tmp_path / "c")
