"""The dedup window: the commands that a partition has decided. A repeat yields the first outcome. No I/O, no clock.

The newest commands are kept whole. Other young commands are kept as hashes: a client that lost its connection repeats
its commands within minutes, and many others may have come in between. The age of a command is measured by the
partition's own event times, not by a clock: while nothing is decided, nothing is forgotten.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from zlib import crc32

from blake3 import blake3

from events.process import metrics

NEWEST = 100_000
"""Commands per partition that are kept whole."""

YOUNG_SECONDS = 600
"""Age up to which commands are kept as hashes."""

OLD_SECONDS = 7 * 24 * 3600
"""Age from which commands are forgotten, even the newest."""

MOST_HASHED = 4_000_000
"""Most commands per partition that are kept as hashes. Beyond that the oldest are forgotten, which a metric counts."""

_TABLES = 256
_LEAST = 48
"""Slots of a table at first."""

Pack = tuple[bytes, bytes]
"""Two pieces of a snapshot."""


class First(NamedTuple):
    """What the window knows of a command that was decided before."""

    same: bool
    """Whether its body had the same digest."""
    offset: int
    """Offset of its first event; -1 until that is appended."""


class Dedup:
    """The commands of one partition: id (see `command_key`), digest of the body, offset of the first event, time."""

    __slots__ = ("_moment", "_newest", "_second", "hashed")

    def __init__(self, context: str = "") -> None:
        """`context`: a label of the metric of commands that were forgotten early."""
        self._newest: OrderedDict[str, tuple[str, int, int]] = OrderedDict()
        """Command → digest, offset, second."""
        self.hashed = Hashed(context)
        self._moment: datetime | None = None
        self._second = 0

    def __len__(self) -> int:
        return len(self._newest) + len(self.hashed)

    def find(self, command: str, digest: str, now: datetime) -> First | None:
        """The earlier command of this id; None if there was none, or if it is forgotten."""
        second = self._at(now)
        found = self._newest.get(command)
        if found is not None:
            return First(found[0] == digest, found[1]) if second - found[2] <= OLD_SECONDS else None
        return self.hashed.find(command, digest, second - YOUNG_SECONDS) if self.hashed else None

    def remember(self, command: str, digest: str, offset: int, now: datetime) -> None:
        """Note a command that was decided at `now`, if its id is not known. `offset`: -1 when it is not in the log."""
        newest, second = self._newest, self._at(now)
        known = newest.get(command)
        if known is not None:
            if second - known[2] <= OLD_SECONDS:
                return
            del newest[command]  # its id was forgotten
        elif self.hashed and self.hashed.find(command, digest, second - YOUNG_SECONDS):
            return
        newest[command] = (digest, offset, second)
        if len(newest) > NEWEST:
            first, (body, at, then) = newest.popitem(last=False)
            if then >= second - YOUNG_SECONDS and at >= 0:
                self.hashed.add(first, body, at, then)

    def appended(self, command: str, offset: int) -> None:
        """The first event of a command is in the log."""
        found = self._newest.get(command)
        if found is not None and found[1] < 0:
            self._newest[command] = (found[0], offset, found[2])

    def _at(self, now: datetime) -> int:
        if now is not self._moment:  # the commands of a batch have one time
            self._moment, self._second = now, int(now.timestamp())
        return self._second

    # For snapshots

    def newest(self) -> list[Sequence[Any]]:
        """The newest as plain data."""
        return [(command, *rest) for command, rest in self._newest.items()]

    def restore(self, newest: Iterable[Sequence[Any]], hashed: Sequence[Pack]) -> None:
        """Load what `newest` and `Hashed.packs` returned. Raises ValueError if it is damaged."""
        self._newest = OrderedDict((command, (digest, at, then)) for command, digest, at, then in newest)
        self.hashed.restore(hashed)


class Hashed:
    """Commands as 64 bits of the hash of their id and 32 of their body's: 20 bytes each, in tables that are half full.

    Open addressing in many small tables, so that none takes long to grow. Commands are forgotten second by second: an
    offset below that of the first second kept counts as forgotten, and leaves its table when the table is rebuilt.
    """

    __slots__ = ("_context", "_count", "_floor", "_last", "_seconds", "_tables")

    def __init__(self, context: str = "") -> None:
        self._context = context
        self._tables: dict[int, _Table] = {}
        self._seconds: deque[list[int]] = deque()
        """Second, first offset and number of commands, in order. A second with very many commands has several entries,
        so that a part of them can be forgotten."""
        self._floor = 0
        """The first offset that is not forgotten."""
        self._count = 0
        self._last = ("", 0)
        """Cache: the command that was looked up last, and its hash. A new command is looked up twice."""

    def __len__(self) -> int:
        return self._count

    def find(self, command: str, digest: str, young: int) -> First | None:
        """As `Dedup.find`, for commands of the second `young` or later."""
        while self._seconds and self._seconds[0][0] < young:
            self._forget_second()
        hashed = self._hash(command)
        table = self._tables.get(hashed % _TABLES)
        found = table.find(hashed) if table is not None else None
        return First(found[0] == _short(digest), found[1]) if found is not None and found[1] >= self._floor else None

    def add(self, command: str, digest: str, offset: int, second: int) -> None:
        """Note a command. Offset and second must not be lower than those of the one before."""
        last = self._seconds[-1] if self._seconds else None
        if last is None or last[0] != second or last[2] >= MOST_HASHED // _TABLES:
            self._seconds.append([second, offset, 0])
            self._floor = self._seconds[0][1]
        self._seconds[-1][2] += 1
        self._count += 1
        hashed = self._hash(command)
        table = self._tables.get(hashed % _TABLES)
        if table is None or table.full:
            table = self._tables[hashed % _TABLES] = _Table.of(table.entries(self._floor) if table is not None else [])
        table.put(hashed, _short(digest), offset)
        while self._count > MOST_HASHED:
            metrics.dedup_forgotten.labels(self._context).inc(self._forget_second())

    def _forget_second(self) -> int:
        """Forget the oldest second, or part of it. Returns the number of its commands."""
        count = self._seconds.popleft()[2]
        self._count -= count
        if self._seconds:
            self._floor = self._seconds[0][1]
        else:
            self._tables.clear()
        return count

    def _hash(self, command: str) -> int:
        """64 bits, never 0; the same in every process."""
        if self._last[0] != command:
            self._last = command, int.from_bytes(blake3(command.encode()).digest(8)) or 1
        return self._last[1]

    def packs(self) -> list[Pack]:
        """All of it, for `restore`."""
        if not self._seconds:
            return []
        seconds = array("Q", (number for each in self._seconds for number in each))
        return [(seconds.tobytes(), b""), *(table.pack() for table in self._tables.values())]

    def restore(self, packs: Sequence[Pack]) -> None:
        """Load what `packs` returned. Raises ValueError if it is damaged."""
        if not packs:
            return
        flat = array("Q", packs[0][0])
        self._seconds.extend(list(flat[place : place + 3]) for place in range(0, len(flat), 3))
        self._count, self._floor = sum(flat[2::3]), flat[1]
        for pack in packs[1:]:
            table = _Table.restored(pack)
            self._tables[next(iter(table.entries(0)))[0] % _TABLES] = table


class _Table:
    """Hash, digest and offset of commands, in at most two thirds of its slots."""

    __slots__ = ("_digests", "_hashes", "_left", "_offsets")

    def __init__(self, hashes: array[int], digests: array[int], offsets: array[int]) -> None:
        self._hashes, self._digests, self._offsets = hashes, digests, offsets
        """A hash of 0 is a free slot."""
        self._left = hashes.count(0) - len(hashes) // 3
        """How many more commands fit."""

    @classmethod
    def of(cls, entries: Sequence[tuple[int, int, int]]) -> _Table:
        """A table with these entries and room for a third more."""
        slots = max(_LEAST, len(entries) * 2)
        table = cls(array("Q", bytes(8 * slots)), array("I", bytes(4 * slots)), array("Q", bytes(8 * slots)))
        for entry in entries:
            table.put(*entry)
        return table

    @property
    def full(self) -> bool:
        """Whether no more commands fit."""
        return self._left <= 0

    def put(self, hashed: int, digest: int, offset: int) -> None:
        """Note a command; it replaces one of the same hash."""
        hashes = self._hashes
        slots = len(hashes)
        place = (hashed >> 8) % slots
        while hashes[place] and hashes[place] != hashed:
            place = place + 1 if place + 1 < slots else 0
        self._left -= not hashes[place]
        hashes[place], self._digests[place], self._offsets[place] = hashed, digest, offset

    def find(self, hashed: int) -> tuple[int, int] | None:
        """Digest and offset."""
        hashes = self._hashes
        slots = len(hashes)
        place = (hashed >> 8) % slots
        while (there := hashes[place]) != hashed:
            if not there:
                return None
            place = place + 1 if place + 1 < slots else 0
        return self._digests[place], self._offsets[place]

    def entries(self, floor: int) -> list[tuple[int, int, int]]:
        """The entries from the offset `floor` on."""
        all_ = zip(self._hashes, self._digests, self._offsets, strict=True)
        return [entry for entry in all_ if entry[0] and entry[2] >= floor]

    def pack(self) -> Pack:
        """For `restored`."""
        return self._hashes.tobytes(), self._digests.tobytes() + self._offsets.tobytes()

    @classmethod
    def restored(cls, pack: Pack) -> _Table:
        """The table that `pack` returned. Raises ValueError if it is damaged."""
        hashes, cut = array("Q", pack[0]), len(pack[0]) // 2
        table = cls(hashes, array("I", pack[1][:cut]), array("Q", pack[1][cut:]))
        if not len(hashes) == len(table._digests) == len(table._offsets):
            raise ValueError("a table of commands in the snapshot is damaged")
        return table


def _short(digest: str) -> int:
    """32 bits of a body's digest: of its hex digits, or of the mark of a log in another format."""
    return crc32(digest.encode())
