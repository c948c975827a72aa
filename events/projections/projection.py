"""The contract of a projection: pure folds from events to rows. Storage, batching and rebuilds are the runner's.

A projection names its tables and, for each event, the rows that it reads or writes. The runner loads these rows first,
so the fold is synchronous and pure. The runner caches the rows and upserts them in one transaction with the positions.
The live tables and a rebuild use the same fold. Both also keep earlier versions of rows: see `events.projections.past`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, ClassVar, Protocol

from events.language.base import Event
from events.language.registry import lookup, newest
from events.log import topics
from events.log.envelope import Recorded
from events.log.wire import Raw

Key = tuple[Any, ...]
Row = dict[str, Any]
"""Column name → value. jsonb columns hold plain Python data, timestamptz columns aware datetimes."""


HIDDEN = frozenset({"since", "until", "over"})
"""Columns of the runner's own, in every table, in the table of its past, or in what is read as of a time."""

_NAME = re.compile("[a-z_][a-z0-9_]*")

_SQL_WORDS = frozenset(
    re.findall(
        r"\w+",
        "all analyse analyze and any array as asc asymmetric authorization binary both case cast check collate "
        "collation column concurrently constraint create cross current_catalog current_date current_role "
        "current_schema current_time current_timestamp current_user default deferrable desc distinct do else end "
        "except false fetch for foreign freeze from full grant group having ilike in initially inner intersect into "
        "is isnull join lateral leading left like limit localtime localtimestamp natural not notnull null offset on "
        "only or order outer overlaps placing primary references returning right select session_user similar some "
        "symmetric system_user table tablesample then to trailing true union unique user using variadic verbose "
        "when where window with",
    )
)
"""Words that are no names unless they are quoted (`pg_get_keywords`, reserved). Some would be answered: ``select user``
is the name of the database's user."""


@dataclass(frozen=True)
class Table:
    """A table of rows that a projection keeps."""

    name: str
    key: tuple[str, ...]
    """Primary key columns; the first is the aggregate's id wherever rows belong to one aggregate."""
    columns: dict[str, str]
    """Column → Postgres type (text, bigint, int, float8, bool, timestamptz, jsonb, bytea, text[]), keys included."""
    indexes: tuple[str, ...] = field(default=())
    """Column lists to index, such as ``"status, submitted_at desc"``, or all behind the table's name, such as
    ``"using gin (labels)"``."""
    rendered: dict[str, Callable[[Row], bytes]] = field(default_factory=dict)
    """Further columns (bytea) that are computed from a row when it is written: answers kept ready. Folds don't see
    them. Raise the projection's `version` when the computation changes. In a read as of a time they are null."""
    born: str = ""
    """A column with the time of the event that made the row, if there is one that never changes. A list that is ordered
    by it, read as of a time, then starts at that time, and not at the newest row."""
    defaults: Row = field(default_factory=dict)
    """The values that all new rows have in common. See `events.projections.row_models`."""
    key_of: Callable[[Row], Key] = field(init=False, repr=False, compare=False)
    """A row's key."""
    values_of: Callable[[Row], tuple[Any, ...]] = field(init=False, repr=False, compare=False)
    """A row's values, in the order of `columns`."""

    def __post_init__(self) -> None:
        if hidden := HIDDEN & {*self.columns, *self.rendered}:
            raise ValueError(f"table {self.name}: every table has {' and '.join(sorted(hidden))}; name yours otherwise")
        for name in (self.name, *self.columns, *self.rendered):
            if name in _SQL_WORDS or not _NAME.fullmatch(name):
                raise ValueError(f"table {self.name}: {name!r} is no name in SQL unless it is quoted; use another")
        object.__setattr__(self, "key_of", _getter(*self.key))
        object.__setattr__(self, "values_of", _getter(*self.columns))

    def first(self, **given: Any) -> Row:
        """A new row: what is given, and the defaults of all other columns. Raises TypeError for a value that has no
        column, and for a column that has no value."""
        row = {**self.defaults, **given}
        if row.keys() != self.columns.keys():
            stray, missing = sorted(row.keys() - self.columns.keys()), sorted(self.columns.keys() - row.keys())
            raise TypeError(
                f"table {self.name} has no column {stray[0]}" if stray else f"{self.name}.{missing[0]} has no value"
            )
        return row

    @property
    def past(self) -> str:
        """The name of the table of what its rows were."""
        return f"{self.name}_past"


def _getter(first: str, *more: str) -> Callable[[Row], tuple[Any, ...]]:
    """A function that returns the values of these columns of a row."""
    return itemgetter(first, *more) if more else lambda row: (row[first],)


class Rows(Protocol):
    """The rows of one event, during `Projection.project`.

    Each method raises `UndeclaredRow` for a row that `Projection.touches` did not name, and `SharedRow` for a row that
    an event of another place has used.
    """

    def get(self, table: Table, key: Key) -> Row | None:
        """The row of a key, or None if there is none. Treat it as read-only: copy it, change the copy, `put` it."""

    def put(self, table: Table, row: Row) -> None:
        """Insert the row, or replace the row of its key. All columns must be present."""

    def delete(self, table: Table, key: Key) -> None:
        """Delete the row of a key, if there is one."""


class Projection:
    """Base class of a service's projection. A subclass sets the class variables and overrides `touches` and `project`.

    The runtime guarantees:

    - The events of one place (a context and a partition) come in log order. In effect, each comes exactly once.
    - Events of different places come in any order. A rebuild may fold places in different processes.
    - Log events (refusals, markers) and void records never come.

    The subclass guarantees:

    - Both methods are synchronous and pure: no clock, no random numbers, no I/O, nothing kept outside of the rows.
    - A row depends on events of one place only. (A row depends on the events that change it, and on those whose fold
      reads it.) So the versions of a row are in the order of their times. A count or a join over several places needs a
      table with rows for each place, which the query puts together.

    If a method raises, the tables stop reading that place, at that event. They go on with other places, and
    `forgelog status` and `forgelog repair` name the event. That includes `UndeclaredRow` and `SharedRow` of `Rows`.
    """

    context: ClassVar[str]
    inputs: ClassVar[tuple[str, ...]] = ()
    """Contexts whose event topics it reads; the own one when empty."""
    reads: ClassVar[frozenset[type[Event]] | None] = None
    """The events of other contexts that it folds; None for all. Others are skipped before their bodies are decoded, so
    a damaged one does not stop the tables. A type that this version does not know stops them: it may be a newer version
    of one in `reads`."""
    tables: ClassVar[Sequence[Table]]
    version: ClassVar[int] = 1
    """Raise it when the fold or the tables change: the tables are then rebuilt blue/green at the next start."""

    @property
    def contexts(self) -> tuple[str, ...]:
        """The contexts whose event topics it reads."""
        return self.inputs or (self.context,)

    def passes_over(self, raw: Raw) -> bool:
        """Whether a record is an event of another context that is not in `reads`."""
        if self.reads is None or topics.context_of(raw.topic) == self.context or raw.is_marker:
            return False
        kind = lookup(newest(raw.type))
        return kind is not None and kind not in self.reads

    def touches(self, recorded: Recorded) -> Iterable[tuple[Table, Key]]:
        """The rows that this event reads or writes, as table and key.

        Called: before `project`, for all events of a batch at once. So it depends on the event alone, not on any row.
        """
        raise NotImplementedError

    def project(self, recorded: Recorded, rows: Rows) -> None:
        """Fold one event into its rows.

        Called: for each event, in log order within a place.
        Given: `rows`, limited to those that `touches` named for the events of this batch.
        Must not: change a row in place.
        """
        raise NotImplementedError
