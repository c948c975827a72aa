"""Rows as they are now, and again whenever they have changed: what a context's ``Watch...`` query streams.

For tables in which a row belongs to one aggregate: the first column of its key is that aggregate's id, and only the
aggregate's own events change it. `events.queries.watching` tells which rows change; here the tables are looked at where
it can't know. States in between may be skipped.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from events.projections.projection import Row, Table
from events.projections.stored import Positions
from events.projections.tables import Db
from events.queries.queries import ReadModel, not_found, read_options
from events.queries.watching import changes, within

FIRST_ROWS = 1_000
"""Rows that a watcher of what is not named is shown at first: those that changed last."""


@dataclass(frozen=True, slots=True)
class Matching:
    """Rows whose columns have these values. Equal ones are asked once for all their watchers."""

    wanted: tuple[tuple[str, Any], ...]

    def __call__(self, row: Row) -> bool:
        return all(row[column] == value for column, value in self.wanted)

    def conditions(self, first: int) -> list[str]:
        """The same in SQL; the values are the parameters from number `first` on."""
        return [f"{column} = ${first + number}" for number, (column, _) in enumerate(self.wanted)]


class RowWatch:
    """The watch of one table. Immutable."""

    def __init__(
        self, context: str, table: Table, *, kind: str, changed: str, filters: Mapping[str, str] | None = None
    ) -> None:
        """`kind`: what a row is, for people. `changed`: the column with the time of a row's last change.
        `filters`: field of the request → the column that is to have its value; any value if the field is empty."""
        self._context = context
        self._table = table
        self._kind = kind
        self._changed = changed
        self._filters = filters or {}
        self._id = table.key[0]
        self._columns = ", ".join(table.columns)

    async def batches(
        self, read: ReadModel, request: Any, ids: Collection[str] = ()
    ) -> AsyncGenerator[Sequence[Any], None]:
        """Rows that have changed together, each in its newest state; first those that there are. Ends with its caller:
        close it (`contextlib.aclosing`).

        `request`: it has `options`, and the fields of the filters. `ids`: only these aggregates, whatever the filters
        say. Raises QueryError: NOT_FOUND for one that there is not, and what `ReadModel.wait_for` raises.
        """
        await read.wait_for(read_options(request.options)["at_least"])
        ids = list(dict.fromkeys(ids))
        fields = {} if ids else self._filters
        matching = Matching(
            tuple((column, value) for name, column in fields.items() if (value := getattr(request, name)))
        )

        async def look(since: Positions) -> tuple[Positions, list[Any]]:
            async with read.snapshot() as (db, reached):
                if since and within(since, reached):
                    return reached, await self._between(db, ids, matching, since, reached)
                return reached, await (self._named(db, ids) if ids else self._newest(db, matching))

        keys = [(id,) for id in ids]
        with read.watching.joined(self._table, keys=keys, matches=None if ids else matching) as watcher:
            async with aclosing(changes(watcher, look)) as changed:
                async for rows in changed:
                    yield rows

    async def _named(self, db: Db, ids: list[str]) -> list[Any]:
        rows = await db.fetch(f"select {self._columns} from {self._table.name} where {self._id} = any($1)", ids)
        if missing := set(ids) - {row[self._id] for row in rows}:
            raise not_found(self._kind, min(missing))
        return rows

    async def _newest(self, db: Db, matching: Matching) -> list[Any]:
        """The rows that changed last, the newest change at the end."""
        conditions = matching.conditions(2)
        where = f"where {' and '.join(conditions)} " if conditions else ""
        rows = await db.fetch(
            f"select {self._columns} from {self._table.name} {where}order by {self._changed} desc limit $1",
            FIRST_ROWS,
            *(value for _, value in matching.wanted),
        )
        return rows[::-1]

    async def _between(self, db: Db, ids: list[str], matching: Matching, since: Positions, now: Positions) -> list[Any]:
        """The rows whose aggregates have events between these positions."""
        spans = [
            (number, since[context, number].offset if (context, number) in since else 0, at.offset)
            for (context, number), at in now.items()
            if context == self._context
        ]
        columns = [list(column) for column in zip(*spans, strict=True)] or [[], [], []]
        conditions = [
            f"{self._id} in (select subject from history h "
            "join unnest($1::int[], $2::bigint[], $3::bigint[]) as s(partition, first, last) "
            "on h.partition = s.partition and h.off >= s.first and h.off < s.last where h.context = $4)",
            "($5::text[] = '{}' or " + f"{self._id} = any($5))",
            *matching.conditions(6),
        ]
        return await db.fetch(
            f"select {self._columns} from {self._table.name} where {' and '.join(conditions)} order by {self._changed}",
            *columns,
            self._context,
            ids,
            *(value for _, value in matching.wanted),
        )
