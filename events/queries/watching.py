"""Tells those who watch a context's tables which rows a batch has changed, without a query.

A process that stores a batch has its rows in memory, so watchers take them from there. A watcher is woken by rows that
it watches alone; an idle platform asks the database nothing, however many watch. The newest batches are kept for all
watchers together. A watcher looks at the tables itself: at its beginning, when another process has stored (this
runner then knows no rows), and when it was so slow that what it has missed is not kept any more.

What a watcher takes is put together of all batches that it has missed: of each row the newest state only.
(`Watching` is also where a live fold in memory could feed watchers before anything is stored.)
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

from events.projections.projection import Key, Row, Table
from events.projections.stored import Positions, Stored
from events.projections.tables import HISTORY

KEPT_ROWS = 5_000
"""Rows of the newest batches that are kept for those who have not taken them yet; the newest batch at least."""

Matches = Callable[[Row], bool]
"""Which rows a watcher wants. Equal ones are asked once for all their watchers."""


class _Batch:
    """The rows of a batch that somebody watches."""

    __slots__ = ("after", "before", "found", "size", "tables")

    def __init__(self, before: Positions, after: Positions, tables: Mapping[str, Mapping[Key, Row]]) -> None:
        self.before = before
        self.after = after
        self.tables = tables
        self.size = sum(map(len, tables.values()))
        self.found: dict[tuple[str, Matches], dict[Key, Row]] = {}

    def matching(self, table: str, matches: Matches) -> Mapping[Key, Row]:
        found = self.found.get((table, matches))
        if found is None:
            rows = self.tables.get(table, {})
            found = self.found[table, matches] = {key: row for key, row in rows.items() if matches(row)}
        return found


class Watcher:
    """What one watcher is yet to be told. Made by `Watching.joined`."""

    def __init__(self, watching: Watching, table: Table, keys: frozenset[Key], matches: Matches | None) -> None:
        self.table = table
        self.keys = keys
        self.matches = matches
        self.reached: Positions = {}
        """All that concerns it was told up to here. Nothing yet if empty."""
        self._watching = watching
        self._news = asyncio.Event()
        self._news.set()
        self._looks = True
        self._behind: int | None = None
        """The first batch that concerns it and was not taken."""

    def take(self) -> list[Row] | None:
        """The rows that have changed, each in its newest state, oldest change first.

        None: not all of them are known. Look at the tables, for what has changed since `reached`, and say `looked`.
        """
        self._news.clear()
        if self._looks or (self._behind is not None and self._behind < self._watching.first):
            self._looks, self._behind = False, None
            return None
        found: dict[Key, Row] = {}
        if self._behind is not None:
            for batch in self._watching.since(self._behind):
                for key, row in self._rows(batch).items():
                    found.pop(key, None)
                    found[key] = row
            self._behind = None
            self.reached = self._watching.reached
        return list(found.values())

    def looked(self, reached: Positions) -> None:
        """The tables were looked at as they were at these positions."""
        self.reached = reached
        if self._behind is not None and self._behind >= self._watching.first:
            kept = enumerate(self._watching.since(self._behind), self._behind)
            self._behind = next((number for number, batch in kept if not within(batch.after, reached)), None)

    async def news(self, timeout: float | None = None) -> None:
        """Wait until there is something to take, at most so many seconds."""
        if timeout is None:
            await self._news.wait()
            return
        try:
            async with asyncio.timeout(timeout):
                await self._news.wait()
        except TimeoutError:
            return

    def _rows(self, batch: _Batch) -> Mapping[Key, Row]:
        if self.matches is not None:
            return batch.matching(self.table.name, self.matches)
        rows = batch.tables.get(self.table.name, {})
        if len(self.keys) < len(rows):
            return {key: rows[key] for key in self.keys if key in rows}
        return {key: row for key, row in rows.items() if key in self.keys}

    # What `Watching` says

    def concerns(self, number: int, batch: _Batch) -> None:
        if self._behind is None and not self._looks and not within(batch.after, self.reached):
            self.reached = batch.before
            self._behind = number
        self._news.set()

    def lost(self, reached: Positions) -> None:
        """Somebody else has stored since these positions."""
        if not self._looks:
            if self._behind is None and within(self.reached, reached):
                self.reached = reached
            self._looks, self._behind = True, None
        self._news.set()


class Watching:
    """The watchers of a context's tables. One per `ReadModel`; a `Listener` of its runner."""

    def __init__(self) -> None:
        self.reached: Positions = {}
        """How far the runner has told of the tables."""
        self.first = 0
        """The number of the oldest batch that is kept."""
        self._kept: deque[_Batch] = deque()
        self._size = 0
        self._watchers: dict[str, set[Watcher]] = {}
        self._by_key: dict[tuple[str, Key], set[Watcher]] = {}
        self._by_match: dict[str, dict[Matches, set[Watcher]]] = {}

    @contextmanager
    def joined(self, table: Table, *, keys: Collection[Key] = (), matches: Matches | None = None) -> Iterator[Watcher]:
        """A watcher of the rows with these keys, or else of those that match. `HISTORY` is a table, too.

        It first has to look at the tables itself.
        """
        if not keys and matches is None:
            matches = _every
        watcher = Watcher(self, table, frozenset(keys), matches)
        self._watchers.setdefault(table.name, set()).add(watcher)
        if matches is not None:
            self._by_match.setdefault(table.name, {}).setdefault(matches, set()).add(watcher)
        for key in watcher.keys:
            self._by_key.setdefault((table.name, key), set()).add(watcher)
        try:
            yield watcher
        finally:
            self._leave(watcher)

    def _leave(self, watcher: Watcher) -> None:
        name = watcher.table.name
        if watcher.matches is not None:
            _drop(self._by_match[name], watcher.matches, watcher)
        for key in watcher.keys:
            _drop(self._by_key, (name, key), watcher)
        _drop(self._watchers, name, watcher)
        if not self._watchers:
            self._forget()

    def since(self, number: int) -> Iterator[_Batch]:
        """The kept batches, from that one on."""
        return islice(self._kept, max(0, number - self.first), None)

    # What the runner says

    def stored(self, batch: Stored) -> None:
        self.reached = batch.after
        watched = {
            table.name: rows
            for table, held in batch.written
            if table.name in self._watchers
            and (rows := {key: each.row for key, each in held.items() if each.row is not None})
        }
        if HISTORY.name in self._watchers and batch.history:
            events = (dict(zip(HISTORY.columns, row, strict=True)) for row in batch.history)
            watched[HISTORY.name] = {HISTORY.key_of(row): row for row in events}
        if not watched:
            return
        kept = _Batch(batch.before, batch.after, watched)
        self._keep(kept)
        number = self.first + len(self._kept) - 1
        for watcher in self._concerned(kept):
            watcher.concerns(number, kept)

    def unknown(self) -> None:
        self._forget()
        for watchers in self._watchers.values():
            for watcher in watchers:
                watcher.lost(self.reached)

    def _concerned(self, batch: _Batch) -> Iterator[Watcher]:
        for name, rows in batch.tables.items():
            for matches, watchers in self._by_match.get(name, {}).items():
                if batch.matching(name, matches):
                    yield from watchers
            if self._by_key:
                for key in rows:
                    yield from self._by_key.get((name, key), ())

    def _keep(self, batch: _Batch) -> None:
        self._kept.append(batch)
        self._size += batch.size
        while self._size > KEPT_ROWS and len(self._kept) > 1:
            self._size -= self._kept.popleft().size
            self.first += 1

    def _forget(self) -> None:
        self.first += len(self._kept)
        self._kept.clear()
        self._size = 0


Look = Callable[[Positions], Awaitable[tuple[Positions, Sequence[Row]]]]
"""Rows that have changed since these positions (as a watch begins with, where there are none), and the positions at
which the tables were looked at, in one snapshot."""


async def changes(watcher: Watcher, look: Look) -> AsyncGenerator[Sequence[Row], None]:
    """The rows that a watcher watches: as `look` finds them, then those that change. Has no end."""
    while True:
        rows: Sequence[Row] | None = watcher.take()
        if rows is None:
            reached, rows = await look(watcher.reached)
            watcher.looked(reached)
            yield rows
        elif rows:
            yield rows
        else:
            await watcher.news()


def within(these: Positions, those: Positions) -> bool:
    """Whether tables at those positions hold all that tables at these do."""
    return all(place in those and at.offset <= those[place].offset for place, at in these.items())


def _drop(index: dict[Any, set[Watcher]], name: Any, watcher: Watcher) -> None:
    watchers = index[name]
    watchers.discard(watcher)
    if not watchers:
        del index[name]


def _every(_row: Row) -> bool:
    return True
