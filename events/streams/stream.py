"""The contract of a stream: data that is too much for events, taken from a topic into tables of its own.

Knows no topic's consumer and no transaction: those are the intake's (`events.streams.intake`).
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
"""A record of the topic, read."""
Key = TypeVar("Key", bound=Hashable)
"""What the pieces of one state share: a stream of a task's attempt, a series of a run."""
State = TypeVar("State")
"""What has to be known of a key to take its next piece. Changed in place."""
Chunk = TypeVar("Chunk")
"""Something to be stored: a row, or what changes rows."""


class Unusable(Exception):
    """A record is no piece of the stream. The text says why, for people.

    It becomes a dead letter of the stream's context, and the stream goes on behind it.
    """


class Stream(ABC, Generic[Piece, Key, State, Chunk]):
    """What a context says about one of its streams. One intake takes it in.

    Identity: a record may come twice (its producer sends it again, a restart reads it again). `take` finds in the
    state what of a piece is already there, and gives chunks for the rest only.

    Order: the pieces of a key come in the order of their partition, which need not be the producer's. `take` may keep
    a piece that came early in the state, and name its record in `held`. The stored position stays before a held
    record, so that a restart reads it again. `due` bounds how long a piece is held: at least until all is read that was
    in its partition when it was due, so that nothing is given up that has come in time; less long only while all states
    hold too much together (`events.streams.taking.MOST_HELD`).

    Rows: chunks are numbered 1, 2, 3 ... in the order in which they are stored, over all partitions: their arrival. No
    number is given twice. Chunks, the states' rows and the positions are written in one transaction. After a failed
    transaction all states are dropped and loaded anew, so a state holds nothing that is neither in its rows nor `held`.

    Determinism: `take` and `overdue` do no I/O and read no clock. The same records in the same order give the same
    chunks, whatever the batches in which they come; only what is given up as overdue depends on when they come.

    Errors: what `read`, `take`, `overdue` or the database raises because of a piece stops the partition of its record,
    and only that (see `forgelog repair`). Errors of the connection are tried again.
    """

    context: ClassVar[str]
    """Whose service takes it in, and whose dead letters get what is unusable."""
    topic: ClassVar[StreamTopic]
    schema: ClassVar[str]
    """Of its tables: ``<schema>_<this>``."""
    place: ClassVar[str] = ""
    """How its positions are called in the table `positions`; the topic's name when left out."""
    tables: ClassVar[Sequence[str]]
    """SQL statements that make its tables, or bring those of an earlier version to the present form. They run at every
    start, with the schema as search path, so each must do nothing when its work is done. Must not make `positions`."""

    expiring: ClassVar[Sequence[Expiring]] = ()
    """Tables whose rows go when they are older than the topic keeps its records (`StreamTopic.days`)."""

    def configure(self, settings: Settings) -> None:
        """Called once, before all else: the place to take limits from the settings."""
        return

    @abstractmethod
    def read(self, raw: Raw) -> Piece:
        """A record as a piece. Raises Unusable. (Batches that can't be read at all are not given here.)"""

    @abstractmethod
    def key(self, piece: Piece) -> Key:
        """Which state the piece belongs to. All records of a key have one Kafka key, and so one partition."""

    @abstractmethod
    async def load(self, db: Db, keys: Sequence[Key]) -> Mapping[Key, State]:
        """The state of each of these keys, from the tables, or new. The schema is the search path."""

    async def prepare(self, db: Db, pieces: Sequence[tuple[State, Piece]]) -> None:
        """Load what `take` has to know of these pieces besides their states: of the rows, what a piece may repeat.

        Asked before the pieces of each transaction are taken, in their order. What it notes in the states holds for
        that transaction. Rows that `tidy` may move must be read before those to which it moves them.
        """
        return

    @abstractmethod
    def take(self, state: State, piece: Piece, now: float) -> Sequence[Chunk]:
        """Take a piece: change the state; what can be stored now. `now`: when the piece came, in monotonic seconds."""

    def held(self, state: State) -> Collection[int]:
        """The offsets of the records that the state holds."""
        return ()

    def due(self, state: State) -> float | None:
        """When `overdue` is to be asked (monotonic seconds) of a state that holds records; None while it is not."""
        return None

    def overdue(self, state: State, now: float) -> Sequence[Chunk]:
        """What can be stored because it was waited for long enough. Later, `due` must be later than `now` or None. Also
        asked of a state that holds a single record, to find out whether that can be stored."""
        return ()

    @abstractmethod
    async def store(self, db: Db, numbers: range, chunks: Sequence[Chunk], states: Mapping[Key, State]) -> None:
        """Write chunks, with their numbers, and the states that gave them, in the transaction that is open.

        Not called without chunks. The schema is the search path.
        """

    async def tidy(self, db: Db) -> bool:
        """One step of what time asks for, and no record: to make large rows of small ones, say. Whether more is to do.

        A transaction of its own, every few seconds; a step should take a fraction of one. No other process stores or
        tidies meanwhile. States stay as they are: what a step changes must not matter to them.
        """
        return False

    def stored(self, chunks: Sequence[Chunk]) -> None:
        """The transaction is committed: the place for counters."""
        return

    async def carry(self, db: Db, live: str) -> None:
        """Take from the live tables (`live`: their schema, quoted) into those of a rebuild, the search path, what the
        topic does not know: when rows arrived. Numbers of new chunks are larger than all in the live tables."""
        return

    async def newest(self, db: Db) -> int:
        """The number of the newest chunk in the tables, for tables of a version that did not keep it; 0 for none."""
        return 0


AnyStream = Stream[Any, Any, Any, Any]
