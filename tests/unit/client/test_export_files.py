"""Files of exported events: whole or not there, for their user alone, the same in both forms."""

from __future__ import annotations

import json
import os
import stat
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet
import pytest

from events.log.exporting import FIELDS
from forgelog.errors import ForgelogError, InvalidInput
from forgelog.export_files import GROUP_ROWS, ExportFile, ExportFormat, format_of, rfc3339

START = datetime(2026, 5, 9, 3, 12, 0, 123456, tzinfo=UTC)


def event(number: int, **parts: Any) -> dict[str, Any]:
    texts = {name: f"{name}-{number}" for name, kind in FIELDS.items() if kind is str}
    whole = {"time": START + timedelta(seconds=number), "partition": number % 3, "offset": number, "epoch": 0}
    return {**dict.fromkeys(FIELDS), **texts, **whole, "data": b'{"job_id":"j\xc3\xa9","n":[1,2.5,null]}', **parts}


def written(path: Path, format: ExportFormat, *batches: list[dict[str, Any]]) -> Path:
    with ExportFile(str(path), format, FIELDS) as sink:
        for batch in batches:
            sink.write(batch)
    return path


def test_both_forms_say_the_same(tmp_path: Path) -> None:
    events = [event(number) for number in range(GROUP_ROWS + 7)]
    events[3] = event(3, traceparent=None, causationid=None, cause=None, data=b'{\n "a": "b"\n}\n')
    halves = events[:5000], events[5000:]
    lines = written(tmp_path / "a.jsonl", ExportFormat.JSONL, *halves).read_text().splitlines()
    table = pyarrow.parquet.read_table(written(tmp_path / "a.parquet", ExportFormat.PARQUET, *halves))
    assert table.schema.names == list(FIELDS)
    rows = [
        {
            **{name: value for name, value in row.items() if value is not None},
            "time": rfc3339(row["time"]),
            "data": json.loads(row["data"]),
        }
        for row in table.to_pylist()
    ]
    assert rows == [json.loads(line) for line in lines]
    assert len(rows) == len(events)
    assert rows[3]["time"] == "2026-05-09T03:12:03.123456Z"
    assert "traceparent" not in rows[3]
    assert pyarrow.parquet.ParquetFile(tmp_path / "a.parquet").num_row_groups == 2


@pytest.mark.parametrize("format", ExportFormat)
def test_a_file_without_events_is_one(format: ExportFormat, tmp_path: Path) -> None:
    path = written(tmp_path / "none", format)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    if format is ExportFormat.PARQUET:
        assert pyarrow.parquet.read_table(path).num_rows == 0


@pytest.mark.parametrize("format", ExportFormat)
def test_what_fails_midway_leaves_what_was_there(format: ExportFormat, tmp_path: Path) -> None:
    path = tmp_path / "kept"
    path.write_text("yesterday's")

    def fail() -> None:
        with ExportFile(str(path), format, FIELDS) as sink:
            sink.write([event(1)])
            raise RuntimeError("midway")

    with pytest.raises(RuntimeError, match="midway"):
        fail()
    assert [each.name for each in tmp_path.iterdir()] == ["kept"]
    assert path.read_text() == "yesterday's"
    written(path, format, [event(1)])
    assert [each.name for each in tmp_path.iterdir()] == ["kept"]
    assert path.read_bytes() != b"yesterday's"


def test_the_form_is_the_file_s_name_unless_it_is_given() -> None:
    assert format_of("a.parquet", None) is ExportFormat.PARQUET
    assert format_of("a.jsonl", None) is format_of("-", None) is format_of("a", None) is ExportFormat.JSONL
    assert format_of("a.parquet", ExportFormat.JSONL) is ExportFormat.JSONL
    with pytest.raises(InvalidInput, match="standard output takes jsonl only"):
        format_of("-", ExportFormat.PARQUET)


def test_a_place_that_can_t_be_written_is_said(tmp_path: Path) -> None:
    for path, said in ((tmp_path, "is a folder"), (tmp_path / "none" / "a", "can't be written: No such file")):
        with pytest.raises(InvalidInput, match=said), ExportFile(str(path), ExportFormat.JSONL, FIELDS):
            pass


def test_what_is_no_file_is_not_replaced(tmp_path: Path) -> None:
    """Root may replace /dev/null, and nobody means that."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    said = r"--output: .*pipe is no regular file; name one, or - for standard output"
    with pytest.raises(InvalidInput, match=said), ExportFile(str(pipe), ExportFormat.JSONL, FIELDS):
        pass
    (tmp_path / "link").symlink_to(pipe)
    with pytest.raises(InvalidInput, match="no regular file"):
        ExportFile(str(tmp_path / "link"), ExportFormat.JSONL, FIELDS).__enter__()
    assert pipe.is_fifo()
    assert {each.name for each in tmp_path.iterdir()} == {"pipe", "link"}


def test_a_full_standard_output_is_said_as_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    full = os.fdopen(os.open("/dev/full", os.O_WRONLY), "wb")
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(buffer=full))
    said = "--output: standard output can't be written: No space left"
    with pytest.raises(ForgelogError, match=said), ExportFile("-", ExportFormat.JSONL, FIELDS) as sink:
        sink.write([event(1)])
    monkeypatch.undo()
    with pytest.raises(OSError, match="No space left"):
        full.close()


def test_a_reader_of_standard_output_may_stop_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    reads, writes = os.pipe()
    os.close(reads)
    gone = os.fdopen(writes, "wb")
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(buffer=gone))
    with pytest.raises(BrokenPipeError), ExportFile("-", ExportFormat.JSONL, FIELDS) as sink:
        sink.write([event(1)])
    monkeypatch.undo()
    with pytest.raises(BrokenPipeError):
        gone.close()


def test_a_link_is_replaced_and_what_it_points_to_stays(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("theirs")
    (tmp_path / "link").symlink_to(tmp_path / "other")
    written(tmp_path / "link", ExportFormat.JSONL, [event(1)])
    assert (tmp_path / "other").read_text() == "theirs"
    assert not (tmp_path / "link").is_symlink()


def test_without_pyarrow_it_is_said_how_to_get_it_and_nothing_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with (
        pytest.raises(InvalidInput, match=r"pip install 'forgelog\[parquet\]'"),
        ExportFile(str(tmp_path / "a"), ExportFormat.PARQUET, FIELDS),
    ):
        pass
    assert list(tmp_path.iterdir()) == []
