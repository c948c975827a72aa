"""Pages of the `history` table: an aggregate's events, a flow's, or those that filters let through, oldest first.

A page costs as much as it looks at, however long the history is: it follows the index of what narrows most (the
subject, the flow, actors, types, else the time), and looks at `MOST_LOOKED_AT` events at most. What the other filters
leave of these may be few or none; the cursor says where the next page goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple

import asyncpg
import grpc
from pydantic import TypeAdapter, ValidationError

from events.language.bounds import MAX_ATTRIBUTE_BYTES
from events.language.common import ProjectName, shown
from events.language.problems import event_types_named
from events.language.registry import aggregates_of, events_about
from events.projections.projection import Row
from events.projections.tables import Db
from events.queries.listing import INT4, INT8, MAX_PAGE, Keys
from events.queries.queries import QueryError

COLUMNS = (
    "context, partition, off, aggregate, subject, id, type, time, project, actor, correlation, causation, cause, "
    "origin, data"
)

MOST_LOOKED_AT = 2 * MAX_PAGE
"""Events that a page looks at, at most."""

CURSOR: Keys = {"t": datetime, "p": INT4, "o": INT8}
"""Of the order: time, partition, offset."""

_BY_TIME = frozenset({"actor", "type"})
"""Columns that have an index with the time behind them."""

_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


class Place(NamedTuple):
    """Where a page ends: behind which event the next one begins."""

    time: datetime
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Filters:
    """Which events are wanted: those that fit all that is given. `since` is included, `until` is not."""

    actors: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    """Full names."""
    projects: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    aggregate: str = ""
    """About aggregates of this kind; of any kind if empty."""
    by_itself: bool = False
    """What the platform did by itself: events that follow from no command and no other event."""

    @classmethod
    def of(cls, request: Any, context: str) -> Filters:
        """Of a request's fields of these names, to that context.

        Raises QueryError that names the field, the problem and what to do.
        """
        since, until = _moment(request, "since"), _moment(request, "until")
        if since and until and since >= until:
            raise _wrong("until", f"{until:%Y-%m-%dT%H:%M:%SZ} is not after since; give a later time")
        named = partial(event_types_named, contexts=(context,))
        return cls(
            _each("actors", request.actors, _actor),
            tuple(full for names in _each("types", request.types, named) for full in names),
            _each("projects", request.projects, _project),
            since,
            until,
            _kind(request.aggregate, context),
            request.by_itself,
        )


@dataclass(frozen=True, slots=True)
class Wanted:
    """A context's events that fit the filters and have one of the subjects (any if empty), as a condition on a row of
    `history` in memory. `span` is the same in SQL."""

    context: str
    filters: Filters
    subjects: frozenset[str] = frozenset()

    def __call__(self, row: Row) -> bool:
        filters = self.filters
        return (
            row["context"] == self.context
            and (not self.subjects or row["subject"] in self.subjects)
            and (not filters.types or row["type"] in filters.types)
            and (not filters.actors or row["actor"] in filters.actors)
            and (not filters.projects or row["project"] in filters.projects)
            and (not filters.aggregate or row["aggregate"] == filters.aggregate)
            and (not filters.by_itself or row["cause"] == "")
            and (filters.since is None or row["time"] >= filters.since)
            and (filters.until is None or row["time"] < filters.until)
        )


def _kind(name: str, context: str) -> str:
    if name and name not in (kinds := aggregates_of(context)):
        raise _wrong("aggregate", f"{shown(name)} is no kind of aggregate of {context}; write {' or '.join(kinds)}")
    return name


def _actor(name: str) -> str:
    if not name:
        raise ValueError("is empty; name an actor, or leave it out")
    if len(name.encode()) > MAX_ATTRIBUTE_BYTES:
        raise ValueError(f"is longer than an actor's name, which has at most {MAX_ATTRIBUTE_BYTES} bytes")
    return name


_PROJECT: TypeAdapter[str] = TypeAdapter(ProjectName)


def _project(name: str) -> str:
    try:
        return _PROJECT.validate_python(name)
    except ValidationError:
        raise ValueError(f"{shown(name)} is no project; write organization/project, such as local/default") from None


def _each(field: str, values: Sequence[str], read: Any) -> tuple[Any, ...]:
    found = []
    for index, value in enumerate(values):
        try:
            found.append(read(value))
        except ValueError as error:
            raise _wrong(f"{field}[{index}]", str(error)) from None
    return tuple(found)


def _moment(request: Any, field: str) -> datetime | None:
    moment: datetime | None = getattr(request, field).ToDatetime(tzinfo=UTC) if request.HasField(field) else None
    return moment


def _wrong(field: str, problem: str) -> QueryError:
    return QueryError(grpc.StatusCode.INVALID_ARGUMENT, f"{field}: {problem}")


class _Sql:
    """A statement's parameters, by number."""

    def __init__(self) -> None:
        self.arguments: list[Any] = []

    def put(self, value: Any) -> str:
        self.arguments.append(value)
        return f"${len(self.arguments)}"


def narrowed(context: str, filters: Filters, sql: _Sql, *, but: str = "") -> str:
    """The conditions of the filters on what an event is, without those of a column."""
    wanted = {"actor": filters.actors, "type": filters.types, "project": filters.projects}
    parts = [f"{name} = any({sql.put(list(these))}::text[])" for name, these in wanted.items() if these and name != but]
    if filters.aggregate and but != "subject":
        parts.append(_about(filters.aggregate, context, sql))
    if filters.by_itself:
        parts.append("cause = ''")
    return "".join(f" and {part}" for part in parts)


def _about(kind: str, context: str, sql: _Sql) -> str:
    """The condition on what an event is about. Tables of the format before do not name it, but for the type; there the
    answers to commands, whose type is the same for all kinds, are not found until the tables are built anew."""
    types = sql.put(list(events_about(kind, context)))
    return f"aggregate = any(array[{sql.put(kind)}, '']) and (aggregate <> '' or type = any({types}::text[]))"


async def page_of(
    db: Db,
    context: str,
    filters: Filters,
    *,
    subject: str = "",
    correlation: str = "",
    as_of: datetime | None = None,
    after: Place | None = None,
    limit: int,
    most: int = MOST_LOOKED_AT,
) -> tuple[list[asyncpg.Record], Place | None]:
    """A page's rows, and where it ends; None for the last page. `most`: events to look at, more than `limit`."""
    column, values = _leading(filters, subject, correlation)
    rest = narrowed(context, filters, _Sql(), but=column)
    looked = most if rest else limit + 1
    by_time = column in _BY_TIME

    def window(sql: _Sql, columns: str) -> str:
        """The next events by what narrows most, in order."""
        floor = sql.put(max(filters.since or _BEGINNING, after.time if after else _BEGINNING))
        conditions = [f"h.context = {sql.put(context)}"]
        if filters.until:
            conditions.append(f"h.time < {sql.put(filters.until)}")
        if as_of:
            conditions.append(f"h.time <= {sql.put(as_of)}")
        if column == "subject" and filters.aggregate:
            conditions.append(_about(filters.aggregate, context, sql))
        if after:
            place = ", ".join(sql.put(each) for each in after)
            conditions.append(f"(h.time, h.partition, h.off) > ({place})")
        order = f"time, partition, off limit {sql.put(looked)}"
        if not column:
            where = " and ".join([f"h.time >= {floor}", *conditions])
            return f"select {columns} from history h where {where} order by {order}"
        if by_time:
            # Not `=`: then the planner would know that the order by time is all there is to the order, and might follow
            # the index of the time alone, past all events of others.
            bounds = f"(h.{column}, h.time) >= (wanted.value, {floor}) and h.{column} <= wanted.value"
            inner = f"h.{column}, h.{order}"
        else:
            bounds, inner = f"h.{column} = wanted.value and h.time >= {floor}", order
        # One walk along the index for each value, since no index has several values' events in the order of time.
        return (
            f"select {columns} from unnest({sql.put(values)}::text[]) as wanted(value) cross join lateral "
            f"(select * from history h where {' and '.join([bounds, *conditions])} order by {inner}) as found "
            f"order by {order}"
        )

    # Both statements must look at the same events.
    async with db.transaction(isolation="repeatable_read", readonly=True):
        if by_time:  # else the planner might gather all events of a value, and sort them
            await db.execute("set local enable_sort = off; set local enable_bitmapscan = off")
        sql = _Sql()
        inner = window(sql, COLUMNS)
        outer = f"select {COLUMNS} from ({inner}) as looked where true{narrowed(context, filters, sql, but=column)} "
        rows = await db.fetch(f"{outer}order by time, partition, off limit {sql.put(limit + 1)}", *sql.arguments)
        if len(rows) > limit:
            return rows[:limit], _place(rows[limit - 1])
        if not rest:
            return rows, None
        sql = _Sql()
        keys = window(sql, "time, partition, off")
        last = await db.fetchrow(f"select * from ({keys}) as k offset {sql.put(looked - 1)}", *sql.arguments)
    return rows, None if last is None else _place(last)


def _leading(filters: Filters, subject: str, correlation: str) -> tuple[str, list[str]]:
    """The column whose index is followed, and its values; none where it is the time's."""
    if subject or correlation:
        return ("subject", [subject]) if subject else ("correlation", [correlation])
    if filters.types and (not filters.actors or len(filters.types) <= len(filters.actors)):
        return "type", sorted(set(filters.types))
    return ("actor", sorted(set(filters.actors))) if filters.actors else ("", [])


def _place(row: asyncpg.Record) -> Place:
    return Place(row["time"], row["partition"], row["off"])


async def since_offsets(db: Db, context: str, since: datetime) -> dict[int, int]:
    """The first event of each partition at that time or later: its offset. (Times of a partition never go back.)"""
    rows = await db.fetch(
        "select partition, min(off) as off from history where context = $1 and time >= $2 group by partition",
        context,
        since,
    )
    return {row["partition"]: row["off"] for row in rows}


async def span(
    db: Db, context: str, partition: int, since: int, until: int, subjects: Sequence[str], filters: Filters
) -> list[asyncpg.Record]:
    """A partition's events between two offsets that fit, in order."""
    sql = _Sql()
    where = f"context = {sql.put(context)} and partition = {sql.put(partition)} and off >= {sql.put(since)}"
    where += f" and off < {sql.put(until)}{narrowed(context, filters, sql)}"
    if subjects:
        where += f" and subject = any({sql.put(list(subjects))}::text[])"
    if filters.since:
        where += f" and time >= {sql.put(filters.since)}"
    if filters.until:
        where += f" and time < {sql.put(filters.until)}"
    return await db.fetch(f"select {COLUMNS} from history where {where} order by off", *sql.arguments)
