"""Replaying the log into the tables of a schema, exactly up to an offset in each partition.

See `events.projections.rebuild`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from events.log import topics
from events.log.envelope import Position, Recorded
from events.log.positions import Place, ReaderPosition, place_of
from events.log.tail import Tail
from events.log.wire import Raw, Undecodable
from events.process.settings import Settings
from events.projections import tables
from events.projections.folding import Fold, Unfoldable, history_row
from events.projections.positions import UNSTORABLE, read_positions, write_positions
from events.projections.projection import Projection
from events.projections.tables import Db

BATCH = 10_000
"""Most records that are read and folded at once."""

HELD_ROWS = 20_000
"""Changed rows that a rebuild holds: a job's events are near each other, so that most rows are written once."""


class RebuildFailed(Exception):
    """The log can't be folded to its end; the text says where it stopped and why. The live tables are untouched."""

    position: Position | None = None
    """The record at which, where one is to blame."""

    @classmethod
    def at(cls, position: Position, why: str) -> RebuildFailed:
        """At a record; `why` names it."""
        failed = cls(f"{why}; `forgelog repair` says what to do")
        failed.position = position
        return failed


class Interrupted(RebuildFailed, OSError):
    """A process of the rebuild has ended, or has lost its servers: it can be tried again."""


@asynccontextmanager
async def connected(settings: Settings) -> AsyncIterator[asyncpg.Connection]:
    """A connection that knows the tables' types."""
    db = await asyncpg.connect(settings.postgres_required)
    try:
        await tables.set_codecs(db)
        yield db
    finally:
        await db.close()


async def advance(
    projection: Projection,
    db: Db,
    schema: str,
    tail: Tail,
    target: Mapping[Place, int],
    progress: Callable[[int], None],
    side: Db | None = None,
) -> int:
    """Fold on to exactly `target` (an offset per place, exclusive); within the caller's transaction.

    `progress` is told the sum of the offsets reached, after each batch. With `side`, a second connection, the tables
    are empty yet, and history goes there while its events are folded.
    """
    count = 0
    fold = Fold(projection, hold=HELD_ROWS, empty=side is not None)
    await db.execute(f"set local search_path to {tables.quoted(schema)}")
    stored = await read_positions(db, schema)
    while open_ := [place for place, end in target.items() if tail.positions[place].offset < end]:
        raws = await tail.poll_raw(5.0, only=open_)
        if not raws:
            ends = await tail.ends()
            if short := [place for place in open_ if ends[place] < target[place]]:
                raise RebuildFailed(f"the log ends before what is to be read of it: {sorted(short)}")
        wanted = [raw for raw in raws if raw.offset < target[place_of(raw)]]
        for place, end in target.items():
            if tail.positions[place].offset > end:  # a fetch went past: stand exactly at the target again
                tail.seek(place, _standing(wanted, place, end, stored))
        positions = {place: tail.positions[place] for place in target}
        batch, history = decode_batch(projection, wanted)
        copying = asyncio.create_task(tables.copy_history(side or db, schema, history))
        if side is None:
            await copying
        try:
            await fold.apply(db, batch)
        except Unfoldable as error:
            raise RebuildFailed.at(error.position, str(error)) from error
        except UNSTORABLE as error:
            raise _unstorable(error) from error
        finally:
            await asyncio.wait([copying])
        copying.result()
        await write_positions(db, stored, positions)
        stored = positions
        count += len(batch)
        progress(sum(at.offset for at in positions.values()))
    try:
        await fold.flush(db)
    except UNSTORABLE as error:
        raise _unstorable(error) from error
    return count


def _unstorable(error: Exception) -> RebuildFailed:
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return RebuildFailed(f"a value can't be stored ({text}); `forgelog repair` names the record where the tables stand")


def decode_batch(projection: Projection, raws: Sequence[Raw]) -> tuple[list[Recorded], list[tuple[Any, ...]]]:
    """The events that are read, decoded, and the history rows of those of the own context.

    Raises RebuildFailed at what does not decode."""
    batch: list[Recorded] = []
    history: list[tuple[Any, ...]] = []
    own = topics.events(projection.context)
    for raw in raws:
        if raw.is_marker:
            continue
        try:
            if projection.passes_over(raw):
                continue
            recorded = raw.decode()
        except Undecodable as error:
            raise RebuildFailed.at(raw.position, str(error)) from error
        batch.append(recorded)
        if raw.topic == own:
            history.append(history_row(recorded, raw.value or b""))
    return batch, history


def _standing(read: list[Raw], place: Place, end: int, before: Mapping[Place, ReaderPosition]) -> ReaderPosition:
    """The position right at `end`: its epoch is that of the last valid record before it."""
    epoch = before[place].epoch if place in before else -1
    for raw in read:
        if place_of(raw) == place:
            epoch = ReaderPosition.behind(raw).epoch
    return ReaderPosition(end, epoch)
