"""Given records of a stream that the database refuses, when they are stored, then the one to blame stops its partition,
and nothing else is lost.

The stream is that of tasks' output, on a real Postgres. A refused piece has the text ``BAD``.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import asyncpg
import pytest

from events.hosting import open_pool
from events.log.wire import Raw
from events.process.settings import Settings
from events.projections.tables import quoted
from events.streams.storing import Storing
from events.streams.taking import Item, Late
from services.jobs.output import stream as output
from services.jobs.output.stream import OutputStream

PARTITION = 1


@dataclass
class Place:
    stream: OutputStream
    pool: asyncpg.Pool
    schema: str
    stopped: list[int] = field(default_factory=list)
    """Offsets of the records at which a partition stands, in the order in which they were found."""
    refused: list[tuple[Raw, str]] = field(default_factory=list)
    """Records that the stream did not take, and why."""

    def __post_init__(self) -> None:
        self.storing = Storing(self.stream, self.pool, self.schema, self._stop, self._refuse)

    def _stop(self, raw: Raw, _error: Exception) -> None:
        self.stopped.append(raw.offset)

    async def _refuse(self, unusable: Sequence[tuple[Raw, str]]) -> None:
        self.refused += unusable

    async def stored(self) -> list[tuple[str, int, bytes, int]]:
        """Job, offset, data and missing bytes of each chunk."""
        rows = await self.pool.fetch(
            f"select job_id, off, data, missing from {self.storing.schema}.chunks order by arrival"
        )
        return [tuple(row) for row in rows]

    async def comes(self, *items: Item, late: Sequence[Late] = ()) -> None:
        """A batch of records."""
        await self.storing.store([item for item in items if not self.storing.stands_before(item.raw)], late)

    async def skip(self, skipped: Item, *again: Item) -> None:
        """The record is passed over; all from the stored position on comes again."""
        self.storing.go_on(skipped.partition)
        assert all(item.offset >= self.storing.read_from(item.partition) for item in again)
        items = sorted([*again, Item(skipped.raw)], key=lambda item: item.offset)
        await self.storing.store(items, [])

    def late(self) -> list[Late]:
        """What is overdue, all being read."""
        return self.storing.late(lambda _partition: math.inf)


@asynccontextmanager
async def place(settings: Settings) -> AsyncIterator[Place]:
    pool = await open_pool(settings)
    try:
        stream = OutputStream()
        stream.configure(settings)
        here = Place(stream, pool, f"{settings.schema_}_{stream.schema}")
        await here.storing.open()
        chunks = f"{quoted(here.schema)}.chunks"
        await pool.execute(f"alter table {chunks} add constraint refused check (data <> 'BAD'::bytea)")
        yield here
    finally:
        await pool.close()


async def nothing(_unusable: Sequence[tuple[Raw, str]]) -> None:
    raise AssertionError("no record is read")


async def test_an_index_of_many_rows_may_take_longer_than_a_query(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OutputStream, "tables", (*OutputStream.tables, "select pg_sleep(0.4)"))
    async with asyncpg.create_pool(settings.postgres_required, min_size=0, command_timeout=0.2) as pool:
        storing = Storing(OutputStream(), pool, f"{settings.schema_}_large", lambda *_: None, nothing)
        await storing.open()
        assert storing.last == 0


def item(offset: int, job: str, at: int, text: str, partition: int = PARTITION) -> Item:
    """A record at an offset of the log: a piece of a job's output that begins `at` bytes into it."""
    given = {"job": job, "task": "0", "attempt": "1", "stream": "stdout", "offset": str(at)}
    headers = [(name, value.encode()) for name, value in given.items()]
    raw = Raw("logs.jobs", partition, offset, 0, job.encode(), text.encode(), headers)
    piece = OutputStream().read(raw)
    return Item(raw, piece.key, piece, time.monotonic())


async def test_what_a_held_record_waits_for_may_lie_behind_the_record_at_which_its_partition_stands(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "WAIT", 0.0)
    ahead, bad, filler = item(10, "one", 4, "last"), item(11, "two", 0, "BAD"), item(12, "one", 0, "1st ")
    async with place(settings) as here:
        await here.comes(ahead)
        await here.comes(bad, filler, late=here.late())
        assert (here.stopped, here.late(), await here.stored()) == ([11], [], [])
        await here.comes()  # what is held is taken again
        assert (here.late(), await here.stored(), here.storing.position(PARTITION)) == ([], [], 10)
        await here.skip(bad, ahead, filler)
        assert await here.stored() == [("one", 0, b"1st ", 0), ("one", 4, b"last", 0)]
        assert here.storing.position(PARTITION) == 13


@pytest.mark.parametrize("offsets", list(itertools.permutations([4, 8, 12])))
async def test_of_the_records_that_are_released_together_the_refused_one_is_to_blame(
    settings: Settings, offsets: tuple[int, ...]
) -> None:
    """In any order of arrival."""
    texts = {4: "good", 8: "BAD", 12: "held"}
    ahead = [item(10 + number, "one", at, texts[at]) for number, at in enumerate(offsets)]
    filler, bad = item(13, "one", 0, "fill"), 10 + offsets.index(8)
    async with place(settings) as here:
        await here.comes(*ahead)
        await here.comes(filler)
        assert (here.stopped, here.storing.position(PARTITION)) == ([bad], 10)
        await here.skip(ahead[bad - 10], *(each for each in ahead if each.offset != bad), filler)
        assert [(at, data) for _, at, data, _ in await here.stored()] == [(0, b"fill"), (4, b"good")]
        assert here.stopped == [bad]


@pytest.mark.parametrize("order", [(4, 8), (8, 4)])
@pytest.mark.parametrize("refused", [4, 8])
async def test_of_the_records_that_are_given_up_together_the_refused_one_is_to_blame(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, order: tuple[int, ...], refused: int
) -> None:
    monkeypatch.setattr(output, "WAIT", 0.0)
    ahead = [item(10 + number, "one", at, "BAD" if at == refused else "good") for number, at in enumerate(order)]
    bad, good = sorted(ahead, key=lambda each: each.piece.offset != refused)
    async with place(settings) as here:
        await here.comes(*ahead)
        await here.comes(late=here.late())
        assert (here.stopped, await here.stored()) == ([bad.offset], [])
        await here.skip(bad, *(each for each in ahead if each is good))
        await here.comes(late=here.late())
        assert [(at, data) for _, at, data, _ in await here.stored()] == [(12 - refused, b"good")]
        assert here.stopped == [bad.offset]


@pytest.mark.parametrize("first", [0, 1])
async def test_a_partition_that_stands_keeps_nothing_overdue_of_others_from_being_given_up(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, first: int
) -> None:
    monkeypatch.setattr(output, "WAIT", 0.0)
    async with place(settings) as here:
        await here.comes(item(4, "bad", 4, "BAD", 2), item(5, "beside", 4, "beside it", 2), item(5, "good", 4, "good"))
        late = sorted(here.late(), key=lambda each: (each.key[0] == "bad") == bool(first))
        await here.comes(late=late)
        assert here.stopped == [4]
        assert ("good", 4, b"good", 4) in await here.stored()
        assert here.storing.position(PARTITION) == 6
