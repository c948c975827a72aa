"""What an agent notes of the output it has shipped, and what it reads, when a task has put something else there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from services.resources.agent.output import _read_file, _read_note, _size, _write_note


def test_a_note_is_read_as_it_was_written(tmp_path: Path) -> None:
    note = str(tmp_path / "shipped")
    _write_note(note, [7, 11])
    _write_note(note, [8, 1 << 40])
    assert _read_note(note) == [8, 1 << 40]


@pytest.mark.parametrize("forged", [b"", b"1", b"1 2 3", b"x y", b"-1 2", b"\xff\xfe", b"1e3 2"])
def test_a_note_that_makes_no_sense_is_none(tmp_path: Path, forged: bytes) -> None:
    (tmp_path / "shipped").write_bytes(forged)
    assert _read_note(str(tmp_path / "shipped")) == [0, 0]


def test_a_folder_that_is_gone_takes_no_note_and_has_no_output(tmp_path: Path) -> None:
    gone = str(tmp_path / "gone" / "shipped")
    _write_note(gone, [1, 2])
    assert _read_note(gone) == [0, 0]
    assert (_size(gone), _read_file(gone, 0, 10)) == (0, b"")


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_what_is_no_plain_file_has_no_output(tmp_path: Path, make: object) -> None:
    path = str(tmp_path / "stdout")
    make(path)  # type: ignore[operator]
    assert _size(path) == 0
    assert _read_note(path) == [0, 0]
    _write_note(path, [1, 2])
