"""The contract of a projection: pure folds from events to rows. Storage, batching and rebuilds are the runner's.

A projection names its tables and, for each event, the rows it touches and what becomes of them. It is given all rows
it named, so it stays synchronous and pure; the runner loads, caches and upserts them in one transaction with the
positions.
The same fold serves the live tables and a rebuild. Both also keep what rows were before: see `events.projections.past`.
"""

from __future__ import annotations

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


@dataclass(frozen=True)
class Table:
    """A table of rows that a projection keeps."""

    name: str
    key: tuple[str, ...]
    """Primary key columns; the first is the aggregate's id wherever rows belong to one aggregate."""
    columns: dict[str, str]
    """Column → Postgres type (text, bigint, int, float8, bool, timestamptz, jsonb, bytea, text[]), keys included."""
    indexes: tuple[str, ...] = field(default=())
    """Column lists to index, such as ``"status, submitted_at desc"``."""
    rendered: dict[str, Callable[[Row], bytes]] = field(default_factory=dict)
    """Further columns (bytea) that are computed of a row when it is written: answers kept ready. Folds don't see them;
    raise the projection's `version` when what is computed changes. As of a time they are null: render the columns."""
    born: str = ""
    """A column with the time of the event that made the row, if there is one that never changes. A list in its order
    then begins, as of a time, at that time, and not at the newest row."""
    defaults: Row = field(default_factory=dict)
    """What a row begins with, as far as that is the same for all of them. See `events.projections.row_models`."""
    key_of: Callable[[Row], Key] = field(init=False, repr=False, compare=False)
    """A row's key."""
    values_of: Callable[[Row], tuple[Any, ...]] = field(init=False, repr=False, compare=False)
    """A row's values, in the order of `columns`."""

    def __post_init__(self) -> None:
        if hidden := HIDDEN & {*self.columns, *self.rendered}:
            raise ValueError(f"table {self.name}: every table has {' and '.join(sorted(hidden))}; name yours otherwise")
        object.__setattr__(self, "key_of", _getter(*self.key))
        object.__setattr__(self, "values_of", _getter(*self.columns))

    def first(self, **given: Any) -> Row:
        """A new row: what is given, and the defaults of all other columns."""
        return {**self.defaults, **given}

    @property
    def past(self) -> str:
        """The name of the table of what its rows were."""
        return f"{self.name}_past"


def _getter(first: str, *more: str) -> Callable[[Row], tuple[Any, ...]]:
    """What takes these columns' values out of a row."""
    return itemgetter(first, *more) if more else lambda row: (row[first],)


class Rows(Protocol):
    """The rows an event touches, during `Projection.project`."""

    def get(self, table: Table, key: Key) -> Row | None:
        """A row named by `touches`, or None if there is none. Treat it as read-only; copy, change, `put`."""

    def put(self, table: Table, row: Row) -> None:
        """Insert or replace the row with this row's key. All columns must be present."""

    def delete(self, table: Table, key: Key) -> None: ...


class Projection:
    """Base class of a service's projection.

    A row depends on events of one place only: of one context and one partition. (A row depends on the events that
    change it, and on those whose fold read it.) So no order between places matters, processes can rebuild places side
    by side, and a row's versions are in the order of their times. What counts or joins over places has a table a place
    and is put together by the query. A fold that meets a row of two places raises `SharedRow`.
    """

    context: ClassVar[str]
    inputs: ClassVar[tuple[str, ...]] = ()
    """Contexts whose event topics it reads; the own one when empty."""
    reads: ClassVar[frozenset[type[Event]] | None] = None
    """Which events of other contexts it folds; all of them if None. Others are passed over: their bodies are not looked
    at, so nothing that is wrong with one stops the tables. A type that this version does not know does stop them, since
    it may be a newer version of one that is read."""
    tables: ClassVar[Sequence[Table]]
    version: ClassVar[int] = 1
    """Raise it when the fold or the tables change: the tables are then rebuilt blue/green at the next start."""

    @property
    def contexts(self) -> tuple[str, ...]:
        """The contexts whose event topics it reads."""
        return self.inputs or (self.context,)

    def passes_over(self, raw: Raw) -> bool:
        """Whether it is an event of another context that is not read."""
        if self.reads is None or topics.context_of(raw.topic) == self.context or raw.is_marker:
            return False
        kind = lookup(newest(raw.type))
        return kind is not None and kind not in self.reads

    def touches(self, recorded: Recorded) -> Iterable[tuple[Table, Key]]:
        """The rows this event reads or writes."""
        raise NotImplementedError

    def project(self, recorded: Recorded, rows: Rows) -> None:
        """Fold one event into its rows."""
        raise NotImplementedError
