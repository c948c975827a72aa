"""Rows as they are now, and again whenever they have changed: what a context's ``Watch...`` query streams.

For tables in which a row belongs to one aggregate: the first column of its key is that aggregate's id, and only the
aggregate's own events change it. `events.queries.watching` tells which rows change; here the tables are looked at where
it can't know. States in between may be skipped. A row that the filters admit no more is told of no more: filter by what
does not change, or tell of every state.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from events.projections.projection import Row, Table
from events.projections.stored import Positions
from events.projections.tables import Db
from events.queries.listing import Filter, acted_on
from events.queries.queries import ReadModel, not_found, read_options
from events.queries.watching import changes, within

FIRST_ROWS = 1_000
"""Rows that a watcher of what is not named is shown at first: those that changed last."""

Wanted = tuple[tuple[str, Any], ...]
"""Of columns: the value, any of a frozenset, or of a jsonb column all of a tuple of keys and values."""


@dataclass(frozen=True, slots=True)
class Matching:
    """Rows whose columns are as wanted. Equal ones are asked once for all their watchers."""

    wanted: Wanted

    def __call__(self, row: Row) -> bool:
        return all(_fits(row[column], value) for column, value in self.wanted)


def _fits(held: Any, wanted: Any) -> bool:
    if isinstance(wanted, frozenset):
        return held in wanted
    if isinstance(wanted, tuple):
        return all(key in held and held[key] == value for key, value in wanted)
    return bool(held == wanted)


def _hashable(value: Any) -> Any:
    if isinstance(value, dict):
        return tuple(sorted(value.items()))
    return frozenset(value) if isinstance(value, list) else value


Asked = Sequence[tuple[Filter, Any]]
"""What a request says, by the filter."""


def _conditions(asked: Asked, first: int) -> list[str]:
    """What `Matching` tells in memory, in SQL; the values are the parameters from number `first` on."""
    return [each.condition(value, first + number) for number, (each, value) in enumerate(asked)]


class RowWatch:
    """The watch of one table. Immutable."""

    def __init__(
        self,
        request: Any,
        context: str,
        table: Table,
        *,
        kind: str,
        changed: str,
        ids: str,
        filters: Mapping[str, str] | None = None,
        own: Collection[str] = (),
    ) -> None:
        """`request`: the message class. It has `options`; each of its other fields is `ids`, or in `filters` or `own`.
        `kind`: what a row is, for people. `changed`: the column with the time of a row's last change.
        `ids`: the field that names aggregates. With any, the filters say nothing.
        `filters`, `own`: as of `Listing`, but a filter is of a column.

        Raises ValueError for a field or a column that there is not, and for a field that nothing acts on.
        """
        filters = filters or {}
        fields = acted_on(request, filters, {*own, ids})
        for column in (*filters.values(), changed):
            if column not in table.columns:
                raise ValueError(f"table {table.name} has no column {column}; watch by one that it has")
        self._context = context
        self._table = table
        self._kind = kind
        self._changed = changed
        self._named_by = ids
        self._filters = [(column, Filter(fields[name], column)) for name, column in filters.items()]
        self._id = table.key[0]
        self._columns = ", ".join(table.columns)

    async def batches(self, read: ReadModel, request: Any) -> AsyncGenerator[Sequence[Any], None]:
        """Rows that have changed together, each in its newest state; first those that there are. Ends with its caller:
        close it (`contextlib.aclosing`).

        Raises QueryError: NOT_FOUND for an aggregate that is named and that there is not, a number that is no value of
        an enum, and what `ReadModel.wait_for` raises.
        """
        ids = list(dict.fromkeys(getattr(request, self._named_by)))
        given = (
            [] if ids else [(*each, value) for each in self._filters if (value := each[1].value(request)) is not None]
        )
        matching = Matching(tuple((column, _hashable(value)) for column, _, value in given))
        asked = [(each, value) for _, each, value in given]
        await read.wait_for(read_options(request.options)["at_least"])

        async def look(since: Positions) -> tuple[Positions, list[Any]]:
            async with read.snapshot() as (db, reached):
                if since and within(since, reached):
                    return reached, await self._between(db, ids, asked, since, reached)
                return reached, await (self._named(db, ids) if ids else self._newest(db, asked))

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

    async def _newest(self, db: Db, asked: Asked) -> list[Any]:
        """The rows that changed last, the newest change at the end."""
        conditions = _conditions(asked, 2)
        where = f"where {' and '.join(conditions)} " if conditions else ""
        rows = await db.fetch(
            f"select {self._columns} from {self._table.name} {where}order by {self._changed} desc limit $1",
            FIRST_ROWS,
            *(value for _, value in asked),
        )
        return rows[::-1]

    async def _between(self, db: Db, ids: list[str], asked: Asked, since: Positions, now: Positions) -> list[Any]:
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
            *_conditions(asked, 6),
        ]
        return await db.fetch(
            f"select {self._columns} from {self._table.name} where {' and '.join(conditions)} order by {self._changed}",
            *columns,
            self._context,
            ids,
            *(value for _, value in asked),
        )
