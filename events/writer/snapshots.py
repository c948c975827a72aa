"""Snapshots bound a writer's start-up: a partition's state at a position, in Postgres, checked by hash.

Snapshots are never needed: without one, the history is folded from its beginning. A snapshot is taken of a state whose
events this process appended. It is stored only once the process has read the log up to there without a newer marker:
otherwise a zombie could store a state that contains void events.
"""

from __future__ import annotations

import asyncio
import logging
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any, NamedTuple

import asyncpg
import orjson
from blake3 import blake3

from events.log.identity import origins_in
from events.log.positions import Place, ReaderPosition
from events.log.wire import Raw
from events.process import faults
from events.process.settings import Settings
from events.writer.deciders import Deciders, OneOrMore
from events.writer.kinds import Kind
from events.writer.partition import Partition
from events.writer.states import Pack, joined, split
from events.writer.stops import MOST_CAUSE

FORMAT = 5
"""Raise it when the layout below or the runtime's own folding changes."""

_MOST_DOUBLINGS = 10

log = logging.getLogger("forgelog.snapshots")


class Taken(NamedTuple):
    """A partition's whole state at one moment, as plain data that does not change any more."""

    content: dict[str, Any]
    packs: list[Pack]


class Loaded(NamedTuple):
    """A partition from a snapshot, and the origins of the log that it was folded from."""

    partition: Partition
    origins: dict[Place, str]


def take(partition: Partition) -> Taken:
    """The state of the partition now. This is the synchronous part of a snapshot; `encode` is the other one."""
    content = {
        "kinds": {name: _taken(kind) for name, kind in partition.kinds.items()},
        "commands": partition.dedup.newest(),
        "inputs": [[topic, p, at.offset, at.epoch] for (topic, p), at in partition.inputs.items()],
        "observed": [[topic, p, at.offset, at.epoch] for (topic, p), at in partition.observed.items()],
        "digest": partition.digest.hex(),
        "time": partition.last_time.isoformat() if partition.last_time else None,
        "next_offset": partition.next_offset,
        "epoch": partition.epoch,
        "repairs": partition.repairs,
        "dispatched": partition.dispatched and list(partition.dispatched),
    }
    hashed = partition.dedup.hashed.packs()
    states = [pack for kind in partition.kinds.values() for pack in kind.states.packs]
    return Taken({**content, "hashed": len(hashed)}, states + hashed)


def _taken(kind: Kind[Any]) -> dict[str, Any]:
    """The states of one kind. `packs`: how many of the packs that follow are of this kind, in the order of kinds."""
    states = kind.states
    states.sweep()
    return {
        "states": {key: kind.decider.dump(state) for key, state in states.items()},
        "provenance": {key: states.provenances(key) for key, _ in states.items()},
        "packs": len(states.packs),
    }


def _load_kind(kind: Kind[Any], data: dict[str, Any], packs: Iterator[Pack]) -> None:
    kind.states.add_packs(islice(packs, data["packs"]))
    for key, dumped in data["states"].items():
        kind.states[key] = state = kind.decider.load(key, dumped)
        kind.states.restore(key, data["provenance"][key])
        kind.states.passivate(key, kind.decider.may_passivate(state))


def encode(taken: Taken) -> bytes:
    """Four bytes of length, the compressed JSON, then the packed states, then the hashes of commands."""
    content = zlib.compress(orjson.dumps(taken.content), 1)
    return b"".join((len(content).to_bytes(4, "big"), content, *joined(taken.packs)))


def dump(partition: Partition) -> bytes:
    """What `load` takes."""
    return encode(take(partition))


def load(deciders: OneOrMore, number: int, count: int, blob: bytes) -> Partition:
    """The partition that `dump` returned. Raises ValueError, among others, if it is damaged."""
    view = memoryview(blob)
    end = 4 + int.from_bytes(view[:4], "big")
    data = orjson.loads(zlib.decompress(view[4:end]))
    partition = Partition(deciders, number, count)
    found = list(split(view[end:]))
    states = sum(kind["packs"] for kind in data["kinds"].values())
    if len(found) != (said := states + data["hashed"]):
        raise ValueError(f"the snapshot has {len(found)} packs and says {said}")
    packs = iter(found[:states])
    for name, kind in data["kinds"].items():
        _load_kind(partition.kinds[name], kind, packs)
    partition.dedup.restore(data["commands"], found[states:])
    partition.inputs = {(topic, p): ReaderPosition(offset, epoch) for topic, p, offset, epoch in data["inputs"]}
    partition.observed = {(topic, p): ReaderPosition(offset, epoch) for topic, p, offset, epoch in data["observed"]}
    partition.digest = bytes.fromhex(data["digest"])
    partition.last_time = datetime.fromisoformat(data["time"]) if data["time"] else None
    partition.next_offset = data["next_offset"]
    partition.epoch = data["epoch"]
    partition.repairs = data["repairs"]
    if data["dispatched"] is not None:
        partition.dispatched = ReaderPosition(*data["dispatched"])
    return partition


class Snapshots:
    """Keeps the two newest snapshots of each partition. Stores them in the background."""

    def __init__(self, settings: Settings, pool: asyncpg.Pool, every: int) -> None:
        """`every`: events folded between two snapshots of a partition."""
        self._pool = pool
        self._every = every
        self._table = f'"{settings.schema_}_log".snapshots'
        self._schema = f'"{settings.schema_}_log"'
        self.origins: dict[Place, str] = {}
        """Origins of the log that the states are folded from; see `events.log.identity`."""
        self._held: dict[int, tuple[int, int, asyncio.Task[bytes]]] = {}
        """Partition → position, epoch and data (encoded in a thread) of a snapshot that is not confirmed yet."""
        self._storing: set[asyncio.Task[None]] = set()
        self._failed: dict[int, tuple[int, str]] = {}
        """Partition → how many snapshots in a row have failed, and the last cause."""

    async def prepare(self) -> None:
        """Create the table if it does not exist. Waits for the database without a limit."""
        while True:
            try:
                return await self._make()
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                log.warning("snapshots wait for the database: %s", error)
                await asyncio.sleep(1)

    async def _make(self) -> None:
        async with self._pool.acquire() as db, db.transaction():
            await db.execute("select pg_advisory_xact_lock(hashtext($1))", self._schema)
            await db.execute(f"create schema if not exists {self._schema}")
            await db.execute(
                f"create table if not exists {self._table} (context text, partition int, next_offset bigint, "
                f"epoch bigint, version text, hash bytea, data bytea, taken_at timestamptz default now(), "
                f"primary key (context, partition, next_offset))"
            )
            await db.execute(f"alter table {self._table} add column if not exists origins text")

    @staticmethod
    def _version(deciders: Deciders) -> str:
        return f"{FORMAT}.{deciders.version}"

    async def load(self, deciders: Deciders, number: int, count: int) -> Loaded | None:
        """The newest usable snapshot, or None. A damaged one is reported and skipped."""
        try:
            async with self._pool.acquire() as db:
                rows = await db.fetch(
                    f"select next_offset, hash, data, origins from {self._table} "
                    f"where context = $1 and partition = $2 and version = $3 order by next_offset desc",
                    deciders.context,
                    number,
                    self._version(deciders),
                )
        except (OSError, asyncpg.PostgresError) as error:
            log.warning("snapshots can't be read (%s); folding %s/%d from the start", error, deciders.context, number)
            return None
        for row in rows:
            if blake3(row["data"]).digest() != row["hash"]:
                log.error("snapshot of %s/%d at %d is damaged; skipped", deciders.context, number, row["next_offset"])
                continue
            stored = orjson.loads(row["origins"] or "[]")
            origins = {(context, place): origin for context, place, origin in stored}
            try:
                return Loaded(load(deciders, number, count, row["data"]), origins)
            except Exception:
                log.exception("snapshot of %s/%d at %d can't be used", deciders.context, number, row["next_offset"])
        return None

    def note_origins(self, raws: Sequence[Raw]) -> None:
        """Note the origins of places that were empty when the states were loaded."""
        self.origins.update(origins_in(raws))

    def start_over(self) -> None:
        """Drop snapshots that no reader has confirmed: the log may have been replaced."""
        self._held.clear()

    async def forget(self, context: str, number: int) -> None:
        """Remove a partition's snapshots, which are of another log, if the database can be reached."""
        try:
            async with self._pool.acquire() as db:
                await db.execute(f"delete from {self._table} where context = $1 and partition = $2", context, number)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            log.warning("snapshots of %s/%d can't be removed: %s", context, number, error)

    def due(self, partition: Partition) -> bool:
        """Whether `offer` would take a snapshot now: then the state must hold nothing that is not in the log.

        The cost of a snapshot grows with the number of states, above all live ones, and of remembered commands. The
        number of events between two snapshots grows with it. After each failure that number doubles.
        """
        states = [kind.states for kind in partition.kinds.values()]
        live, packed = sum(len(each.items()) for each in states), sum(each.packed for each in states)
        enough = max(self._every, live, packed // 8, len(partition.dedup.hashed) // 8)
        times, _ = self._failed.get(partition.number, (0, ""))
        return partition.folded >= enough << min(times, _MOST_DOUBLINGS) and partition.number not in self._held

    def offer(self, partition: Partition, confirmed: ReaderPosition) -> None:
        """Take a snapshot if one is due, and store a pending one that the partition's reader has confirmed."""
        number = partition.number
        held = self._held.get(number)
        if held is not None:
            position, epoch, data = held
            if confirmed.epoch != epoch or partition.epoch != epoch:
                del self._held[number]
            elif confirmed.offset >= position and data.done():
                del self._held[number]
                if (error := data.exception()) is not None:
                    self._fail(partition, error)
                    return
                self._failed.pop(number, None)
                task = asyncio.create_task(self._store(partition.deciders, number, position, epoch, data.result()))
                self._storing.add(task)
                task.add_done_callback(self._storing.discard)
        elif self.due(partition):
            partition.folded = 0
            try:
                if faults.armed():
                    faults.raising(faults.IN_DUMP, f"{partition.context}/{number}")
                taken = take(partition)
            except Exception as error:  # noqa: BLE001 - any error of `dump`: a snapshot is never needed
                self._fail(partition, error)
                return
            encoding = asyncio.create_task(asyncio.to_thread(encode, taken))
            self._held[number] = (partition.next_offset, partition.epoch, encoding)

    def notices(self, partitions: Collection[int]) -> list[str]:
        """A notice for each of these partitions whose last snapshot failed."""
        return [cause for number, (_, cause) in sorted(self._failed.items()) if number in partitions]

    def _fail(self, partition: Partition, error: BaseException) -> None:
        """Note that the states can't be dumped. The writer goes on; only its next start takes longer."""
        times, known = self._failed.get(partition.number, (0, ""))
        cause = " ".join(f"{type(error).__name__}: {error}".split())[:MOST_CAUSE]
        notice = f"no snapshot of {partition.context}/{partition.number}: {cause}"
        if notice != known:
            log.error("%s", notice, exc_info=error)
        self._failed[partition.number] = times + 1, notice

    async def _store(self, deciders: Deciders, number: int, position: int, epoch: int, data: bytes) -> None:
        try:
            async with self._pool.acquire() as db, db.transaction():
                await db.execute(
                    f"insert into {self._table} (context, partition, next_offset, epoch, version, hash, data, origins) "
                    f"values ($1, $2, $3, $4, $5, $6, $7, $8) on conflict do nothing",
                    deciders.context,
                    number,
                    position,
                    epoch,
                    self._version(deciders),
                    blake3(data).digest(),
                    data,
                    orjson.dumps([(*place, origin) for place, origin in self.origins.items()]).decode(),
                )
                faults.point(faults.MID_SNAPSHOT)
                await db.execute(
                    f"delete from {self._table} where context = $1 and partition = $2 and next_offset not in (select "
                    f"next_offset from {self._table} where context = $1 and partition = $2 "
                    f"order by next_offset desc limit 2)",
                    deciders.context,
                    number,
                )
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            log.warning("snapshot of %s/%d not stored: %s", deciders.context, number, error)


def undumpable(context: str, partitions: Mapping[int, Partition], snapshots: Snapshots | None) -> dict[str, str]:
    """Notices by place: snapshots that failed, and states that stay in memory because they can't be packed."""
    notices: dict[str, str] = {}
    if snapshots is not None and (found := snapshots.notices(partitions)):
        notices[f"snapshots of {context}"] = "; ".join(found)
    for number, partition in sorted(partitions.items()):
        if troubles := [kind.states.trouble for kind in partition.kinds.values() if kind.states.trouble]:
            notices[f"states of {context}/{number}"] = "; ".join(troubles)
    return notices
