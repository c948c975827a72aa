"""Points in files: how they are packed and read back. Knows no run and no platform.

A segment is a file of fixed size that its writer maps into memory, so that a point costs a copy of some bytes and is
the kernel's from then on: it survives the writer's kill -9 (not the machine's power cut). Its first 16 bytes are
`MAGIC` and the number of points that found no room; then come records:

    crc32 of what follows: u32 | kind: u16 | n: u16 | body

    kind 1  a call:   step i64, time i64 (ms), then n pairs of series u32 and value f64
    kind 2  a series: u32, then n bytes of UTF-8: key, model, data set, with zero bytes between them
    kind 3  the end:  nothing follows

All numbers are little-endian. What is no record yet is zeros, or has another crc: a reader that meets it waits, or,
when the writer is gone, is done. So no order of the memory's pages matters, and a record that was cut is not read.
"""

from __future__ import annotations

import errno
import mmap
import os
import struct
from array import array
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

MAGIC = b"FLPTS\x01\r\n"
HEADER = 16
MOST_PAIRS = 200
"""Metrics of one record; a call with more is written as several."""

CALL, SERIES, END = 1, 2, 3

_START = struct.Struct("<HH")
_MOMENT = struct.Struct("<qq")
_PAIR = struct.Struct("<Id")
_NUMBER = struct.Struct("<I")
_DROPPED = struct.Struct("<Q")
_RECORD = struct.Struct("<IHH")
_HEAD = _RECORD.size + _MOMENT.size
"""Bytes of a call before its pairs."""
_CALLS = {count: struct.Struct("<HHqq" + "Id" * count) for count in range(1, 33)}
_RESERVED = 8
"""Bytes at the end, for the record that says so."""

Series = str | tuple[str, str, str]
"""A key, or key, model and data set."""

Columns = dict[tuple[str, str, str], tuple["array[int]", "array[int]", "array[float]"]]
"""Series → steps, times, values of its points, in the order in which they were logged."""

POINT_BYTES, SERIES_BYTES = 24, 16
"""Of a point in columns, and of a series beside its names."""


class Full(Exception):
    """The segment has no room for it."""


class Point(NamedTuple):
    """A point as it was logged."""

    series: tuple[str, str, str]
    step: int
    time: int
    """Milliseconds since 1970."""
    value: float


class Writer:
    """Writes a segment. One thread at a time."""

    SIZE = 4 << 20
    """Bytes of a segment."""
    LEAST = HEADER + 8
    """Bytes of one that can only count what is dropped."""

    def __init__(self, path: Path, size: int = SIZE) -> None:
        """Makes the file, with room on the disk for all of it: a full disk would else end the process at some later
        point (SIGBUS). Raises OSError."""
        self.path = path
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            try:
                _take_room(file, size)
                self._map = mmap.mmap(file, size)
            except BaseException:
                with suppress(OSError):
                    path.unlink()
                raise
        finally:
            os.close(file)
        self._map[:8] = MAGIC
        self._at = HEADER
        self._limit = size - _RESERVED
        self._series: dict[Series, int] = {}

    def add(self, step: int, time: int, values: Mapping[Any, Any]) -> None:
        """Write a call: a value for each series. At most `MOST_PAIRS`.

        Raises Full, then nothing of the call is there; struct.error, TypeError, OverflowError for what is no number."""
        known = self._series
        pairs: list[Any] = []
        for series, value in values.items():
            number = known.get(series)
            if number is None:
                number = self._define(series)
            pairs.append(number)
            pairs.append(value)
        count = len(values)
        packer = _CALLS.get(count) or struct.Struct("<HHqq" + "Id" * count)
        self._put(packer.pack(CALL, count, step, time, *pairs))

    def end(self) -> None:
        """Nothing more will be written."""
        if self._map.closed:
            return
        body = _START.pack(END, 0)
        self._map[self._at : self._at + 8] = crc32(body).to_bytes(4, "little") + body
        self._map.close()

    def count_dropped(self, points: int) -> None:
        """Note how many points found no room so far."""
        _DROPPED.pack_into(self._map, 8, points)

    def forget(self) -> None:
        """Let go of the file, and leave it as it is: a forked process does so with its parent's."""
        self._map.close()

    def _define(self, series: Series) -> int:
        number = len(self._series)
        text = "\0".join((series, "", "") if isinstance(series, str) else series).encode()
        self._put(_START.pack(SERIES, len(text)) + _NUMBER.pack(number) + text)
        self._series[series] = number
        return number

    def _put(self, body: bytes) -> None:
        at = self._at
        end = at + 4 + len(body)
        if end > self._limit:
            raise Full
        try:
            self._map[at:end] = crc32(body).to_bytes(4, "little") + body
            self._at = end
        except BaseException:
            # A signal's handler raised between the two: what a reader may have read already must stay.
            if _whole(self._map, at) is not None:
                self._at = end
            raise


def _whole(data: Any, at: int) -> tuple[int, int, int] | None:
    """Kind, n and end of the record at a place; None if there is none (yet)."""
    if at + 8 > len(data):
        return None
    crc, kind, count = _RECORD.unpack_from(data, at)
    if kind == CALL:
        end = at + _HEAD + count * _PAIR.size
    elif kind == SERIES:
        end = at + 8 + _NUMBER.size + count
    elif kind == END:
        end = at + 8
    else:
        return None
    if end > len(data) or crc32(data[at + 4 : end]) != crc:
        return None
    return kind, count, end


def _take_room(file: int, size: int) -> None:
    """Raises OSError."""
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(file, 0, size)
            return
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                raise
    for _ in range(0, size, 1 << 16):
        os.write(file, bytes(1 << 16))
    os.ftruncate(file, size)


class Reader:
    """Reads a segment from its beginning, as far as it is written."""

    def __init__(self, path: Path) -> None:
        """Raises OSError; ValueError for what is no segment."""
        self.path = path
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            self._map = mmap.mmap(file, 0, prot=mmap.PROT_READ)
        finally:
            os.close(file)
        if self._map[:8] not in (MAGIC, bytes(8)) or len(self._map) < HEADER:
            self._map.close()
            raise ValueError(f"{path} is no file of points")
        self.at = HEADER
        """Where the next record is."""
        self.ended = False
        """Whether the writer said that nothing follows."""
        self._series: list[tuple[str, str, str]] = []

    @property
    def dropped(self) -> int:
        """Points that found no room while this was the segment."""
        (count,) = _DROPPED.unpack_from(self._map, 8)
        return int(count)

    def more(self, columns: Columns, points: int, size: int) -> None:
        """Read further calls, as far as they are there, and add them to the columns of their series; `at` is behind
        those that were read. Ends behind the call with which so many points, or about so many bytes, are reached."""
        data, at, names = self._map, self.at, self._series
        into: dict[int, tuple[Any, Any, Any]] = {}
        while points > 0 and size > 0 and (found := self._next(at)) is not None:
            kind, _, end = found
            if kind == CALL:
                step, time = _MOMENT.unpack_from(data, at + 8)
                for number, value in _PAIR.iter_unpack(data[at + _HEAD : end]):
                    adding = into.get(number)
                    if adding is None:
                        if number >= len(names):
                            continue  # its definition is not there: the file is damaged
                        if (kept := columns.get(names[number])) is None:
                            kept = columns[names[number]] = array("q"), array("q"), array("d")
                            size -= SERIES_BYTES + sum(len(name.encode()) for name in names[number])
                        adding = into[number] = kept[0].append, kept[1].append, kept[2].append
                    adding[0](step)
                    adding[1](time)
                    adding[2](value)
                    points -= 1
                    size -= POINT_BYTES
            self.at = at = end

    def skip_to(self, place: int) -> None:
        """Go on at a place that an earlier reader has reached."""
        while self.at < place and (found := self._next(self.at)) is not None:
            self.at = found[2]

    def _next(self, at: int) -> tuple[int, int, int] | None:
        """The record at a place, as `_whole` tells it; what is no call is noted."""
        if self.ended or (found := _whole(self._map, at)) is None:
            return None
        kind, _, end = found
        if kind == SERIES:
            parts = self._map[at + 8 + _NUMBER.size : end].decode("utf-8", "replace").split("\0")
            self._series.append((parts[0], parts[1], parts[2]) if len(parts) == 3 else ("", "", ""))
        elif kind == END:
            self.ended = True
        return found

    def close(self) -> None:
        self._map.close()
