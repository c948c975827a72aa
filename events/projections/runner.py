"""The projection runner: tails event topics into Postgres tables, rows and positions in one transaction.

It has its own consumer and its own connection, so a slow database stalls nobody: it just falls behind, with a bounded
batch in memory. Positions are compared before they are moved: when another runner, or a rebuild's swap, has moved
them, everything held is dropped and read again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import asyncpg
from aiokafka.errors import KafkaError

from events.log import topics
from events.log.envelope import Position, Recorded
from events.log.identity import described, origins_in
from events.log.positions import Place, ReaderPosition, place_of
from events.log.repairs import Repair, Repairs
from events.log.tail import LogLost, Tail
from events.log.wire import HASH, Raw, Undecodable
from events.process import faults, metrics
from events.process.settings import Settings
from events.projections import origins, tables
from events.projections.folding import Fold, Written, history_row
from events.projections.positions import PositionsMoved, live_schema, of_a_value, read_positions, write_positions
from events.projections.projection import Projection
from events.projections.rebuild import rebuild
from events.projections.replaying import Interrupted, RebuildFailed
from events.projections.statistics import Statistics
from events.projections.stored import Listener, Stored
from events.writer.stops import Stops

GATHER = 0.05
"""Seconds in which what follows the first event of a batch joins it, unless somebody waits: a job leaves a dozen events
on its way, and a transaction for each would take the processor from the very steps that lead to them. Nothing is
fetched meanwhile, for the same reason."""
_REST = 0.005
"""Seconds for the broker to give what has come in that time."""
_AGAIN = 5.0
"""Seconds until tables that stopped as a whole are tried again."""
_NOTED_EVERY = 5.0
"""Seconds between two looks whether a note still holds."""
_REBUILT_EVERY = 1.0
"""Seconds between two looks whether tables of another log were rebuilt."""

Item = tuple[Raw, Recorded | None]
"""A record and its event; None for a marker."""

log = logging.getLogger("forgelog.projection")


class Runner:
    """Runs a projection. `run` returns when cancelled; `wait_for` waits until positions are in the tables."""

    def __init__(self, projection: Projection, settings: Settings, pool: asyncpg.Pool) -> None:
        self.projection = projection
        self.settings = settings
        self.schema = live_schema(settings, projection.context)
        self.positions: dict[Place, ReaderPosition] = {}
        self.stops = Stops(log)
        """What stands still (an input, the tables as a whole), and why."""
        self.foreign = ""
        """Why the tables can't be read, being of another log; empty if they can."""
        self.trouble = ""
        """Why nothing could be stored the last time; empty if it could."""
        self.note = ""
        """What people should know that stops nothing; empty when there is nothing."""
        self.heads: dict[Place, tuple[int, str]] = {}
        """Newest valid record of each place with its chain digest, hex: what `audit` signs."""
        self.changes = asyncio.Condition()
        """Notified after every batch: those who wait for positions wait on it."""
        self.listeners: list[Listener] = []
        """Told of every batch."""
        self._pool = pool
        self._stored: dict[Place, ReaderPosition] = {}
        self._waiting = 0
        """How many `wait_for` are under way."""
        self._wanted = asyncio.Event()
        """Set while there are any."""
        self._tail: Tail | None = None
        self._storing = False
        self._ends: dict[Place, int] = {}
        """The log's ends as they were heard last."""
        self._unnamed: set[Place] = set()
        """Places without a stored origin, since they were empty."""
        self._fold = Fold(projection)
        self._statistics = Statistics(self.schema)

    async def run(self) -> None:
        """Project until cancelled; survives restarts of Kafka and Postgres."""
        while True:
            try:
                await self._run()
            except PositionsMoved:
                log.info("%s: positions were moved (a rebuild or another runner); reading them again", self.schema)
            except (OSError, KafkaError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                self.trouble = f"{type(error).__name__}: {error}"
                log.warning("%s: %s; trying again", self.schema, self.trouble)
                await asyncio.sleep(0.5)
            except Exception as error:  # noqa: BLE001 - any error stops these tables and nothing else
                self.stops.add(self._tables, error, at=self._nowhere, doing="what the tables do", kind="tables")
                await asyncio.sleep(_AGAIN)
            finally:
                self._tail = None

    @property
    def _tables(self) -> str:
        return f"tables of {self.projection.context}"

    @property
    def _nowhere(self) -> Position:
        """Where the tables stand when no event is to blame."""
        return Position(f"tables.{self.projection.context}", 0, 0)

    async def _run(self) -> None:
        async with self._pool.acquire() as db:
            await tables.create_schema(db, self.schema, self.projection)
            row = await db.fetchrow(f"select version, format, repairs from {tables.quoted(self.schema)}.made")
            made = (row["version"], row["format"]) if row else (0, 0)
            repairs = row["repairs"] if row else 0
            self._stored = await read_positions(db, self.schema)
            self.trouble = ""
            self.note = await origins.former_note(db, self.schema)
        if made != (self.projection.version, tables.FORMAT):
            now = f"{self.projection.version} (format {tables.FORMAT})"
            await self._rebuild(f"made by version {made[0]} (format {made[1]}), now {now}")
            return
        self._fold = Fold(self.projection)
        async with Tail(self.settings, self.projection.contexts, start=self._stored, patient=True) as tail:
            async with self._pool.acquire() as db:
                compared = await origins.compare_tables(self.settings, db, self.schema, tail.positions)
                if not compared.mismatches:
                    await origins.write_origins(db, self.schema, compared.origins)
            if compared.mismatches:
                await tail.stop()
                await self._leave(described(compared.mismatches))
                return
            self._unnamed = set(tail.positions) - set(compared.origins)
            if self._contains(tail.repairs.since(repairs)):
                await tail.stop()
                await self._rebuild("they contain what is passed over now")
                return
            await self._note_repairs(tail.repairs)
            self.stops.forget()
            self.positions = dict(tail.positions)
            self._tail = tail
            for listener in self.listeners:
                listener.unknown()
            noted_at = time.monotonic()
            while True:
                raws = await tail.poll_raw(1.0)
                if 0 < len(raws) < tail.max_records:
                    raws += await self._gathered(tail)
                if heard := tail.take_repairs():
                    for repair in heard:
                        self.stops.mended_by(repair)
                    if self._contains(heard):
                        await tail.stop()
                        await self._rebuild("they contain what is passed over now", tail.stopped)
                        return
                    await self._note_repairs(tail.repairs)
                    raws = [raw for raw in raws if not tail.repairs.pass_over(raw)]
                if raws or tail.positions != self.positions:
                    await self._store(raws, tail)
                if self.note and time.monotonic() - noted_at > _NOTED_EVERY:
                    noted_at = time.monotonic()
                    async with self._pool.acquire() as db:
                        self.note = await origins.former_note(db, self.schema)

    async def _leave(self, how: str) -> None:
        """The tables are of another log: put them away and build new ones, or wait until somebody has."""
        context = self.projection.context
        lost = (
            f"The tables of {context} are not of this log, which was lost, cut or restored from an older copy ({how})."
        )
        self.positions = {}
        if self.settings.lost_log == "anew":
            log.error("%s They are set aside and built anew", lost)
            note = f"{lost} They were built anew from it at {datetime.now(UTC):%Y-%m-%d %H:%M} UTC."
            async with self._pool.acquire() as db:
                aside = await origins.set_aside(db, self.schema, self.projection, self._stored, note)
            if aside:
                await self._rebuild("the log is another one")
            return
        self.foreign = f"{lost} Restore the log, or build them anew: forgelog rebuild {context}"
        self.stops.add(self._tables, LogLost({self._tables: 0}), at=self._nowhere, doing=self.foreign, kind="tables")
        try:
            while True:
                await asyncio.sleep(_REBUILT_EVERY)
                async with self._pool.acquire() as db:
                    if await read_positions(db, self.schema) != self._stored:
                        return
        finally:
            self.foreign = ""
            self.stops.lift(self._tables)

    async def _gathered(self, tail: Tail) -> list[Raw]:
        if self._wanted.is_set():
            return await tail.poll_raw(0)
        tail.rest()
        try:
            await asyncio.wait_for(self._wanted.wait(), GATHER)
        except TimeoutError:
            pass
        finally:
            tail.go_on()
        return await tail.poll_raw(_REST)

    def _contains(self, repairs: Sequence[Repair]) -> bool:
        """Whether the tables were folded from what is to be passed over."""
        return any(
            repair.skips
            and repair.place[0].startswith("events.")
            and repair.first
            < self._stored.get((topics.context_of(repair.place[0]), repair.place[1]), ReaderPosition()).offset
            for repair in repairs
        )

    async def _note_repairs(self, repairs: Repairs) -> None:
        """The tables know these: they were made without what those pass over."""
        async with self._pool.acquire() as db:
            await db.execute(f"update {tables.quoted(self.schema)}.made set repairs = $1", repairs.until)

    async def _rebuild(self, why: str, stands: Mapping[Place, int] | None = None) -> None:
        """Build the tables anew; each place as far as it can be folded. The runner stops where one can't go on."""
        log.info("%s: %s: rebuilding", self.schema, why)
        until = dict(stands or {})
        while True:
            try:
                await rebuild(self.settings, self.projection, until=until)
                return
            except Interrupted:
                raise
            except RebuildFailed as error:
                at = error.position
                if at is None:
                    raise
                log.error("%s: %s; its place is folded up to there", self.schema, error)
                until[topics.context_of(at.topic), at.partition] = at.offset

    async def _store(self, raws: Sequence[Raw], tail: Tail) -> None:
        items = self._decoded(raws, tail)
        await self._fold_in(items, dict(tail.positions), tail)
        await self._statistics.renew(self._pool)

    def _decoded(self, raws: Sequence[Raw], tail: Tail) -> list[Item]:
        """Records with their events (None: a marker). A place stops right before what does not decode."""
        items: list[Item] = []
        for raw in raws:
            if tail.stands_before(raw):
                continue
            try:
                if self.projection.passes_over(raw):
                    continue
                items.append((raw, None if raw.is_marker else raw.decode()))
            except Undecodable as error:
                self._stop(raw, error, tail)
        return items

    def _stop(self, raw: Raw, error: Exception, tail: Tail) -> None:
        tail.stop_at(raw)
        self.stops.add(f"{self._tables} reading {raw.topic}/{raw.partition}", error, raw, kind="tables")

    async def _fold_in(self, items: list[Item], positions: dict[Place, ReaderPosition], tail: Tail) -> None:
        """Write events and positions. What can't be folded, or written, is found by halves, and stops its place."""
        try:
            await self._write(items, positions)
        except (OSError, KafkaError, PositionsMoved):
            raise
        except Exception as error:
            if not items or not of_a_value(error):
                raise
            self._fold = Fold(self.projection)
            if len(items) == 1:
                self._stop(items[0][0], error, tail)
                return
            middle = len(items) // 2
            for half in (items[:middle], items[middle:]):
                left = [item for item in half if not tail.stands_before(item[0])]
                reached = {place_of(raw): ReaderPosition.behind(raw) for raw, _ in left}
                await self._fold_in(left, {**self._stored, **reached}, tail)

    async def _write(self, items: Sequence[Item], positions: dict[Place, ReaderPosition]) -> None:
        """One transaction."""
        batch = [recorded for _, recorded in items if recorded is not None]
        written: Sequence[Written] = ()
        history: list[tuple[Any, ...]] = []
        named: dict[Place, str] = {}
        self._storing = True  # until it is done: what fails is `trouble`, what hangs is this
        async with self._pool.acquire() as db, db.transaction():
            await db.execute(f"set local search_path to {tables.quoted(self.schema)}")
            await write_positions(db, self._stored, positions)
            faults.point(faults.MID_ROWS)
            if batch:
                for recorded in batch if faults.armed() else ():
                    faults.raising(faults.IN_PROJECT, str(recorded.position))
                await self._fold.apply(db, batch)
                written = self._fold.written
                own = topics.events(self.projection.context)
                history = [
                    history_row(recorded, raw.value or b"")
                    for raw, recorded in items
                    if recorded is not None and raw.topic == own
                ]
                await tables.copy_history(db, self.schema, history)
            if self._unnamed and (named := origins_in(raw for raw, _ in items)):
                await origins.write_origins(db, self.schema, named)
        stored = Stored(self._stored, positions, written, history)
        self._stored = self.positions = positions
        self._storing = False
        self._unnamed -= set(named)
        for raw, _ in items:
            if digest := raw.get(HASH):
                self.heads[place_of(raw)] = (raw.offset, digest.decode())
        metrics.projected.labels(self.projection.context).inc(len(batch))
        for listener in self.listeners:
            listener.stored(stored)
        async with self.changes:
            self.changes.notify_all()
        self._statistics.note(written, len(history))

    async def newest_events(self) -> dict[int, int]:
        """The newest event of each partition of the own context that the tables have: its offset."""
        context, history = self.projection.context, f"{tables.quoted(self.schema)}.history"
        query = f"select off from {history} where context = $1 and partition = $2 order by off desc limit 1"
        found: dict[int, int] = {}
        async with self._pool.acquire() as db:
            for name, number in list(self.positions):
                if name == context and (offset := await db.fetchval(query, context, number)) is not None:
                    found[number] = offset
        return found

    async def newest(self) -> list[Position]:
        """The newest position of each place that the tables follow, as the broker tells it now; without those that
        stand still. Raises KafkaError, OSError, and LookupError while no place is followed."""
        if self._tail is None:
            raise LookupError(f"{self._tables} are not read from the log")
        return [
            Position(topics.events(context), number, end - 1)
            for (context, number), end in (await self._tail.ends()).items()
            if end and not self.stops.cause_of(topics.events(context), number)
        ]

    async def wait_for(self, wanted: Sequence[Position], timeout: float) -> list[Position]:
        """Wait until these positions are in the tables; returns those that are not after `timeout` seconds. Positions
        of topics that this projection does not read hold at once."""
        contexts = self.projection.contexts

        def missing() -> list[Position]:
            return [
                position
                for position in wanted
                if (context := topics.context_of(position.topic)) in contexts
                and position.topic.startswith("events.")
                and self.positions.get((context, position.partition), ReaderPosition()).offset <= position.offset
            ]

        if not missing():
            return []
        self._waiting += 1
        self._wanted.set()
        try:
            async with asyncio.timeout(timeout), self.changes:
                await self.changes.wait_for(lambda: not missing())
        except TimeoutError:
            return missing()
        finally:
            self._waiting -= 1
            if not self._waiting:
                self._wanted.clear()
        return []

    def readings(self) -> Iterator[tuple[str, str, int, int, str]]:
        """Of every place: kind, place, how far the tables hold it, its end, and what is known to stop it."""
        if self._tail is not None:
            self._ends |= {place: self._tail.last_known_end(place) for place in self._tail.positions}
        stores = "the database has not taken what was read" if self._storing else ""
        for (context, number), at in self.positions.items():
            topic = topics.events(context)
            end = max(at.offset, self._ends.get((context, number), 0))
            cause = self.stops.cause_of(topic, number) or self.trouble or stores
            yield "tables", f"{topic}/{number}", at.offset, end, cause

    def status(self) -> dict[str, Any]:
        """Positions and problems."""
        return {
            "context": self.projection.context,
            "positions": {
                f"{topics.events(context)}/{partition}": position.offset
                for (context, partition), position in sorted(self.positions.items())
            },
            "problems": {stop.place: stop.text for stop in self.stops},
            "notices": {f"tables of {self.projection.context}": self.note} if self.note else {},
        }
