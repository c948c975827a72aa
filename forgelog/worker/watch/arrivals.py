"""Which files of a list have arrived. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from events.language.pipelines.arrivals import ArrivedFile, identity_of

FORGET_FROM = 10_000
"""Identities from which on those of files that are gone are forgotten. Before, they are kept: a folder that is not
mounted for a while looks empty, and its files would arrive again."""


class Listed(NamedTuple):
    """A file of a list."""

    file: ArrivedFile
    modified: float
    """When it was written, in seconds since 1970."""


class Found(NamedTuple):
    """What a look has found."""

    arrived: list[ArrivedFile]
    existing: list[str]
    """Identities of files that were there before."""
    gone: list[str]
    next_after: float | None
    """Seconds until a file may have settled that has not yet; None: none waits for that."""


class Arrivals:
    """The files of a path, from look to look."""

    def __init__(
        self, known: Iterable[str], settle: float, existing_before: float | None, *, looked: bool = False
    ) -> None:
        """`known`: identities that were told before. `settle`: seconds for which a file must not have changed.
        `existing_before`: a file that was written before then, as the first look finds it, does not count as arrived;
        None: all do. `looked`: whether the first look was made."""
        self.looked = looked
        self._known = set(known)
        self._settle, self._existing_before = settle, existing_before
        self._candidates: dict[str, tuple[str, float]] = {}
        """URL → its identity, and since when it has that."""

    def look(self, files: Iterable[Listed], now: float) -> Found:
        """What is new in a list of all files at `now`, on any clock."""
        found = Found([], [], [], None)
        seen: set[str] = set()
        candidates: dict[str, tuple[str, float]] = {}
        waits: list[float] = []
        for each in files:
            identity = identity_of(each.file)
            seen.add(identity)
            if identity in self._known:
                continue
            if self._existing_before is not None and each.modified < self._existing_before:
                found.existing.append(identity)
                continue
            before, since = self._candidates.get(each.file.url, ("", now))
            if before != identity:
                since = now
            if now - since >= self._settle:
                found.arrived.append(each.file)
            else:
                candidates[each.file.url] = (identity, since)
                waits.append(since + self._settle - now)
        self._candidates, self._existing_before, self.looked = candidates, None, True
        self._known.update(found.existing, map(identity_of, found.arrived))
        if len(self._known) > FORGET_FROM:
            found.gone.extend(sorted(self._known - seen))
            self._known &= seen
        return found._replace(next_after=min(waits, default=None))
