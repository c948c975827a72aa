"""Checking one partition's hash chain and its signed heads, record by record. No I/O, and bounded memory: neither
records nor heads are kept.

Every problem begins with the offset where it shows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from events.audit.heads import Head
from events.log import chain
from events.log.positions import EpochRule
from events.log.repairs import Repairs
from events.log.wire import HASH, Damage, Raw, without_hash

LOOK_BACK = 200
"""Records read before a saved head, so that the record at its offset can be checked itself."""

MOST_PROBLEMS = 100
"""Problems of a partition that are told one by one; of the others the number is."""


@dataclass(slots=True)
class Verified:
    """What was found of one partition."""

    place: str
    first: int = 0
    """The offset from which on it was checked."""
    records: int = 0
    """Valid records, markers included."""
    void: int = 0
    """Records of writers that had been replaced: not part of the history."""
    heads: int = 0
    """Signed heads that agree."""
    unsigned: int = 0
    """Records at the end that no signed head covers yet."""
    digest: str = ""
    unchecked: str = ""
    """Why its records were not looked at, where they were not and that is no problem; else empty."""
    problems: list[str] = field(default_factory=list)
    more: int = 0
    """Problems that were found besides."""

    @property
    def intact(self) -> bool:
        return not self.problems

    def problem(self, text: str) -> None:
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(text)
        else:
            self.more += 1


class ChainCheck:
    """Fed a partition's records in log order, void ones and `Damage` included; `finish` ends it.

    `heads` are the place's signed heads by offset, None where they can't be checked. With `since`, one of them, what
    lies before it is not checked: records are fed from `position` on, a little before its offset, and the chain goes on
    from the hash of the record there, which must be the head's.
    """

    def __init__(self, place: str, heads: Iterator[Head] | None, repairs: Repairs, since: Head | None = None) -> None:
        first = since.offset if since else 0
        self.found = Verified(place, first)
        self.position = max(0, first - LOOK_BACK)
        """The next offset that is to come."""
        self._heads = heads or iter(())
        self._signs = heads is not None
        self._head = next(self._heads, None)
        self._repairs = repairs
        self._before: list[Raw | bytes] = []
        """Of the records before the head: the markers, and the others' hashes."""
        self._rule: EpochRule | None = None if since else EpochRule(begun=0)
        self._digest = chain.GENESIS
        self._aside: bytes | None = None
        """The digest without what an operator passed over: a writer that took over behind it goes on from there."""
        self._agreed = -1
        """Offset of the newest head that agrees."""
        self._unsigned: tuple[int, int, int] | None = None
        """Of the records behind it: the first one's offset, the oldest and the newest timestamp."""

    def feed(self, raw: Raw) -> None:
        found = self.found
        if raw.offset != self.position:
            found.problem(f"offset {self.position}: records up to {raw.offset - 1} are missing")
            self._missed(raw.offset - 1)
        self._pass_heads(before=raw.offset)
        self.position = raw.last + 1
        if isinstance(raw, Damage):
            found.problem(f"offset {raw.offset}: was changed (up to {raw.last}: {raw.wrong})")
            self._missed(raw.last)
            return
        if self._rule is None and raw.offset < found.first:
            self._before.append(raw if raw.is_marker else raw.get(HASH) or b"")
            return
        if self._rule is None:
            self._begin_at(raw)
        elif not self._rule.admits(raw):
            found.void += 1
            return
        else:
            self._link(raw)
        found.records += 1
        if raw.get(HASH) is not None and not self._repairs.pass_over(raw):
            found.unsigned += 1
            first, oldest, newest = self._unsigned or (raw.offset, raw.timestamp, raw.timestamp)
            self._unsigned = (first, min(oldest, raw.timestamp), max(newest, raw.timestamp))
        self._pass_heads(before=raw.offset + 1, digest=self._digest.hex(), at=raw.offset)

    def finish(self, end: int, unsigned: tuple[int, int] | None = None) -> Verified:
        """`end`: one past the partition's last offset. `unsigned`: the span of time (ms) whose records may be without a
        signed head, both ends included: before it they have one, and a time behind it is no true one (no hash covers
        a record's timestamp). None when that is not asked."""
        found = self.found
        if self.position < end:
            found.problem(f"offset {self.position}: records up to {end - 1} are missing")
        self._pass_heads(before=end)
        self._pass_cut(end)
        if self._signs and unsigned is not None and self._unsigned:
            offset, oldest, newest = self._unsigned
            if oldest < unsigned[0] or newest > unsigned[1]:
                known = f"the newest one is at {self._agreed}" if self._agreed >= 0 else "there is none that agrees"
                found.problem(
                    f"offset {offset}: no signed head covers the {found.unsigned} records from here on ({known}): "
                    f"heads were removed, or not published"
                )
        if found.more:
            found.problems.append(f"and {found.more} more problems in this partition")
        found.digest = self._digest.hex()
        return found

    def _begin_at(self, raw: Raw) -> None:
        """Go on from the record that a saved head names. Its epoch, on which all behind it depends, is believed since
        its hash covers it: with the right hash before it, that is the one which was signed."""
        stored = raw.get(HASH) or b""
        if raw.offset == self.found.first and not any(
            _linked(digest, raw).hex().encode() == stored for digest in self._possible_digests()
        ):
            self.found.problem(f"offset {raw.offset}: was changed (its content does not match its hash)")
        self._before.clear()
        self._rule = EpochRule(raw.epoch, begun=raw.epoch + 1)
        self._digest = _digest_of(stored, self._digest)

    def _possible_digests(self) -> Iterator[bytes]:
        """What the chain may have been before the head's record, the likeliest first: any record's hash, since those of
        replaced writers, and what an operator passed over, are not part of it, with the markers behind it."""
        for index in range(len(self._before) - 1, -1, -1):
            if isinstance(stored := self._before[index], bytes):
                yield self._with_markers(_digest_of(stored, chain.GENESIS), index + 1)
        yield self._with_markers(chain.GENESIS, 0)

    def _with_markers(self, digest: bytes, index: int) -> bytes:
        for raw in self._before[index:]:
            if isinstance(raw, Raw):
                digest = _linked(digest, raw)
        return digest

    def _missed(self, last: int) -> None:
        if self._rule is not None:
            self._rule.missed(last)

    def _link(self, raw: Raw) -> None:
        """Take a valid record into the chain, and compare its hash."""
        if raw.is_marker and raw.key != (own := self.found.place.removeprefix("events.").encode()):
            named = (raw.key or b"").decode(errors="replace")[:100]
            self.found.problem(f"offset {raw.offset}: is of {named!r}: this is not the history of {own.decode()}")
        skipped = self._repairs.cover(raw)
        if skipped and self._aside is None:
            self._aside = self._digest
        computed = _linked(self._digest, raw)
        stored = raw.get(HASH)
        if stored is None and not raw.is_marker:
            self.found.problem(f"offset {raw.offset}: has no hash")
            computed = self._digest
        elif stored is not None and stored != computed.hex().encode():
            without = computed if self._aside is None or skipped else _linked(self._aside, raw)
            if stored != without.hex().encode():
                self.found.problem(f"offset {raw.offset}: was changed (its content does not match its hash)")
            computed = _digest_of(stored, computed)
        if self._aside is not None and not skipped:
            self._aside = _linked(self._aside, raw) if raw.is_marker else None
        self._digest = computed

    def _pass_heads(self, before: int, digest: str = "", at: int = -1) -> None:
        """Compare the heads up to an offset: those at `at` with the digest there; elsewhere is no record of the
        history."""
        while self._head is not None and self._head.offset < before:
            head = self._head
            digests: dict[str, Head] = {}
            while self._head is not None and self._head.offset == head.offset:
                digests.setdefault(self._head.digest, self._head)
                self._head = next(self._heads, None)
            agrees = digests.pop(digest, None) if head.offset == at else None
            for other in digests.values():
                self._told(other, forked=agrees is not None or len(digests) > 1)
            if agrees is not None:
                self.found.heads += 1
                self.found.unsigned, self._unsigned, self._agreed = 0, None, head.offset

    def _told(self, head: Head, *, forked: bool) -> None:
        text = f"offset {head.offset}: the history up to here is not the one that was signed"
        if forked:
            text = f"offset {head.offset}: the log was forked: another history was signed up to here, too"
        if head.saved:
            text += " (a saved head)"
        if self._agreed >= 0:
            text += f"; up to offset {self._agreed} it is: it was written anew between them"
        self.found.problem(text)

    def _pass_cut(self, end: int) -> None:
        """Heads of what is not there."""
        count, last, saved = 0, -1, False
        while self._head is not None:
            count, last, saved = count + 1, max(last, self._head.offset), saved or self._head.saved
            self._head = next(self._heads, None)
        if count == 1:
            self.found.problem(f"offset {end}: the log was cut; a {'saved' if saved else 'signed'} head names {last}")
        elif count:
            self.found.problem(f"offset {end}: the log was cut; {count} signed heads name offsets up to {last}")


def _linked(digest: bytes, raw: Raw) -> bytes:
    return chain.link(digest, raw.key or b"", raw.value or b"", without_hash(raw.headers))


def _digest_of(stored: bytes, computed: bytes) -> bytes:
    """The digest to go on from behind a changed record: the stored one, so that only that record is blamed."""
    try:
        digest = bytes.fromhex(stored.decode())
    except ValueError:
        return computed
    return digest if len(digest) == len(computed) else computed
