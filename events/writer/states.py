"""A partition's states by key: those at work as objects, those at rest packed away, and found when they are asked for.

A context whose aggregates end (a job does) would otherwise hold every one of its history in memory, for the seldom
command that comes after the end. States at rest are packed by the hundred: their dumps as JSON, compressed, beside an
index of eight bytes a state. What is packed is whole: a state that is taken out is the one that was put in.
"""

from __future__ import annotations

import zlib
from array import array
from collections import OrderedDict
from collections.abc import ItemsView, Iterable, Iterator, Sequence, ValuesView
from typing import Any, Generic, TypeVar

import orjson

from events.writer.decider import Decider

S = TypeVar("S")

PACK = 256
"""States of one pack: more compress better, fewer are quicker to open."""

_LOW = 0xFFFFFF
_MASK = 0xFFFFFFFFFFFFFFFF

Pack = tuple[bytes, bytes]
"""Keys and dumps, in the same order: compressed JSON lists."""


class Index:
    """Which packs may hold a key: open addressing, 64 bits an entry: 40 of the key's hash, 24 of the pack's number."""

    __slots__ = ("_count", "_slots")

    def __init__(self) -> None:
        self._slots = array("Q", bytes(8 * 1024))
        self._count = 0

    def add(self, keys: Iterable[str], pack: int) -> None:
        """Note that `pack` holds these keys."""
        for key in keys:
            if self._count * 2 >= len(self._slots):
                self._grow()
            hashed = hash(key) & _MASK
            self._put(hashed & ~_LOW | (pack + 1), hashed)
            self._count += 1

    def find(self, key: str) -> list[int]:
        """Packs that may hold the key, the newest first."""
        slots, hashed = self._slots, hash(key) & _MASK
        mask, high = len(slots) - 1, hashed >> 24
        place, found = hashed >> 24 & mask, []
        while entry := slots[place]:
            if entry >> 24 == high:
                found.append((entry & _LOW) - 1)
            place = place + 1 & mask
        return sorted(found, reverse=True)

    def _put(self, entry: int, hashed: int) -> None:
        slots = self._slots
        mask = len(slots) - 1
        place = hashed >> 24 & mask
        while slots[place]:
            place = place + 1 & mask
        slots[place] = entry

    def _grow(self) -> None:
        old = self._slots
        self._slots = array("Q", bytes(16 * len(old)))
        for entry in old:
            if entry:
                self._put(entry, entry)  # the place depends on the upper bits only


class States(Generic[S]):
    """Like a dict of states; `passivate` marks those that may be packed."""

    __slots__ = ("_decider", "_index", "_live", "_opened", "_passive", "packs")

    def __init__(self, decider: Decider[S]) -> None:
        self._decider = decider
        self._live: dict[str, S] = {}
        self._passive: OrderedDict[str, None] = OrderedDict()
        """Live ones that are at rest, oldest first: they stay a while, since what ends a job is not its last event."""
        self.packs: list[Pack] = []
        self._index = Index()
        self._opened: tuple[int, list[str], list[Any]] | None = None

    def get(self, key: str) -> S | None:
        """The state; one at rest is a copy, which stays at rest until it is set."""
        state = self._live.get(key)
        if state is None and self.packs:
            return self._unpack(key)
        return state

    def __getitem__(self, key: str) -> S:
        state = self.get(key)
        if state is None:
            raise KeyError(key)
        return state

    def __setitem__(self, key: str, state: S) -> None:
        self._live[key] = state

    def __contains__(self, key: str) -> bool:
        return self.get(key) is not None

    def items(self) -> ItemsView[str, S]:
        """Those at work."""
        return self._live.items()

    def values(self) -> ValuesView[S]:
        """Those at work."""
        return self._live.values()

    @property
    def packed(self) -> int:
        """About how many are packed away."""
        return len(self.packs) * PACK

    def passivate(self, key: str, passive: bool) -> None:
        """Note whether a live state is at rest; those that have been longest are packed away when there are enough."""
        if not passive:
            self._passive.pop(key, None)
            return
        self._passive[key] = None
        if len(self._passive) >= 2 * PACK:
            self._pack([self._passive.popitem(last=False)[0] for _ in range(PACK)])

    def _pack(self, keys: Sequence[str]) -> None:
        dumps = [self._decider.dump(self._live.pop(key)) for key in keys]
        self.add_packs([(_compressed(keys), _compressed(dumps))])

    def add_packs(self, packs: Iterable[Pack]) -> None:
        """Packs as `packs` has them, of a snapshot."""
        for pack in packs:
            self._index.add(orjson.loads(zlib.decompress(pack[0])), len(self.packs))
            self.packs.append(pack)

    def _unpack(self, key: str) -> S | None:
        for number in self._index.find(key):
            if self._opened is None or self._opened[0] != number:
                keys, dumps = self.packs[number]
                names = orjson.loads(zlib.decompress(keys))
                if key not in names:
                    continue  # another key of the same hash
                self._opened = number, names, orjson.loads(zlib.decompress(dumps))
            _, names, states = self._opened
            if key in names:
                return self._decider.load(key, states[names.index(key)])
        return None


def _compressed(data: Any) -> bytes:
    return zlib.compress(orjson.dumps(data), 6)


def joined(packs: Sequence[Pack]) -> Iterator[bytes]:
    """Packs as bytes to put one after the other."""
    for part in (part for pack in packs for part in pack):
        yield len(part).to_bytes(4, "big")
        yield part


def split(data: memoryview) -> Iterator[Pack]:
    """What `joined` gave."""
    place, parts = 0, []
    while place < len(data):
        length = int.from_bytes(data[place : place + 4], "big")
        parts.append(bytes(data[place + 4 : place + 4 + length]))
        place += 4 + length
    yield from zip(parts[::2], parts[1::2], strict=True)
