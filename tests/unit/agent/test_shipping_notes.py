"""What an agent notes of the output it has shipped, and what it reads, when a task has put something else there."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from events.process.notes import Folder
from services.resources.agent.output import NOTED, _cut, _read_file, _read_note, _size, _write_note


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(str(tmp_path))


def test_a_note_is_read_as_it_was_written(folder: Folder) -> None:
    _write_note(folder, [7, 11])
    _write_note(folder, [8, 1 << 40])
    assert _read_note(folder) == [8, 1 << 40]


@pytest.mark.parametrize("forged", [b"", b"1", b"1 2 3", b"x y", b"-1 2", b"\xff\xfe", b"1e3 2"])
def test_a_note_that_makes_no_sense_is_none(folder: Folder, forged: bytes) -> None:
    Path(folder.path, NOTED).write_bytes(forged)
    assert _read_note(folder) == [0, 0]


def test_bytes_that_were_dropped_are_counted_for_each_stream(folder: Folder) -> None:
    Path(folder.path, "cut.json").write_bytes(b'{"stdout": 7, "stderr": 0}')
    assert _cut(folder) == {"stdout": 7, "stderr": 0}


@pytest.mark.parametrize(
    "forged",
    [
        b"",
        b"7",
        b"[]",
        b'{"stdout": 1}',
        b'{"stdout": 1e999, "stderr": 0}',
        b'{"stdout": 1e300, "stderr": 0}',
        b'{"stdout": -1, "stderr": 0}',
        b'{"stdout": "x", "stderr": 0}',
        b"[" * 4000,
    ],
)
def test_a_count_of_dropped_bytes_that_makes_no_sense_is_none(folder: Folder, forged: bytes) -> None:
    Path(folder.path, "cut.json").write_bytes(forged)
    assert _cut(folder) == {}


def test_a_folder_that_is_gone_takes_no_note_and_has_no_output(tmp_path: Path) -> None:
    gone = Folder(str(tmp_path / "gone"))
    gone.open()
    _write_note(gone, [1, 2])
    assert _read_note(gone) == [0, 0]
    assert (_size(gone, "stdout"), _read_file(gone, "stdout", 0, 10)) == (0, b"")


def test_what_a_task_puts_in_place_of_an_open_folder_is_not_looked_into(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "stdout").write_bytes(b"its own")
    folder = Folder(str(tmp_path / "a"))
    folder.open()
    (tmp_path / "a").rename(tmp_path / "b")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "stdout").write_bytes(b"another's")
    assert _read_file(folder, "stdout", 0, 10) == b"its own"
    folder.write("exit.json", b"{}")
    assert folder.read("exit.json") == (tmp_path / "b" / "exit.json").read_bytes() == b"{}"
    folder.close()
    assert _read_file(folder, "stdout", 0, 10) == b"another's"


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_what_is_no_plain_file_has_no_output(folder: Folder, make: Callable[[str], None]) -> None:
    make(f"{folder.path}/stdout")
    make(f"{folder.path}/{NOTED}")
    assert _size(folder, "stdout") == 0
    assert _read_note(folder) == [0, 0]
    _write_note(folder, [1, 2])
