"""Postgres' password is kept in a file, and every address that travels is without it."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from forgelog.embedded.passfile import password_in, with_passfile, without_password
from forgelog.embedded.process import EmbeddedError

HIDDEN = [
    ("postgresql://me:secret@db:5432/app", "postgresql://me@db:5432/app"),
    ("postgres://me:secret@[::1]:5432/app?sslmode=require", "postgres://me@[::1]:5432/app?sslmode=require"),
    ("postgresql://me:secret@one:1,two:2/app", "postgresql://me@one:1,two:2/app"),
    ("postgresql://db/app?user=me&password=secret&sslmode=require", "postgresql://db/app?user=me&sslmode=require"),
    ("postgresql:///app?password=secret", "postgresql:///app"),
    ("postgresql://me:sec%40ret%3A@db/app", "postgresql://me@db/app"),
]


@pytest.mark.parametrize(("dsn", "shown"), HIDDEN)
def test_an_address_is_shown_without_its_password(dsn: str, shown: str) -> None:
    assert without_password(dsn) == shown


@pytest.mark.parametrize("dsn", ["postgresql://me@db/app", "postgresql:///app?host=/run/pg", ""])
def test_an_address_without_a_password_stays_as_it_is(dsn: str, tmp_path: Path) -> None:
    assert without_password(dsn) == dsn
    assert with_passfile(dsn, tmp_path / "keys" / "file") == dsn
    assert not (tmp_path / "keys").exists()


@pytest.mark.parametrize(("dsn", "shown"), HIDDEN)
def test_the_password_moves_to_a_private_file(dsn: str, shown: str, tmp_path: Path) -> None:
    file = tmp_path / "kéys 1" / "file"
    moved = with_passfile(dsn, file)
    assert moved.startswith(shown)
    assert "passfile=" in moved
    assert "sec" not in moved.replace(str(tmp_path), "").replace("sslmode=require", "")
    assert password_in(file) == ("sec@ret:" if "%40" in dsn else "secret")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert with_passfile(moved, file) == moved


def test_another_password_replaces_the_first(tmp_path: Path) -> None:
    file = tmp_path / "keys" / "file"
    with_passfile("postgresql://me:first@db/app", file)
    with_passfile("postgresql://me:second@db/app", file)
    assert password_in(file) == "second"


@pytest.mark.parametrize("written", ["%20x", "x%0Ay", "p%C3%A4ss"])
def test_a_password_that_no_file_can_hold_is_named_and_not_shown(written: str, tmp_path: Path) -> None:
    with pytest.raises(EmbeddedError, match=r"FORGELOG_POSTGRES.*passfile=") as refused:
        with_passfile(f"postgresql://me:{written}@db/app", tmp_path / "keys" / "file")
    assert written not in str(refused.value)
