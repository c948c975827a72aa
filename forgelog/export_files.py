"""Files of exported events: one event a line as CloudEvents' JSON, or Parquet with a column an attribute.

A file is there whole or not at all: it is written beside its place under another name, readable by its user only, and
takes its place at the end. Knows neither Kafka nor the command line.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Protocol

from forgelog.errors import ForgelogError, InvalidInput

GROUP_ROWS = 10_000
GROUP_BYTES = 16 << 20
"""Of a group of rows in Parquet, which is written at once: one of both is reached first."""


class ExportFormat(StrEnum):
    JSONL = "jsonl"
    PARQUET = "parquet"


class Sink(Protocol):
    """Takes events in order."""

    def write(self, events: Sequence[dict[str, Any]]) -> None:
        """Take some more."""

    def close(self) -> None:
        """All have come."""

    def abandon(self) -> None:
        """No more will come, and what was written is thrown away."""


class JsonLines:
    """Each line is an event in CloudEvents' JSON format, with the log's own attributes beside CloudEvents'."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, events: Sequence[dict[str, Any]]) -> None:
        self._file.write(b"".join(map(line_of, events)))

    def close(self) -> None:
        self._file.flush()

    def abandon(self) -> None:
        """There is nothing to let go of."""


def line_of(event: dict[str, Any]) -> bytes:
    """An event as a line; attributes that it has not are left out."""
    import orjson  # not for the help of the command that writes files

    shown = {name: value for name, value in event.items() if value is not None}
    shown["time"] = rfc3339(event["time"])
    shown["data"] = orjson.Fragment(event["data"].strip().replace(b"\n", b" "))
    return orjson.dumps(shown, option=orjson.OPT_APPEND_NEWLINE)


def rfc3339(time: datetime) -> str:
    """In UTC, with microseconds, as in the log."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class Parquet:
    """Columns as in `events.log.exporting.FIELDS`: texts, 64-bit numbers, the time in microseconds and UTC; `data` is
    the body's JSON text. Packed with zstd."""

    def __init__(self, file: BinaryIO, fields: dict[str, type]) -> None:
        arrow, parquet = _pyarrow()
        kinds = {str: arrow.string(), bytes: arrow.string(), int: arrow.int64()}
        kinds[datetime] = arrow.timestamp("us", tz="UTC")
        self._arrow = arrow
        self._schema = arrow.schema([(name, kinds[kind]) for name, kind in fields.items()])
        self._texts = [name for name, kind in fields.items() if kind is bytes]
        self._writer = parquet.ParquetWriter(file, self._schema, compression="zstd")
        self._rows: list[dict[str, Any]] = []
        self._bytes = 0

    def write(self, events: Sequence[dict[str, Any]]) -> None:
        for event in events:
            self._rows.append({**event, **{name: event[name].decode() for name in self._texts}})
            self._bytes += len(event["data"])
            if len(self._rows) >= GROUP_ROWS or self._bytes >= GROUP_BYTES:
                self._write_group()

    def close(self) -> None:
        self._write_group()
        self._writer.close()

    def abandon(self) -> None:
        self._writer.close()

    def _write_group(self) -> None:
        if self._rows:
            self._writer.write_table(self._arrow.Table.from_pylist(self._rows, schema=self._schema))
        self._rows, self._bytes = [], 0


def _pyarrow() -> tuple[Any, Any]:
    """Raises InvalidInput where it is not installed: it is large, and few need it."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise InvalidInput(
            "--format: parquet needs pyarrow, which is not installed; pip install 'forgelog[parquet]' (or pyarrow), "
            "or write jsonl"
        ) from None
    return pyarrow, pyarrow.parquet


def format_of(path: str, given: ExportFormat | None) -> ExportFormat:
    """What is asked for, else what the file's name ends in, else JSON lines. Raises InvalidInput."""
    found = given or (ExportFormat.PARQUET if path.endswith(".parquet") else ExportFormat.JSONL)
    if path == "-" and found is not ExportFormat.JSONL:
        raise InvalidInput("--output: standard output takes jsonl only; name a file")
    return found


def unwritable(path: str, error: OSError) -> ForgelogError:
    """What to tell of a path, or of ``-``, to which no more can be written."""
    where = "standard output" if path == "-" else path
    return ForgelogError(f"--output: {where} can't be written: {error.strerror}")


def begin(path: Path, option: str, otherwise: str = "") -> tuple[Path, BinaryIO]:
    """A new file beside a path, to take its place when it is whole; only its user may read it. Raises InvalidInput
    that names the option."""
    if path.is_dir():
        raise InvalidInput(f"{option}: {path} is a folder; name a file in it")
    if path.exists() and not path.is_file():
        # a device or a pipe would be replaced by a file
        raise InvalidInput(f"{option}: {path} is no regular file; name one{otherwise}")
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        return part, os.fdopen(os.open(part, flags, 0o600), "wb")
    except OSError as error:
        raise InvalidInput(f"{option}: {path} can't be written: {error.strerror}") from None


def write_whole(path: Path, data: bytes, option: str) -> None:
    """Write a file completely or not at all. Raises InvalidInput that names the option."""
    part, file = begin(path, option)
    try:
        with file:
            file.write(data)
        part.replace(path)
    except OSError as error:
        raise InvalidInput(f"{option}: {path} can't be written: {error.strerror}") from None
    finally:
        part.unlink(missing_ok=True)


class ExportFile:
    """The sink of a path; ``-`` is standard output. Used as a context manager: where that ends in an error, no file is
    left and one that was there before stays as it was.

    Raises InvalidInput for a path that can't be opened, ForgelogError where the end can't be written, and
    BrokenPipeError where nobody reads standard output any more.
    """

    def __init__(self, path: str, format: ExportFormat, fields: dict[str, type]) -> None:
        self._path = None if path == "-" else Path(path)
        self._format = format
        self._fields = fields
        self._part: Path | None = None
        self._file: BinaryIO
        self._sink: Sink

    def __enter__(self) -> Sink:
        if self._format is ExportFormat.PARQUET:
            _pyarrow()  # else a file would be made before it is known that it can't be written
        if self._path is None:
            self._file = sys.stdout.buffer
        else:
            self._file = self._begin(self._path)
        self._sink = (
            Parquet(self._file, self._fields) if self._format is ExportFormat.PARQUET else JsonLines(self._file)
        )
        return self._sink

    def _begin(self, path: Path) -> BinaryIO:
        self._part, file = begin(path, "--output", ", or - for standard output")
        return file

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._path is None or self._part is None:
            if kind is None:
                self._end_output()
            return
        try:
            if kind is None:
                self._sink.close()
                self._file.flush()
                os.fsync(self._file.fileno())
                self._file.close()
                self._part.replace(self._path)
            else:
                self._sink.abandon()
        except OSError as failed:
            raise unwritable(str(self._path), failed) from None
        finally:
            with suppress(OSError):  # what could not be written is dropped
                self._file.close()
            self._part.unlink(missing_ok=True)

    def _end_output(self) -> None:
        try:
            self._sink.close()
        except BrokenPipeError:
            raise
        except OSError as failed:
            raise unwritable("-", failed) from None
