"""Each point of a run is stored once, with any repeats and any end of the intake, on real servers.

The stream is `tests.points.stream`, as a context of experiments has it.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import struct
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from events.log import topics
from events.log.deadletters import list_dead_letters
from events.log.envelope import Position
from events.log.producer import Producer, ToSend
from events.process import faults
from events.process.settings import Settings
from events.service import open_pool
from events.streams import upkeep
from events.streams.columns import columns, digest
from events.streams.intake import Intake
from events.streams.rebuild import rebuild_stream
from tests import PATIENCE
from tests.access import environment_of
from tests.integration.test_runtime import running, until
from tests.points import stream
from tests.points.stream import POINTS, PointBatch, Points, digest_of, points_of

PointValues = Sequence[tuple[int, int, float]]

INTAKE = """
import asyncio
from events.log import topics
from events.process.settings import Settings
from events.service import open_pool
from events.streams.intake import Intake
from tests.points.stream import POINTS, Points

topics.STREAMS += (POINTS,)

async def main():
    settings = Settings.load()
    await Intake(Points()).run(settings, await open_pool(settings))

asyncio.run(main())
"""


@pytest.fixture(autouse=True)
def points_topic(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topics, "STREAMS", (*topics.STREAMS, POINTS))


def batch(run: str, **series: PointValues) -> bytes:
    """A `PointBatch`."""
    made = PointBatch(run_id=run)
    for key, points in series.items():
        columns = zip(*points, strict=True) if points else ((), (), ())
        steps, times, values = (list(column) for column in columns)
        made.series.add(
            key=key,
            steps=struct.pack(f"<{len(steps)}q", *steps),
            times=struct.pack(f"<{len(times)}q", *times),
            values=struct.pack(f"<{len(values)}d", *values),
        )
    encoded: bytes = made.SerializeToString()
    return encoded


@dataclass
class Place:
    """An intake that runs, and what is needed to look at it."""

    settings: Settings
    intake: Intake
    pool: asyncpg.Pool
    producer: Producer

    async def send(self, run: str, *, end: bool = False, **series: PointValues) -> None:
        """Points, until they are stored."""
        await self.stored(await self.send_bytes(run, batch(run, **series), end=end))

    async def send_bytes(self, run: str, value: bytes, *, end: bool = False) -> list[Position]:
        headers = [("end", b"1")] if end else []
        record = ToSend(self.settings.prefix + POINTS.name, value, run.encode(), headers=headers)
        return [Position(POINTS.name, at.partition, at.offset) for at in await self.producer.send_all([record])]

    async def stored(self, positions: Sequence[Position]) -> None:
        assert await self.intake.wait_for(positions, PATIENCE) == [], self.intake.trouble

    async def points(self, run: str, key: str) -> list[tuple[int, int, float]]:
        return [*await points_of(self.pool, self.intake.schema, run, key)]

    async def counts(self, table: str) -> list[int]:
        """The points of each row of a table, in the order of their steps."""
        rows = await self.pool.fetch(f"select count from {self.intake.schema}.{table} order by run, key, first_step")
        return [row["count"] for row in rows]


@asynccontextmanager
async def place(settings: Settings) -> AsyncIterator[Place]:
    await topics.ensure_topics(settings)
    pool = await open_pool(settings)
    intake = Intake(Points())
    try:
        async with running(intake.run(settings, pool)), Producer(settings) as producer:
            await until(lambda: intake.pool is not None)
            yield Place(settings, intake, pool, producer)
    finally:
        await pool.close()


async def test_points_are_stored_once_in_their_order_whatever_comes_again(settings: Settings) -> None:
    nan = float("nan")
    async with place(settings) as here:
        await here.send("run", loss=[(1, 10, 0.5), (3, 30, 0.3)], accuracy=[(1, 10, 0.1)])
        await here.send("run", loss=[(3, 30, 0.3), (2, 20, nan), (4, 40, 0.2)])  # one of them again, one late
        await here.send("run", loss=[(2, 20, -nan), (2, 20, 0.4), (2, 20, nan)])  # one NaN is as another
        await here.send("other", loss=[(1, 10, 0.5)])
        loss = await here.points("run", "loss")
        assert str(loss) == "[(1, 10, 0.5), (2, 20, 0.4), (2, 20, nan), (3, 30, 0.3), (4, 40, 0.2)]"
        assert await here.points("run", "accuracy") == [(1, 10, 0.1)]
        assert await here.points("other", "loss") == [(1, 10, 0.5)]
    async with place(settings) as here:  # which knows nothing but the tables
        await here.send("run", loss=[(1, 10, 0.5), (5, 50, 0.1)])
        assert len(await here.points("run", "loss")) == 6


async def test_heads_become_chunks_when_they_are_full_and_at_the_end_of_the_run(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "FULL", 10)
    async with place(settings) as here:
        for first in range(0, 24, 6):
            await here.send("run", loss=[(step, step, 0.5) for step in range(first, first + 6)])
        assert (await here.counts("chunks"), sum(await here.counts("heads"))) == ([10, 10], 4)
        await here.send("run", loss=[(24, 24, 0.5)], end=True)
        assert (await here.counts("chunks"), await here.counts("heads")) == ([10, 10, 5], [])
        assert [step for step, _, _ in await here.points("run", "loss")] == [*range(25)]


async def test_heads_become_chunks_when_they_are_old(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "TIDY_SECONDS", 0.0)
    async with place(settings) as here:
        await here.send("run", loss=[(1, 10, 0.5)])
        await here.send("run", loss=[(2, 20, 0.5)])
        assert await here.counts("chunks") == []
        monkeypatch.setattr(stream, "AGE", 0.0)
        await until_async(lambda: here.counts("chunks"), [2])
        assert await here.counts("heads") == []
        await here.send("run", loss=[(1, 10, 0.5), (2, 20, 0.5)])
        assert len(await here.points("run", "loss")) == 2


async def until_async(asked: Any, wanted: Any) -> None:
    """Wait until an answer is the wanted one."""
    async with asyncio.timeout(PATIENCE):
        while await asked() != wanted:
            await asyncio.sleep(0.02)


async def test_what_goes_wrong_with_tidying_is_told_and_keeps_no_record_from_being_stored(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_stream: Points, _db: Any) -> bool:
        raise LookupError("there is no such thing")

    monkeypatch.setattr(upkeep, "TIDY_SECONDS", 0.0)
    with monkeypatch.context() as faulty:
        faulty.setattr(Points, "tidy", fail)
        async with place(settings) as here:
            await here.send("run", loss=[(1, 10, 0.5)])
            await until(lambda: here.intake.stops)
            (stop,) = here.intake.stops
            assert (stop.place, stop.cause) == ("tidying of points.jobs", "LookupError: there is no such thing")
            await here.send("run", loss=[(2, 20, 0.5)])
            faulty.undo()
            await until(lambda: not here.intake.stops)


async def test_what_is_no_batch_of_points_becomes_a_dead_letter(settings: Settings) -> None:
    wrong = PointBatch(run_id="run")
    wrong.series.add(key="loss", steps=b"1234567")
    async with place(settings) as here:
        for value in (b"\xff", batch("another", loss=[(1, 10, 0.5)]), wrong.SerializeToString()):
            await here.stored(await here.send_bytes("run", value))
        await here.send("run", loss=[(1, 10, 0.5)])
        reasons = sorted(letter.reason for letter in await list_dead_letters(settings, "jobs"))
    assert [reason.split(":")[0] for reason in reasons] == [
        "it is no PointBatch",
        "run_id is not the record's key",
        "series loss",
    ]


async def test_killed_amid_its_rows_the_intake_stores_each_point_once_and_a_rebuild_gives_the_same(
    settings: Settings, tmp_path: Path
) -> None:
    """50,000 points in records that come three times, in another order each time."""
    chance = random.Random(7)
    expected: dict[str, list[Any]] = defaultdict(list)
    records: list[tuple[str, bytes]] = []
    for run in ("run-1", "run-2", "run-3", "run-4", "run-5"):
        steps = [*range(10_000)]
        for first in range(0, 10_000, 1000):
            part = steps[first : first + 1000]
            points = [
                (step, 1000 * step + chance.randrange(900), chance.choice([chance.random(), float("nan")]))
                for step in part
            ]
            chance.shuffle(points)
            expected[run] += points
            records.append((run, batch(run, loss=points)))
    await topics.ensure_topics(settings)
    topic = settings.prefix + POINTS.name
    armed = tmp_path / f"intake@{faults.MID_STREAM}"
    faulty = {"FORGELOG_FAULTS": str(tmp_path), "FORGELOG_INSTANCE": "intake"}
    env = {**os.environ, **environment_of(settings), **faulty}
    positions: list[Position] = []
    async with Producer(settings) as producer:
        for _ in range(3):
            given = [*records]
            chance.shuffle(given)
            armed.write_text("SIGKILL")
            process = await asyncio.create_subprocess_exec(sys.executable, "-c", INTAKE, env=env)
            try:
                for run, value in given:
                    sent = await producer.send_all([ToSend(topic, value, run.encode())])
                    positions += [Position(POINTS.name, at.partition, at.offset) for at in sent]
                assert await asyncio.wait_for(process.wait(), PATIENCE) == -signal.SIGKILL
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
    wanted = {run: digest([columns(*zip(*points, strict=True))]) for run, points in expected.items()}
    assert {count for count, _ in wanted.values()} == {10_000}
    for rebuilt in (False, True):
        if rebuilt:
            await rebuild_stream(settings, Points())
        async with place(settings) as here:
            await here.stored(positions)
            found = {run: await digest_of(here.pool, here.intake.schema, run, "loss") for run in expected}
        assert found == wanted
