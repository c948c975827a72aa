"""Rows of a stream go when they are old; its tables can be built anew from the topic, while it goes on.

The stream is that of tasks' output, on a real broker and a real Postgres.
"""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest

from events.log import topics
from events.process.settings import Settings
from events.projections.runner import Runner
from events.queries.queries import ReadModel
from events.streams import rebuild as rebuilding
from events.streams import retention, upkeep
from events.streams.intake import NEXT
from events.streams.reading import StreamReader
from events.streams.rebuild import RebuildFailed, WouldLose, rebuild_stream, streams_of
from services.jobs.output.stream import OutputStream
from tests import PATIENCE
from tests.integration.test_runtime import until
from tests.integration.test_streams import ELSEWHERE, PARTITION, Place, job, place, remove
from tests.unit.writer.sample import SampleProjection


async def rows(here: Place) -> list[dict[str, Any]]:
    return [dict(row) for row in await here.pool.fetch(f"select * from {here.intake.schema}.chunks order by arrival")]


async def test_rows_that_are_older_than_their_topic_keeps_records_go_in_steps_while_a_reader_follows(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "ROWS", 3)
    steps: list[int] = []
    expire = retention.expire

    async def counted(*given: Any) -> int:
        steps.append(await expire(*given))
        return steps[-1]

    monkeypatch.setattr("events.streams.storing.expire", counted)
    async with place(settings) as here:
        for number in range(8):
            await here.send(job(0), number, str(number))
        await here.stores(job(0), "01234567")
        reader = StreamReader(ReadModel(Runner(SampleProjection(), settings, here.pool), here.pool), here.intake)
        ended = False

        async def fetch(db: Any, reached: int) -> list[Any]:
            query = f"select arrival, data from {reader.schema}.chunks where arrival > $1 order by arrival limit 2"
            found: list[Any] = await db.fetch(query, reached)
            return found

        async def done() -> bool:
            return ended

        following = reader.follow(fetch, done, lambda: False)
        seen = [(await anext(following))["data"] for _ in range(2)]
        old = f"update {here.intake.schema}.chunks set at = at - interval '8 days' where off < 7"
        await here.pool.execute(old)
        steps.clear()
        monkeypatch.setattr(upkeep, "TIDY_SECONDS", 0.0)
        monkeypatch.setattr(upkeep, "EXPIRE_SECONDS", 0.0)
        here.intake._upkeep._tidy_at = here.intake._upkeep._expire_at = 0.0
        await until(lambda: sum(steps) == 7)
        assert await here.printed(job(0)) == "7"
        assert [count for count in steps if count] == [3, 3, 1]
        await here.send(job(0), 8, "8")
        await here.send(job(0), 0, "0")  # what is gone does not come again
        await here.stores(job(0), "78")
        seen += [(await anext(following))["data"] for _ in range(2)]
        assert seen == [b"0", b"1", b"7", b"8"]
        ended = True
        assert [row async for row in following] == []


async def test_rows_are_kept_as_long_as_the_topic_says(settings: Settings) -> None:
    longer = settings.model_copy(update={"output_days": 30})
    longer.model_fields_set.add("output_days")
    await topics.ensure_topics(longer)
    for each in (longer, settings):  # which was told no days, and leaves the topic's
        async with place(each) as here:
            assert here.intake._upkeep.keep is not None
            assert here.intake._upkeep.keep.days == 30


async def test_tables_that_are_built_anew_are_as_they_were_and_grow_meanwhile(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    (stream,) = streams_of("jobs")
    fill = rebuilding._fill
    async with place(settings) as here:
        for number in range(5):
            await here.send(job(0), number, str(number))
            await here.send(ELSEWHERE, number, str(number))
        await here.stores(job(0), "01234")
        await here.stores(ELSEWHERE, "01234")
        before = await rows(here)

        async def filling(*given: Any) -> dict[int, int]:
            reached = await fill(*given)
            if not grown:
                grown.append(True)
                await here.send(job(0), 5, "5")
                await here.stores(job(0), "012345")
            return reached

        grown: list[bool] = []
        monkeypatch.setattr(rebuilding, "_fill", filling)
        told: list[tuple[int, int]] = []
        rebuilt = await rebuild_stream(settings, stream, lambda *done: told.append(done))
        assert (rebuilt.topic, rebuilt.records, told[-1]) == ("logs.jobs", 11, (10, 10))
        await here.send(job(0), 6, "6")
        await here.stores(job(0), "0123456")
        after = await rows(here)
        assert after[:10] == before
        assert [row["data"] for row in after[10:]] == [b"5", b"6"]


async def test_rows_that_were_lost_come_back_behind_those_that_readers_have_seen(settings: Settings) -> None:
    async with place(settings) as here:
        for number in range(4):
            await here.send(job(0), number, str(number))
            await here.send(ELSEWHERE, number, str(number))
        await here.stores(job(0), "0123")
        await here.stores(ELSEWHERE, "0123")
        kept = [row["arrival"] for row in await rows(here) if row["job_id"] == ELSEWHERE]
        await here.pool.execute(f"delete from {here.intake.schema}.chunks where job_id = $1 and off = 2", job(0))
        await rebuild_stream(settings, OutputStream())
        await here.stores(job(0), "0123")  # in order
        found = await rows(here)
        assert [row["arrival"] for row in found if row["job_id"] == ELSEWHERE] == kept
        assert min(row["arrival"] for row in found if row["job_id"] == job(0)) > 8
        assert len(found) == 8


async def test_pieces_that_come_while_the_tables_are_built_keep_their_numbers(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new tables number rows, too, and those of one job have to differ."""
    fill = rebuilding._fill
    async with place(settings) as here:
        await here.send(job(0), 0, "0")
        await here.stores(job(0), "0")
        await here.send(job(0), 0, "a", stream="stderr")
        await here.stores(job(0), "0a")
        removed = f"delete from {here.intake.schema}.chunks where stream = 0"
        await here.pool.execute(removed)
        # As in tables of a version that kept no number.
        await here.pool.execute(f"delete from {here.intake.schema}.positions where context = 'chunks'")

        async def filling(*given: Any) -> dict[int, int]:
            if not grown:
                grown.append(True)
                async with place(settings) as there:
                    for number, text in enumerate("bcde", 1):
                        await there.send(job(0), number, text, stream="stderr")
                    await there.stores(job(0), "abcde")
                seen.extend(await rows(here))
            return await fill(*given)

        grown: list[bool] = []
        seen: list[dict[str, Any]] = []
        monkeypatch.setattr(rebuilding, "_fill", filling)
        await rebuild_stream(settings, OutputStream())
        *same, back = await rows(here)
        assert (same, back["data"]) == (seen, b"0")


async def test_the_swap_waits_for_no_piece_that_waits_for_the_swap(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill = rebuilding._fill
    async with place(settings) as here:
        await here.send(ELSEWHERE, 0, "0")
        await here.stores(ELSEWHERE, "0")
        # After a second, Postgres has looked whether such a wait is a circle: who joins it later is to blame.
        waits = (
            "select count(*) > 0 from pg_locks where not granted and relation = to_regclass($1) "
            "and waitstart < clock_timestamp() - interval '1.5 s'"
        )

        async def filling(*given: Any) -> dict[int, int]:
            fills.append(True)
            if len(fills) == 2:  # the positions are locked
                await here.send(job(0), 0, "of a part that is looked up")
                async with asyncio.timeout(PATIENCE):
                    while not await here.pool.fetchval(waits, f"{here.intake.schema}.positions"):
                        await asyncio.sleep(0.02)
            return await fill(*given)

        fills: list[bool] = []
        monkeypatch.setattr(rebuilding, "_fill", filling)
        await rebuild_stream(settings, OutputStream())
        await here.stores(job(0), "of a part that is looked up")
        await here.stores(ELSEWHERE, "0")


async def test_a_rebuild_ends_where_a_topic_has_removed_all_records_of_a_partition(settings: Settings) -> None:
    async with place(settings) as here:
        await here.send(job(0), 0, "gone")
        await here.send(ELSEWHERE, 0, "kept")
        await here.stores(job(0), "gone")
        await here.stores(ELSEWHERE, "kept")
        await remove(settings, 1)
        await rebuild_stream(settings, OutputStream(), lose=True)
        await here.send(job(1), 0, "new")
        await here.stores(job(1), "new")
        await here.stores(ELSEWHERE, "kept")
        await here.stores(job(0), "")
        assert here.intake.position(PARTITION) == 2


async def test_a_rebuild_for_which_the_disk_has_no_room_ends_and_leaves_nothing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rebuilding, "_LOOK_SECONDS", 0.05)

    class Large(OutputStream):
        async def store(self, db: Any, *given: Any) -> None:
            raise asyncpg.DiskFullError("no space left on device")

    async with place(settings) as here:
        await here.send(job(0), 0, "text")
        await here.stores(job(0), "text")
        with pytest.raises(RebuildFailed, match="nothing can be stored: DiskFullError: no space left on device"):
            await rebuild_stream(settings, Large())
        assert await here.printed(job(0)) == "text"
        named = "select count(*) from pg_namespace where nspname = $1"
        assert await here.pool.fetchval(named, f"{settings.schema_}_{OutputStream.schema}{NEXT}") == 0


async def test_what_would_lose_rows_is_refused_unless_that_is_wanted(settings: Settings) -> None:
    async with place(settings) as here:
        await here.send(job(0), 0, "gone")
        await here.send(job(1), 0, "kept")
        await here.stores(job(0), "gone")
        await here.stores(job(1), "kept")
        await remove(settings, 1)
        with pytest.raises(WouldLose, match=f"logs.jobs/{PARTITION} before 1.*Say --lose"):
            await rebuild_stream(settings, OutputStream())
        assert await here.printed(job(0)) == "gone"
        await rebuild_stream(settings, OutputStream(), lose=True)
        await here.stores(job(1), "kept")
        await here.stores(job(0), "")


async def test_a_rebuild_that_meets_what_it_can_not_store_leaves_the_tables(settings: Settings) -> None:
    class Faulty(OutputStream):
        def take(self, state: Any, piece: Any, now: float) -> Any:
            raise LookupError("there is no such thing")

    async with place(settings) as here:
        await here.send(job(0), 0, "text")
        await here.stores(job(0), "text")
        with pytest.raises(RebuildFailed, match=r"stands still at logs\.jobs/1@0.*there is no such thing"):
            await rebuild_stream(settings, Faulty())
        assert await here.printed(job(0)) == "text"
