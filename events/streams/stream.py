"""The contract of a stream: data with too high a rate for events, taken from a topic into its own tables.

Knows no consumer and no transaction: those belong to the intake (`events.streams.intake`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import Any, ClassVar, Generic, TypeVar

from events.language.streams import StreamTopic
from events.log.wire import Raw
from events.process.settings import Settings
from events.projections.tables import Db
from events.streams.retention import Expiring

Piece = TypeVar("Piece")
"""A decoded record of the topic."""
Key = TypeVar("Key", bound=Hashable)
"""The identity of a state, shared by its pieces: a stream of a task's attempt, a series of a run."""
State = TypeVar("State")
"""What `take` must know about a key to take its next piece. Changed in place."""
Chunk = TypeVar("Chunk")
"""A row to store, or a change of rows."""


class Unusable(Exception):
    """A record is not a valid piece of the stream. The text says why, for people.

    `Stream.read` and `Stream.take` raise it. The record becomes a dead letter of the stream's context, and the stream
    goes on behind it.
    """


class Stream(ABC, Generic[Piece, Key, State, Chunk]):
    """A stream of a context, implemented by the context. One intake takes it in.

    Identity: a record may come twice, since a producer may send it again and a restart reads it again. `take` compares
    a piece with the state and returns chunks only for what is new.

    Order: the pieces of a key come in the order of their partition, which may differ from the producer's order. `take`
    may keep an early piece in the state, and must then name its record in `held`. The stored position stays before a
    held record, so that a restart reads it again. `due` bounds how long a piece is held. The intake calls `overdue`
    only after it has read everything that was in the partition at the due time, so a piece that came in time is never
    given up. It does so earlier only while all states together hold too much (`events.streams.taking.MOST_HELD`).

    Rows: chunks are numbered 1, 2, 3 ... over all partitions in the order in which they are stored: their arrival. No
    number is used twice. Chunks, the rows of states and the positions are written in one transaction. After a failed
    transaction all states are dropped and loaded again, so a state must be restorable from its rows and `held`.

    Determinism: `take` and `overdue` do no I/O and read no clock. The same records in the same order give the same
    chunks, in batches of any size; only the decision to give up a piece depends on the time.

    Errors: if `read`, `take`, `overdue` or the database fails because of a piece, only the partition of its record
    stops (see `forgelog repair`). Errors of the connection are retried.
    """

    context: ClassVar[str]
    """The context whose service takes it in, and whose dead letters get unusable records."""
    topic: ClassVar[StreamTopic]
    schema: ClassVar[str]
    """Suffix of the schema of its tables: ``<schema>_<suffix>``."""
    place: ClassVar[str] = ""
    """The name of the stream in the table `positions`; the topic's name if left out."""
    tables: ClassVar[Sequence[str]]
    """SQL statements that create its tables, or migrate those of an earlier version. They run at every start, with the
    schema as search path, so each must be idempotent. Must not create `positions`."""

    expiring: ClassVar[Sequence[Expiring]] = ()
    """Tables whose rows are removed when they are older than the retention of the topic (`StreamTopic.days`)."""

    def configure(self, settings: Settings) -> None:
        """Read limits from the settings. Called once, before all other methods."""
        return

    @abstractmethod
    def read(self, raw: Raw) -> Piece:
        """The piece of a record. Raises Unusable. Not called for batches that can't be read at all."""

    @abstractmethod
    def key(self, piece: Piece) -> Key:
        """The key of the state that the piece belongs to. All records of a key have one Kafka key, so one partition."""

    def count(self, piece: Piece) -> int:
        """How much work it is for `take`, such as the number of its points. It bounds what one transaction takes."""
        return 1

    @abstractmethod
    async def load(self, db: Db, keys: Sequence[Key]) -> Mapping[Key, State]:
        """The states of these keys, loaded from the tables, or new. The schema is the search path."""

    async def prepare(self, db: Db, pieces: Sequence[tuple[State, Piece]]) -> None:
        """Load what `take` needs besides the states: the rows that a piece may repeat.

        Called before the pieces of each transaction are taken, in their order. What it notes in the states is valid for
        that transaction only. It must read rows that `tidy` moves before the rows to which `tidy` moves them.
        """
        return

    @abstractmethod
    def take(self, state: State, piece: Piece, now: float) -> Sequence[Chunk]:
        """Change the state by a piece, and return what can be stored now. `now`: its arrival, monotonic seconds.

        Raises Unusable for a piece that can't be taken beside those that came before it. The state must be unchanged.
        """

    def held(self, state: State) -> Collection[int]:
        """The offsets of the records that the state holds."""
        return ()

    def due(self, state: State) -> float | None:
        """When to call `overdue` (monotonic seconds) for a state that holds records; None for not at all."""
        return None

    def overdue(self, state: State, now: float) -> Sequence[Chunk]:
        """Give up the wait for missing pieces, and return what can be stored now. Afterwards `due` must be later than
        `now`, or None. Also called for a state that holds a single record, to test whether that can be stored."""
        return ()

    @abstractmethod
    async def store(self, db: Db, numbers: range, chunks: Sequence[Chunk], states: Mapping[Key, State]) -> None:
        """Write chunks with their numbers, and the states that returned them, in the open transaction.

        Called with at least one chunk. The schema is the search path.
        """

    async def tidy(self, db: Db) -> bool:
        """One step of maintenance that no record leads to, such as merging small rows. Returns whether more is to do.

        Called every few seconds in its own transaction; a step should take a fraction of a second. No other process
        stores or tidies meanwhile. The states stay in memory, so a step must not change what they depend on.
        """
        return False

    def stored(self, chunks: Sequence[Chunk]) -> None:
        """Update counters. Called after the commit."""
        return

    async def carry(self, db: Db, live: str) -> None:
        """Copy what the topic does not contain (the arrival of rows, for example) from the live tables in a rebuild.

        `live`: the quoted schema of the live tables. The search path is the schema of the rebuild. The numbers of new
        chunks are larger than all numbers in the live tables.
        """
        return

    async def newest(self, db: Db) -> int:
        """The number of the newest chunk in the tables, for tables of a version that did not keep it; 0 for none."""
        return 0


AnyStream = Stream[Any, Any, Any, Any]
