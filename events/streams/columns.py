"""Points as columns: a chunk of a stream of numbers, in memory and in a row.

A point is a step, a time (milliseconds since 1970) and a value. `Columns` holds distinct points in order, as three
arrays of little-endian 64-bit numbers. Pure; knows no stream and no table. Importing it loads numpy (about 20 MiB):
import it where the first batch is read, not where a stream is named.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import cramjam
import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

_FORMAT = 1
_HEAD = struct.Struct("<BI")
"""Format, and number of points."""
_LEVEL = 1
"""Level of zstd: higher levels take several times as long and save little."""
_MOST = 1 << 24
"""Points of a chunk."""
_NAN = np.array([0x7FF8 << 48], np.int64).view(np.float64)[0]
_LOW_BITS = np.int64((1 << 63) - 1)


class Malformed(ValueError):
    """The bytes are not valid columns. The text says why, for people."""


class Point(NamedTuple):
    """A comparable point. `rank` orders values by their bits: -0.0 before 0.0, and NaN after all others."""

    step: int
    time: int
    rank: int


@dataclass(frozen=True, slots=True)
class Summary:
    """A summary of columns, for queries that do not read them."""

    count: int
    nans: int
    first_step: int
    last_step: int
    first_time: int
    last_time: int
    """The earliest and the latest time."""
    low: float | None
    high: float | None
    """The smallest and the largest value that is not NaN; None without one."""


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """Distinct points, ordered by step, time and value. All NaNs are one value. Made by the functions below."""

    steps: NDArray[np.int64]
    times: NDArray[np.int64]
    values: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.steps)

    def __getitem__(self, part: slice) -> Columns:
        return Columns(self.steps[part], self.times[part], self.values[part])

    def __iter__(self) -> Iterator[tuple[int, int, float]]:
        return zip(self.steps.tolist(), self.times.tolist(), self.values.tolist(), strict=True)

    def point(self, index: int) -> Point:
        """The point at an index, which may be negative. Raises IndexError."""
        rank = ranks_of(self.values[[index]])[0]
        return Point(int(self.steps[index]), int(self.times[index]), int(rank))

    def summary(self) -> Summary:
        """The summary. Raises ValueError if there are no points."""
        if not len(self):
            raise ValueError("there are no points to sum up")
        numbers = self.values[~np.isnan(self.values)]
        return Summary(
            count=len(self),
            nans=len(self) - len(numbers),
            first_step=int(self.steps[0]),
            last_step=int(self.steps[-1]),
            first_time=int(self.times.min()),
            last_time=int(self.times.max()),
            low=float(numbers.min()) if len(numbers) else None,
            high=float(numbers.max()) if len(numbers) else None,
        )

    def between(self, first_step: int, last_step: int) -> Columns:
        """The points of these steps, both included."""
        low = int(np.searchsorted(self.steps, first_step, "left"))
        high = int(np.searchsorted(self.steps, last_step, "right"))
        return self[low:high]


def columns(steps: Any, times: Any, values: Any) -> Columns:
    """Points from sequences of one length, in any order, with repeats. Raises Malformed."""
    return _columns(_array("steps", steps, "<i8"), _array("times", times, "<i8"), _array("values", values, "<f8"))


def _array(name: str, given: Any, kind: str) -> NDArray[Any]:
    try:
        found = np.asarray(given)
        return found.astype(kind, casting="safe") if found.size else found.astype(kind)
    except (TypeError, ValueError) as error:
        raise Malformed(f"{name}: they are no numbers of 64 bits: {error}") from None


def from_bytes(steps: bytes, times: bytes, values: bytes) -> Columns:
    """Points from little-endian columns: int64, int64, float64; in any order, with repeats. Raises Malformed."""
    for name, column in (("steps", steps), ("times", times), ("values", values)):
        if len(column) % 8:
            raise Malformed(f"{name}: {len(column)} bytes are no column of 64-bit numbers")
    return _columns(np.frombuffer(steps, "<i8"), np.frombuffer(times, "<i8"), np.frombuffer(values, "<f8"))


def _columns(steps: NDArray[np.int64], times: NDArray[np.int64], values: NDArray[np.float64]) -> Columns:
    if not steps.shape == times.shape == values.shape or steps.ndim != 1:
        counts = f"{steps.size} steps, {times.size} times, {values.size} values"
        raise Malformed(f"steps, times and values are not equally many: {counts}")
    if (nans := np.isnan(values)).any():
        values = np.where(nans, _NAN, values)
    return _ordered(Columns(steps, times, values))


def merge(parts: Iterable[Columns]) -> Columns:
    """All points of several `Columns`, each once."""
    given = [part for part in parts if len(part)]
    return given[0] if len(given) == 1 else _ordered(joined(given))


def without(part: Columns, others: Columns) -> Columns:
    """The points of `part` that are not in `others`."""
    if not len(part) or not len(others):
        return part
    keep = np.ones(len(part), bool)
    keep[_common(part, others)] = False
    return Columns(part.steps[keep], part.times[keep], part.values[keep])


def common(part: Columns, others: Columns) -> Columns:
    """The points of `part` that are in `others` too."""
    found = np.sort(_common(part, others))
    return Columns(part.steps[found], part.times[found], part.values[found])


def cut(part: Columns, most: int) -> Iterator[Columns]:
    """Slices of at most `most` points, in order."""
    return (part[start : start + most] for start in range(0, len(part), most))


def encode(part: Columns) -> bytes:
    """Columns as the bytes of a row, compressed by zstd.

    Steps and times are stored as deltas, the lowest bytes of all deltas first. Regular steps take almost no space.
    """
    values = np.ascontiguousarray(part.values, "<f8").tobytes()
    return packed(_FORMAT, len(part), deltas_of(part.steps) + deltas_of(part.times) + values)


def decode(data: bytes) -> Columns:
    """The columns of the bytes that `encode` returned. Raises Malformed."""
    steps, times, values = unpacked(data, _FORMAT, 3, "columns")
    return Columns(numbers_of(steps), numbers_of(times), values.view("<f8"))


class Digest:
    """The number of distinct points, and BLAKE3 over them in order. Independent of how they are cut into parts.

    Memory: the parts that reach beyond the first step of the next one.
    """

    def __init__(self) -> None:
        self._hashed = blake3()
        self._count = 0
        self._kept = Columns(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float64))

    def add(self, part: Columns) -> None:
        """Add a part. Parts come ordered by their first steps."""
        if len(part):
            until = int(np.searchsorted(self._kept.steps, part.steps[0], "left"))
            self._hash(self._kept[:until])
            self._kept = merge([self._kept[until:], part])

    def result(self) -> tuple[int, bytes]:
        """Of all that was added. Nothing may be added after that."""
        self._hash(self._kept)
        return self._count, self._hashed.digest()

    def _hash(self, done: Columns) -> None:
        self._count += len(done)
        rows = np.stack((done.steps, done.times, done.values.view("<i8")), axis=1)
        self._hashed.update(np.ascontiguousarray(rows, "<i8").tobytes())


def digest(parts: Iterable[Columns]) -> tuple[int, bytes]:
    """See `Digest`."""
    made = Digest()
    for part in parts:
        made.add(part)
    return made.result()


def ranks_of(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Numbers with the order of the values, which differ if the bits of the values differ."""
    bits = np.ascontiguousarray(values).view(np.int64)
    return bits ^ ((bits >> np.int64(63)) & _LOW_BITS)


def joined(parts: Iterable[Columns]) -> Columns:
    given = list(parts)
    if not given:
        return Columns(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float64))
    return Columns(
        np.concatenate([part.steps for part in given]),
        np.concatenate([part.times for part in given]),
        np.concatenate([part.values for part in given]),
    )


def _ordered(given: Columns) -> Columns:
    """Points in order, each once."""
    if (given.steps[1:] > given.steps[:-1]).all():
        return given  # the usual case
    ranks = ranks_of(given.values)
    order = np.lexsort((ranks, given.times, given.steps))
    steps, times, values = given.steps[order], given.times[order], given.values[order]
    first = np.ones(len(order), bool)
    first[1:] = ~equal_next(steps, times, ranks[order])
    return Columns(steps[first], times[first], values[first])


def _common(part: Columns, others: Columns) -> NDArray[np.int64]:
    """The indexes of the points of `part` that are in `others`."""
    both = joined((part, _near(part, others)))
    ranks = ranks_of(both.values)
    order = np.lexsort((ranks, both.times, both.steps))  # stable: of two equal points the first is of `part`
    same = equal_next(both.steps[order], both.times[order], ranks[order])
    return order[:-1][same]


def _near(part: Columns, others: Columns) -> Columns:
    """Those of `others` that may be in `part`, by their steps; of one step, by their times.

    A small part is compared with many others in the time of a binary search, not in that of a sort of all.
    """
    if not len(part) or not len(others):
        return others[:0]
    if part.steps[0] == part.steps[-1]:
        others = others.between(int(part.steps[0]), int(part.steps[0]))
        wanted, known = part.times, others.times
    else:
        wanted, known = part.steps, others.steps
    wanted = wanted[np.append(True, wanted[1:] != wanted[:-1])]
    low, high = np.searchsorted(known, wanted, "left"), np.searchsorted(known, wanted, "right")
    counts = high - low
    found = np.arange(counts.sum()) + np.repeat(low - counts.cumsum() + counts, counts)
    return Columns(others.steps[found], others.times[found], others.values[found])


def equal_next(steps: NDArray[np.int64], times: NDArray[np.int64], ranks: NDArray[np.int64]) -> NDArray[np.bool_]:
    """For each point but the last, whether it equals the next one."""
    same: NDArray[np.bool_] = (steps[1:] == steps[:-1]) & (times[1:] == times[:-1]) & (ranks[1:] == ranks[:-1])
    return same


def packed(format: int, count: int, plain: bytes) -> bytes:
    """The bytes of a row: format, number of points, and the columns compressed. ValueError: too many points."""
    if count > _MOST:
        raise ValueError(f"{count} points are too many for a chunk: at most {_MOST}")
    return _HEAD.pack(format, count) + bytes(cramjam.zstd.compress(plain, level=_LEVEL))


def unpacked(data: bytes, format: int, columns: int, kind: str) -> NDArray[np.uint8]:
    """The columns, of 8 bytes a point, that `packed` was given: an array of shape (columns, 8 x points). Raises
    Malformed; `kind` names in it what the bytes should be."""
    if len(data) < _HEAD.size or data[0] != format:
        raise Malformed(f"they do not begin as {kind} do")
    _, count = _HEAD.unpack_from(data)
    if count > _MOST:
        raise Malformed(f"they say that they are {count} points, and a chunk has at most {_MOST}")
    plain = bytearray(count * 8 * columns)
    try:
        written = cramjam.zstd.decompress_into(data[_HEAD.size :], plain)
    except cramjam.DecompressionError as error:
        raise Malformed(f"they can't be unpacked: {error}") from None
    if written != len(plain):
        raise Malformed(f"they are {written} bytes instead of {len(plain)}")
    return np.frombuffer(plain, np.uint8).reshape(columns, count * 8)


def deltas_of(numbers: NDArray[np.int64]) -> bytes:
    """The first number and the deltas (modulo 2^64), bytes transposed: the lowest byte of all numbers, then the next
    byte of all, and so on."""
    differences = np.ascontiguousarray(np.diff(numbers, prepend=np.int64(0)), "<i8")
    return differences.view(np.uint8).reshape(-1, 8).T.tobytes()


def numbers_of(data: NDArray[np.uint8]) -> NDArray[np.int64]:
    """The numbers from which `deltas_of` was made."""
    differences = np.ascontiguousarray(data.reshape(8, -1).T).view("<i8").reshape(-1)
    return np.cumsum(differences)
