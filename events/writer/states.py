"""A partition's states by key: live ones as objects, states at rest compressed in packs.

A context whose aggregates end (jobs do) would otherwise hold every aggregate of its history in memory, for the rare
command that comes after the end. States at rest are packed by the hundred: their dumps as compressed JSON, with an
index of eight bytes for each state. A state that is unpacked equals the one that was packed.

Each state has the provenance of its aggregates (`events.writer.provenance`): its own and, for a state that decides for
others (a pool for its allocations), theirs, as long as the decider `holds` them.
"""

from __future__ import annotations

import logging
import zlib
from array import array
from collections import OrderedDict
from collections.abc import ItemsView, Iterable, Iterator, Sequence, ValuesView
from typing import Any, Generic, TypeVar

import orjson

from events.writer.decider import Decider
from events.writer.provenance import Provenance, Subject
from events.writer.stops import MOST_CAUSE

S = TypeVar("S")

log = logging.getLogger("forgelog.writer")

PACK = 256
"""States in one pack: more compress better, fewer unpack faster."""

LEAST_OTHERS = 256
"""Provenances of other aggregates beyond which `sweep` is due."""

_LOW = 0xFFFFFF
_MASK = 0xFFFFFFFFFFFFFFFF

Pack = tuple[bytes, bytes]
"""Keys, and the provenance and dump of each, in the same order: compressed JSON lists."""


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

    __slots__ = (
        "_absent",
        "_decider",
        "_index",
        "_live",
        "_most_others",
        "_opened",
        "_other_count",
        "_passive",
        "others",
        "own",
        "packs",
        "trouble",
    )

    def __init__(self, decider: Decider[S]) -> None:
        self._decider = decider
        self._live: dict[str, S] = {}
        self._passive: OrderedDict[str, None] = OrderedDict()
        """Live states at rest, oldest first. They stay live for a while: the event that ends a job is not its last."""
        self.packs: list[Pack] = []
        self._index = Index()
        self._opened: tuple[int, list[str], list[Any]] | None = None
        self._absent = ""
        """Cache: a key that is in no pack. A new key is looked up several times."""
        self.own: dict[str, Provenance] = {}
        """Key → provenance of the state's own aggregate."""
        self.others: dict[str, dict[Subject, Provenance]] = {}
        """Key → provenance of the other aggregates that the state holds."""
        self._other_count = 0
        """An upper bound of the number of entries in `_others`."""
        self._most_others = LEAST_OTHERS
        self.trouble = ""
        """The state that could not be packed, and why; empty if the last one could."""

    def get(self, key: str) -> S | None:
        """The state of a key. A packed one is returned as a copy and stays packed until it is set."""
        state = self._live.get(key)
        if state is None and self.packs and (entry := self._entry(key)) is not None:
            return self._decider.load(key, entry[1])
        return state

    def take(self, key: str) -> S | None:
        """The state of a key. A packed one becomes live."""
        state = self._live.get(key)
        if state is None and self.packs and (entry := self._entry(key)) is not None:
            self.restore(key, entry[0])
            self._live[key] = state = self._decider.load(key, entry[1])
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
        """About how many states are packed."""
        return len(self.packs) * PACK

    def passivate(self, key: str, passive: bool) -> None:
        """Note whether a live state is at rest. When enough are, those that have been longest are packed."""
        if not passive:
            self._passive.pop(key, None)
            return
        self._passive[key] = None
        if len(self._passive) >= 2 * PACK:
            self._pack([self._passive.popitem(last=False)[0] for _ in range(PACK)])

    # Provenance

    def provenance(self, key: str, other: Subject | None = None) -> Provenance | None:
        """The provenance of the state's own aggregate, or of another one that the state holds.

        None if it is unknown, or if the state does not hold the other aggregate (any more), even before `sweep`.
        """
        state = self._live.get(key)
        if state is None and self.packs and (entry := self._entry(key)) is not None:
            own, *others = entry[0]
            if other is None:
                return Provenance(*own) if own is not None else None
            return next((Provenance(*rest) for kind, id, *rest in others if (kind, id) == other), None)
        if other is None:
            return self.own.get(key)
        found = self.others.get(key, _NONE).get(other)
        return found if found is not None and state is not None and self._decider.holds(state, *other) else None

    def restored(self, key: str) -> bool:
        """Make a packed state live. Returns whether its own provenance is known."""
        return bool(self.packs) and self.take(key) is not None and key in self.own

    def begin(self, key: str, other: Subject | None, provenance: Provenance) -> None:
        """Note that an aggregate begins. If one of that id was known, its provenance is replaced."""
        if self.packs:
            self.take(key)  # else unpacking it later would bring the old provenance back
        self.note(key, other, provenance)

    def note(self, key: str, other: Subject | None, provenance: Provenance) -> None:
        """Set the provenance of the state's own aggregate, or of another one that the state holds."""
        if other is None:
            self.own[key] = provenance
            return
        others = self.others.get(key)
        if others is None:
            self.others[key] = others = {}
        others[other] = provenance
        self._other_count += 1

    @property
    def crowded(self) -> bool:
        """Whether `sweep` is due. Its cost grows with the number of provenances of other aggregates."""
        return self._other_count > self._most_others

    def sweep(self) -> None:
        """Forget the provenance of aggregates that their states do not hold any more."""
        holds = self._decider.holds
        for key, others in list(self.others.items()):
            state = self._live.get(key)
            if state is not None and (kept := {each: one for each, one in others.items() if holds(state, *each)}):
                self.others[key] = kept
            else:
                del self.others[key]
        self._other_count = sum(map(len, self.others.values()))
        self._most_others = max(LEAST_OTHERS, 2 * self._other_count)

    def provenances(self, key: str) -> list[Any]:
        """The provenances of a live state, as plain data: its own (or None), then those of others that it holds."""
        own, others, holds = self.own.get(key), self.others.get(key, _NONE), self._decider.holds
        state = self._live[key]
        return [own and list(own), *([*each, *found] for each, found in others.items() if holds(state, *each))]

    def restore(self, key: str, provenances: Sequence[Any]) -> None:
        """What `provenances` gave."""
        own, *others = provenances
        if own is not None:
            self.own[key] = Provenance(*own)
        for kind, id, *found in others:
            self.note(key, (kind, id), Provenance(*found))

    # Packs

    def _pack(self, keys: Sequence[str]) -> None:
        try:
            entries = _compressed([self._whole(key) for key in keys])
        except Exception:  # noqa: BLE001 - any error of `dump`; the code below finds the state
            keys = [key for key in keys if self._can_be_packed(key)]
            entries = _compressed([self._whole(key) for key in keys])
        else:
            self.trouble = ""
        for key in keys:
            del self._live[key]
            self.own.pop(key, None)
            self.others.pop(key, None)
        if keys:
            self.add_packs([(_compressed(keys), entries)])

    def _whole(self, key: str) -> list[Any]:
        return [self.provenances(key), self._decider.dump(self._live[key])]

    def _can_be_packed(self, key: str) -> bool:
        """Whether a state can be dumped. One that can't stays live until it changes."""
        try:
            orjson.dumps(self._whole(key))
        except Exception as error:
            kind = self._decider.aggregate
            self.trouble = f"the state of {kind} {key} can't be packed: {type(error).__name__}: {error}"[:MOST_CAUSE]
            log.error("%s", self.trouble, exc_info=error)
            return False
        return True

    def add_packs(self, packs: Iterable[Pack]) -> None:
        """Add the packs of a snapshot."""
        for pack in packs:
            self._index.add(orjson.loads(zlib.decompress(pack[0])), len(self.packs))
            self.packs.append(pack)
        self._absent = ""

    def _entry(self, key: str) -> list[Any] | None:
        """The newest provenance and dump of a packed state."""
        if key == self._absent:
            return None
        for number in self._index.find(key):
            if self._opened is None or self._opened[0] != number:
                keys, dumps = self.packs[number]
                names = orjson.loads(zlib.decompress(keys))
                if key not in names:
                    continue  # another key of the same hash
                self._opened = number, names, orjson.loads(zlib.decompress(dumps))
            _, names, entries = self._opened
            if key in names:
                entry: list[Any] = entries[names.index(key)]
                return entry
        self._absent = key
        return None


_NONE: dict[Subject, Provenance] = {}


def _compressed(data: Any) -> bytes:
    return zlib.compress(orjson.dumps(data), 6)


def joined(packs: Sequence[Pack]) -> Iterator[bytes]:
    """The packs as bytes, to be concatenated."""
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
