"""Where the embedded Postgres' programs are, when root starts it as another user."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from forgelog.embedded import postgres


def test_programs_installed_under_a_narrow_umask_are_copied_where_every_user_may_run_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "SHARED", tmp_path / "cache")
    binaries = tmp_path / "venv" / "pg" / "bin"
    (binaries.parent / "share").mkdir(parents=True)
    binaries.mkdir()
    (binaries / "postgres").write_text("program")
    (binaries / "psql").symlink_to("postgres")
    (binaries.parent / "share" / "timezone").write_text("zones")
    for path, mode in ((binaries / "postgres", 0o700), (binaries.parent / "share" / "timezone", 0o600)):
        path.chmod(mode)
    for folder in (binaries, binaries.parent / "share", binaries.parent):
        folder.chmod(0o700)
    copy = postgres.reachable(binaries)
    assert copy == postgres.reachable(binaries)
    assert copy.is_relative_to(tmp_path / "cache")
    modes = {
        path.name: stat.S_IMODE(path.stat().st_mode)
        for path in (copy.parent, copy, *copy.iterdir(), *copy.parent.rglob("*"))
    }
    assert modes.pop(copy.parent.name) == 0o755
    assert modes == {"bin": 0o755, "postgres": 0o755, "psql": 0o755, "share": 0o755, "timezone": 0o644}
