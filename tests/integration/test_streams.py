"""Records of a stream are stored once each; what can't be stored stops its partition alone, until it is repaired.

The stream is that of tasks' output, on a real broker and a real Postgres.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from subprocess import PIPE
from typing import Any

import asyncpg
import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from events.hosting import open_pool
from events.log import topics
from events.log.access import client_options
from events.log.deadletters import dead_letter_at, list_dead_letters, replay_dead_letter
from events.log.envelope import Position
from events.log.partitioner import partition_of
from events.log.producer import Producer, ToSend
from events.log.repairing import NoSuchRecord, look_at, retry, skip
from events.log.wire import Damage, Raw
from events.process import faults
from events.process.settings import Settings
from events.projections.runner import Runner
from events.queries.queries import QueryError, ReadModel
from events.streams import intake as intakes
from events.streams.intake import Intake
from events.streams.reading import StreamReader
from services.jobs.output import stream as output
from services.jobs.output.pieces import Part, Piece
from services.jobs.output.stream import OutputStream
from tests import PATIENCE
from tests.access import environment_of
from tests.integration.test_runtime import running, until
from tests.unit.writer.sample import SampleProjection

ROOT = Path(__file__).parents[2]
PARTITION = 1


def job(number: int, partition: int = PARTITION, partitions: int = 4) -> str:
    """The id of one of the jobs whose output lies in a partition."""
    ids = (f"job-{serial}" for serial in range(10_000))
    return [id for id in ids if partition_of(id, partitions) == partition][number]


ELSEWHERE = job(0, 2)
"""A job whose output lies in another partition."""


@dataclass
class Place:
    """An intake that runs, and what is needed to look at it."""

    settings: Settings
    intake: Intake
    pool: asyncpg.Pool
    producer: Producer

    async def send(self, job: str, offset: int, text: str, *, eof: bool = False, **headers: str) -> Position:
        """A piece, as an agent sends it."""
        given = {"job": job, "task": "0", "attempt": "1", "stream": "stdout", "offset": str(offset), **headers}
        if eof:
            given["eof"] = "1"
        named = [(name, value.encode()) for name, value in given.items()]
        record = ToSend(self.settings.prefix + topics.LOGS, text.encode(), job.encode(), headers=named)
        (stored,) = await self.producer.send_all([record])
        return Position(topics.LOGS, stored.partition, stored.offset)

    async def printed(self, job: str) -> str:
        """What is stored of a job."""
        rows = await self.pool.fetch(
            f"select data from {self.intake.schema}.chunks where job_id = $1 order by arrival", job
        )
        return b"".join(row["data"] for row in rows).decode()

    async def stores(self, job: str, text: str) -> None:
        """Wait until this is stored of a job."""

        async def wait() -> None:
            arrived = self.intake.arrived
            while await self.printed(job) != text:
                arrived = await self.news(arrived)

        await until_done(wait(), lambda: f"{self.stands} {self.intake.trouble}")

    async def news(self, arrived: int) -> int:
        """Wait until something was stored since then; the number of it."""
        async with self.intake.news:
            await self.intake.news.wait_for(lambda: self.intake.arrived != arrived)
            return self.intake.arrived

    async def refuse(self, condition: str) -> None:
        """The database refuses such chunks from now on."""
        await self.pool.execute(
            f"alter table {self.intake.schema}.chunks add constraint refused check (not ({condition})) not valid"
        )

    async def refuse_nothing(self) -> None:
        await self.pool.execute(f"alter table {self.intake.schema}.chunks drop constraint refused")

    @property
    def stands(self) -> dict[str, str]:
        """Place → the record at which it stands."""
        return {stop.place: str(stop.position) for stop in self.intake.stops}

    async def skip(self, position: Position) -> None:
        await skip(self.settings, await look_at(self.settings, position), "a test", "tester")


async def until_done(work: Any, told: Any) -> None:
    try:
        await asyncio.wait_for(work, PATIENCE)
    except TimeoutError:
        raise AssertionError(told()) from None


@asynccontextmanager
async def place(settings: Settings, stream: OutputStream | None = None) -> AsyncIterator[Place]:
    await topics.ensure_topics(settings)
    pool = await open_pool(settings)
    intake = Intake(stream or OutputStream())
    try:
        async with running(intake.run(settings, pool)), Producer(settings) as producer:
            await until(lambda: intake.pool is not None)
            yield Place(settings, intake, pool, producer)
    finally:
        await pool.close()


async def remove(settings: Settings, before: int) -> None:
    """The topic removes the records of a partition before an offset."""
    admin = AIOKafkaAdminClient(**client_options(settings))
    await admin.start()
    try:
        place_ = TopicPartition(settings.prefix + topics.LOGS, PARTITION)
        await admin.delete_records({place_: RecordsToDelete(before_offset=before)})
    finally:
        await admin.close()


class Raising(OutputStream):
    """Raises at a piece with the text ``odd``, while `faulty`: when it is read, or when it is taken."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.faulty = True

    def read(self, raw: Raw) -> Piece:
        self._raise("read", raw.value)
        return super().read(raw)

    def take(self, state: Part, piece: Piece, now: float) -> Sequence[Any]:
        self._raise("take", piece.data)
        return super().take(state, piece, now)

    def _raise(self, where: str, data: bytes | None) -> None:
        if self.faulty and self.where == where and data == b"odd":
            raise LookupError("there is no such thing")


async def test_a_piece_that_the_database_refuses_stops_its_partition_alone(settings: Settings) -> None:
    good, bad, later = job(0), job(1), job(2)
    async with place(settings) as here:
        await here.refuse(f"job_id = '{bad}'")
        await here.send(good, 0, "before")
        at = await here.send(bad, 0, "refused")
        await here.send(good, 6, " and after")
        await here.send(ELSEWHERE, 0, "elsewhere", eof=True)
        await here.stores(ELSEWHERE, "elsewhere")
        await here.stores(good, "before")
        await until(lambda: here.stands)
        assert here.stands == {f"stream logs.jobs/{PARTITION}": str(at)}
        (stop,) = here.intake.stops
        assert "refused" in stop.cause
        assert stop.skippable
        assert stop.record == f"a record of '{bad}'"
        await here.send(ELSEWHERE, 9, "more")
        await here.send(later, 0, "waits")
        assert here.intake.position(PARTITION) == at.offset
        assert [cause for _, name, *_, cause in here.intake.readings() if name.endswith(f"/{PARTITION}")] == [stop.text]

        await here.skip(at)
        await here.stores(good, "before and after")
        await here.stores(later, "waits")
        assert (here.stands, await here.printed(bad)) == ({}, "")


async def test_where_the_cause_was_mended_the_piece_is_tried_again(settings: Settings) -> None:
    bad = job(1)
    async with place(settings) as here:
        await here.refuse("off = 3")
        await here.send(bad, 0, "one")
        at = await here.send(bad, 3, "two")
        await until(lambda: here.stands)
        await here.refuse_nothing()
        await retry(settings, at, "mended", "tester")
        await here.stores(bad, "onetwo")
        assert not here.stands


@pytest.mark.parametrize("where", ["read", "take"])
async def test_a_defect_stops_the_partition_of_its_record(settings: Settings, where: str) -> None:
    stream = Raising(where)
    async with place(settings, stream) as here:
        await here.send(job(0), 0, "good")
        at = await here.send(job(1), 0, "odd")
        await here.send(ELSEWHERE, 0, "elsewhere")
        await here.stores(ELSEWHERE, "elsewhere")
        await here.stores(job(0), "good")
        await until(lambda: here.stands)
        assert here.stands == {f"stream logs.jobs/{PARTITION}": str(at)}
        stream.faulty = False
        await retry(settings, at, "mended", "tester")
        await here.stores(job(1), "odd")


async def test_not_the_piece_that_fills_a_gap_is_to_blame_but_the_held_one(settings: Settings) -> None:
    """The refused piece came ahead of its part, so it is stored together with the one that it waited for."""
    one = job(0)
    async with place(settings) as here:
        await here.refuse("off = 8")
        at = await here.send(one, 8, "refused")
        await here.send(job(1), 0, "other")
        await here.stores(job(1), "other")
        await here.send(one, 0, "in time.")
        await until(lambda: here.stands)
        assert list(here.stands.values()) == [str(at)]
        await here.refuse_nothing()
        await retry(settings, at, "mended", "tester")
        await here.stores(one, "in time.refused")


async def test_what_was_waited_for_in_vain_can_be_refused_too(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "WAIT", 0.2)
    async with place(settings) as here:
        await here.refuse("off = 8")
        at = await here.send(job(0), 8, "refused")
        await until(lambda: here.stands)
        assert list(here.stands.values()) == [str(at)]
        await here.skip(at)
        await here.send(job(0), 0, "good")
        await here.stores(job(0), "good")


async def test_what_came_in_time_is_not_given_up_however_long_it_takes_to_read_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The held piece is overdue at once, and what it waits for lies many fetches behind it."""
    monkeypatch.setattr(output, "WAIT", 0.0)
    monkeypatch.setattr(intakes, "_MOST", 5)
    await topics.ensure_topics(settings)
    async with await open_pool(settings) as pool, Producer(settings) as producer:
        sender = Place(settings, Intake(OutputStream()), pool, producer)
        await sender.send(job(0), 4, "last")
        for number in range(40):
            await sender.send(job(1), 2 * number, f"{number:2}")
        await sender.send(job(0), 0, "1st ")
    async with place(settings) as here:
        await here.stores(job(0), "1st last")


async def test_while_the_broker_does_not_say_where_the_topic_ends_nothing_is_given_up(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "WAIT", 0.0)
    monkeypatch.setattr(intakes, "_ANSWER_SECONDS", 0.0)
    async with place(settings) as here:
        await here.send(job(0), 4, "last")
        await until(lambda: "where logs.jobs ends" in here.intake.trouble)
        await here.send(job(0), 0, "1st ")
        await here.stores(job(0), "1st last")


async def test_what_one_partition_waits_for_keeps_no_reader_of_another(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "WAIT", 1e9)
    async with place(settings) as here:
        await here.send(job(0), 4, "ahead")
        await here.send(ELSEWHERE, 0, "elsewhere")
        await here.stores(ELSEWHERE, "elsewhere")
        for _ in range(2):
            now = time.monotonic()
            await until(lambda now=now: here.intake.complete_to(now, ELSEWHERE))
            assert not here.intake.complete_to(now, job(0))


async def test_a_held_piece_is_read_again_after_a_restart(settings: Settings) -> None:
    one = job(0)
    async with place(settings) as here:
        at = await here.send(one, 4, "last")
        behind = await here.send(job(1), 0, "behind it")
        await here.stores(job(1), "behind it")
        assert here.intake.position(PARTITION) == at.offset < behind.offset
    async with place(settings) as here:
        await here.send(one, 0, "1st ")
        await here.stores(one, "1st last")
        await here.stores(job(1), "behind it")
        assert await here.intake.wait_for([behind], PATIENCE) == []


class Counted(OutputStream):
    """Counts what it has stored, and how often its tables were made."""

    def __init__(self) -> None:
        self.chunks = 0
        self.made = 0

    @property
    def tables(self) -> Sequence[str]:  # type: ignore[override]
        self.made += 1
        return OutputStream.tables

    def stored(self, chunks: Sequence[Any]) -> None:
        self.chunks += len(chunks)


async def test_two_intakes_at_once_store_each_piece_once(settings: Settings) -> None:
    one, two = Counted(), Counted()

    async def send(sender: Place, numbers: range) -> None:
        for number in numbers:
            for partition in range(settings.partitions):
                await sender.send(job(0, partition), 2 * number, f"{number:2}")

    async def stored(looker: Place, count: int) -> None:
        for partition in range(settings.partitions):
            await looker.stores(job(0, partition), "".join(f"{number:2}" for number in range(count)))

    async with place(settings, two) as there:
        async with place(settings, one) as here:
            await send(here, range(20))
            await stored(here, 20)
        await send(there, range(20, 30))  # the second goes on, wherever the first has stored
        await stored(there, 30)
        numbers = await there.pool.fetch(f"select arrival from {there.intake.schema}.chunks order by arrival")
    assert [row["arrival"] for row in numbers] == list(range(1, len(numbers) + 1))
    assert one.chunks + two.chunks == len(numbers)
    assert two.chunks >= 10 * settings.partitions
    assert (one.made, two.made) == (1, 1)


async def test_a_stream_that_stops_as_a_whole_says_so_until_it_goes_on(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    wrong, tries, ensure = True, 0, topics.ensure_topics

    async def ensure_topics(settings: Settings) -> dict[str, int]:
        nonlocal tries
        tries += 1
        if wrong:
            raise topics.TopicsUnusable("they don't fit together")
        return await ensure(settings)

    monkeypatch.setattr(intakes, "_AGAIN", 0.01)
    await ensure(settings)
    async with await open_pool(settings) as pool:
        intake = Intake(OutputStream())
        reader = StreamReader(ReadModel(Runner(SampleProjection(), settings, pool), pool), intake)
        monkeypatch.setattr(topics, "ensure_topics", ensure_topics)
        async with running(intake.run(settings, pool)):
            await until(lambda: tries > 3)
            with pytest.raises(QueryError, match="they don't fit together"):
                reader.complete_to(time.monotonic(), job(0))
            assert [record.message.startswith("stream logs.jobs stopped") for record in caplog.records].count(True) == 1
            wrong = False
            await until(lambda: not intake.stops)
            now = time.monotonic()
            await until(lambda: reader.complete_to(now, job(0)))


async def test_a_repair_that_is_made_while_another_is_heard_is_heard_too(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = [job(1), job(1, 2)]
    async with place(settings) as here:
        await here.refuse("data = 'BAD'::bytea")
        first, second = [await here.send(name, 0, "BAD") for name in bad]
        await until(lambda: len(here.stands) == 2)
        assign = Intake._assign

        async def skipping(intake: Intake, *args: Any) -> None:
            monkeypatch.setattr(Intake, "_assign", assign)
            await here.skip(second)
            await assign(intake, *args)

        monkeypatch.setattr(Intake, "_assign", skipping)
        await here.skip(first)
        await until(lambda: not here.stands)
        for name in (job(0), job(0, 2)):
            await here.send(name, 0, "later")
            await here.stores(name, "later")


async def test_of_repairs_that_were_made_anew_each_is_heard(settings: Settings) -> None:
    async with place(settings) as here:
        await here.refuse("data = 'BAD'::bytea")
        at = await here.send(job(1), 0, "BAD")
        await until(lambda: here.stands)
        here.intake._repairs.until = 7  # as if more repairs had been there
        here.intake._consumer.seek(here.intake._repairs_place, 7)  # type: ignore[union-attr]
        await here.skip(at)
        await here.send(job(0), 0, "later")
        await here.stores(job(0), "later")


async def test_a_record_can_be_passed_over_where_another_one_was_before(settings: Settings) -> None:
    """In a topic that was made anew, say: the decision was about that record alone."""
    async with place(settings) as here:
        await here.refuse("data = 'BAD'::bytea")
        at = await here.send(job(1), 0, "BAD")
        await until(lambda: here.stands)
        suspect = await look_at(settings, at)
        former = await skip(settings, replace(suspect, digest="0" * 64), "a test", "tester")
        repair = await skip(settings, suspect, "a test", "tester")
        assert (former.number, repair.number) == (0, 1)
        assert await skip(settings, suspect, "again", "tester") == repair
        await here.send(job(0), 0, "later")
        await here.stores(job(0), "later")
        assert not here.stands


async def test_of_records_that_were_not_kept_until_they_were_read_a_line_tells(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    await topics.ensure_topics(settings)
    async with await open_pool(settings) as pool, Producer(settings) as producer:
        sender = Place(settings, Intake(OutputStream()), pool, producer)
        gone = [await sender.send(job(0), 0, "one"), await sender.send(job(0), 3, "two")][0]
        await sender.send(job(1), 0, "kept")
    await remove(settings, 2)
    async with place(settings) as here:
        await here.stores(job(1), "kept")
    assert "logs.jobs/1: the records from 0 to 1 were removed before they were read" in caplog.text
    with pytest.raises(NoSuchRecord, match=f"forgelog repair {gone} --retry"):
        await look_at(settings, gone)


async def test_a_query_waits_for_a_position_of_the_stream(settings: Settings) -> None:
    async with place(settings) as here:
        read = ReadModel(Runner(SampleProjection(), settings, here.pool), here.pool, [here.intake])
        at = await here.send(job(0), 0, "text")
        await read.wait_for([str(at)])
        assert await here.printed(job(0)) == "text"
        behind = at._replace(offset=at.offset + 1)
        assert await here.intake.wait_for([behind, Position("events.jobs", 0, 99)], 0.0) == [behind]


async def test_a_reader_is_told_that_more_may_come_where_nothing_is_stored(settings: Settings) -> None:
    async with place(settings) as here:
        reader = StreamReader(ReadModel(Runner(SampleProjection(), settings, here.pool), here.pool), here.intake)
        await here.refuse("off = 3")
        await here.send(job(0), 0, "one")
        await here.send(job(0), 3, "two")
        await here.send(ELSEWHERE, 0, "elsewhere")
        await until(lambda: here.stands)
        now = time.monotonic()

        async def rows(db: Any, reached: int) -> list[Any]:
            query = f"select arrival, data from {reader.schema}.chunks where job_id = $1 and arrival > $2 order by 1"
            found: list[Any] = await db.fetch(query, asked, reached)
            return found

        async def done() -> bool:
            return reader.complete_to(now, asked)

        asked = ELSEWHERE
        assert [row["data"] async for row in reader.follow(rows, done, lambda: False)] == [b"elsewhere"]
        asked = job(0)
        following = reader.follow(rows, done, lambda: False)
        assert (await anext(following))["data"] == b"one"
        with pytest.raises(QueryError, match=r"not stored: logs\.jobs stands still at logs\.jobs/1@1"):
            await anext(following)


async def test_what_is_no_piece_becomes_a_dead_letter_that_can_be_put_back(settings: Settings) -> None:
    async with place(settings) as here:
        at = await here.send(job(0), 0, "text", task="first")
        await here.send(job(0), 0, "text")
        await here.stores(job(0), "text")
        (letter,) = await list_dead_letters(settings, "jobs")
        assert (letter.origin, letter.value) == (str(at), b"text")
        assert "malformed" in letter.reason
        assert await dead_letter_at(settings, letter.position) == letter
        back = await replay_dead_letter(settings, letter.position)
        assert (back.topic, back.partition) == (at.topic, at.partition)
        assert (await dead_letter_at(settings, letter.position)).replayed
        for nowhere in (letter.position._replace(offset=99), letter.position._replace(topic="commands.jobs")):
            with pytest.raises(LookupError, match="there is no dead letter at"):
                await dead_letter_at(settings, nowhere)


async def test_a_damaged_batch_becomes_a_dead_letter_and_is_passed_over(settings: Settings) -> None:
    async with place(settings) as here:
        storing = here.intake._storing
        assert storing is not None
        batch = Damage.at(topics.LOGS, PARTITION, 5, 7, "its checksum is wrong", b"its bytes")
        await storing.store(await here.intake._read([batch], storing), [])
        assert here.intake.position(PARTITION) == 8
        (letter,) = await list_dead_letters(settings, "jobs")
        assert (letter.origin, letter.value) == (f"logs.jobs/{PARTITION}@5", b"its bytes")
        assert "its checksum is wrong" in letter.reason


INTAKE = """
import asyncio
from events.process.settings import Settings
from events.hosting import open_pool
from events.streams.intake import Intake
from services.jobs.output.stream import OutputStream

async def main():
    settings = Settings.load()
    await Intake(OutputStream()).run(settings, await open_pool(settings))

asyncio.run(main())
"""


async def test_the_program_of_the_page_prints_what_the_page_shows(settings: Settings, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "how-to" / "streams.md").read_text()
    python = [
        text for kind, text in re.findall(r"^```(\w+)\n(.*?)^```$", page, re.DOTALL | re.MULTILINE) if kind == "python"
    ]
    text = "\n".join(re.findall(r"^```text\n(.*?)^```$", page, re.DOTALL | re.MULTILINE))
    (tmp_path / "lab.py").write_text(python[0])
    (tmp_path / "program.py").write_text("\n".join(python[1:]))
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    env = {**os.environ, **environment_of(settings), "FORGELOG_CONTEXTS": "lab:SPEC", "PYTHONPATH": path}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "program.py", cwd=tmp_path, env=env, stdout=PIPE, stderr=PIPE
    )
    out, err = await asyncio.wait_for(process.communicate(), PATIENCE)
    assert (process.returncode, out.decode()) == (0, text), err.decode()


async def test_an_intake_that_is_killed_amid_its_rows_has_stored_nothing_of_them(
    settings: Settings, tmp_path: Path
) -> None:
    one = job(0)
    async with place(settings) as here:
        await here.send(one, 0, "before ")
        await here.stores(one, "before ")
        schema, pool = here.intake.schema, here.pool
        positions = f"select context, partition, off from {schema}.positions order by 1, 2"
        before = await pool.fetch(positions)
    (tmp_path / f"intake@{faults.MID_STREAM}").write_text("SIGKILL")
    faulty = {"FORGELOG_FAULTS": str(tmp_path), "FORGELOG_INSTANCE": "intake"}
    env = {**os.environ, **environment_of(settings), **faulty}
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", INTAKE, env=env)
    try:
        async with Producer(settings) as producer:
            await Place(settings, here.intake, pool, producer).send(one, 7, "after")
        assert await asyncio.wait_for(process.wait(), PATIENCE) == -signal.SIGKILL
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    db = await asyncpg.connect(settings.postgres_required)
    try:
        assert await db.fetch(positions) == before
    finally:
        await db.close()
    async with place(settings) as here:
        await here.stores(one, "before after")
