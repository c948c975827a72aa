"""What a user names as a file is read, and no more of it than can be meant."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from forgelog.cli.common import read_plan
from forgelog.cli.models import _text
from forgelog.cli.predict import _given
from forgelog.errors import InvalidInput
from forgelog.manifest import load
from forgelog.user_files import read_at_most

ENDLESS = Path("/dev/zero")


def test_all_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\x00\xff12")
    assert read_at_most(tmp_path / "a", 4, "a plan") == b"\x00\xff12"


def test_all_of_standard_input_and_of_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"name: a")))
    assert read_at_most("-", 10, "a manifest") == b"name: a"
    reading, writing = os.pipe()
    try:
        os.write(writing, b"name: b")
        os.close(writing)
        assert read_at_most(f"/dev/fd/{reading}", 10, "a manifest") == b"name: b"
    finally:
        os.close(reading)


def test_what_is_longer_is_refused_with_its_bound(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    with pytest.raises(InvalidInput, match=r"/a is larger than 4 bytes, which is more than a plan may have$"):
        read_at_most(tmp_path / "a", 4, "a plan")


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=f"^can't read {tmp_path}: Is a directory$"):
        read_at_most(tmp_path, 4, "a plan")


def test_no_command_reads_without_an_end() -> None:
    for read, said in (
        (lambda: load(ENDLESS), "than a manifest may have"),
        (lambda: read_plan(ENDLESS, "forgelog objects plan"), "give the file that `forgelog objects plan` was written"),
        (lambda: _text(ENDLESS), "than a model card may have"),
    ):
        with pytest.raises(InvalidInput, match=f"^/dev/zero is larger than .*{said}"):
            read()
    with pytest.raises(InvalidInput, match=r"^--file: can't read /nowhere: No such file"):
        _given(None, Path("/nowhere"), as_csv=False)
