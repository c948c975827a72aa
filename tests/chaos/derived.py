"""What must hold after every round of what is made from the log: tables, streams, the audit's chain, tasks' output.

Each check yields sentences about what does not hold.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress

import asyncpg

from events.audit.audit import verify
from events.language.jobs import JobSubmitted
from events.log.topics import CONTEXTS
from events.projections import rebuild
from events.projections.positions import live_schema, read_positions
from events.projections.tables import quoted
from events.streams.rebuild import rebuild_stream, streams_of
from events.streams.storing import CHUNKS
from forgelog.client.aio import AsyncClient
from tests.chaos.arena import Arena
from tests.chaos.checks import Log
from tests.chaos.workload import Workload

BETWEEN = 2.0
"""Seconds between two looks at rows that may still come."""
MOST_LATE = 60.0
"""Seconds after which none is late any more."""


async def tables(arena: Arena) -> list[str]:
    """The tables equal a fresh rebuild."""
    found = []
    for context in CONTEXTS:
        difference = await rebuild.diff(arena.settings, context)
        if not difference.equal:
            found.append(f"{context} differs from a rebuild: {difference.missing or ''} {difference.surplus or ''}")
    return found


async def streams(arena: Arena, log: Log) -> list[str]:
    """The rows of streams are those that a rebuild makes of the topic, with the same numbers and times of arrival; rows
    of jobs of a log that was lost go with it."""
    found = []
    known = {record.data.job_id for record in log.of(JobSubmitted)}  # type: ignore[attr-defined]
    for context in CONTEXTS:
        for stream in streams_of(context):
            schema = f"{arena.settings.schema_}_{stream.schema}"
            before = await _last_rows(arena, schema)
            await rebuild_stream(arena.settings, stream)
            after = await _rows(arena, schema)
            for table in before | after:
                lost, more = before[table] - after[table], after[table] - before[table]
                if arena.log_lost and table != "positions":
                    lost = Counter({row: n for row, n in lost.items() if row[1:].split(",")[0] in known})
                if lost or more:
                    found.append(f"{schema}.{table}: a rebuild has other rows: {list(more)[:3]}, not {list(lost)[:3]}")
    return found


async def _last_rows(arena: Arena, schema: str) -> dict[str, Counter[str]]:
    """`_rows`, once none has come for a while: on a busy machine the windows of the round's last requests come late."""
    until = time.monotonic() + MOST_LATE
    found, before = await _rows(arena, schema), None
    while found != before and time.monotonic() < until:
        await asyncio.sleep(BETWEEN)
        found, before = await _rows(arena, schema), found
    return found


async def _rows(arena: Arena, schema: str) -> dict[str, Counter[str]]:
    """Table → its rows, each cut off where it gets long, with its hash; without the number of the last chunk, from far
    behind which a rebuild numbers."""
    db = await asyncpg.connect(arena.settings.postgres_required)
    try:
        found = {}
        for (name,) in await db.fetch("select tablename from pg_tables where schemaname = $1", schema):
            kept = f"where context <> '{CHUNKS[0]}'" if name == "positions" else ""
            rows = await db.fetch(
                f"select left(t::text, 100) || ' ' || md5(t::text) from {quoted(schema)}.{quoted(name)} t {kept}"
            )
            found[name] = Counter(row[0] for row in rows)
        return found
    finally:
        await db.close()


async def chain(arena: Arena) -> list[str]:
    """The hash chain verifies with every signed head, except for the forgeries of an attack; it names each of them."""
    told = [
        f"{item.place}: {problem}"
        for item in await verify(arena.settings)
        for problem in item.problems
        if not (arena.log_lost and "signed" in problem)
    ]
    missed = [f"the audit does not name the forged {place}" for place in arena.forged if not _names(told, place)]
    return missed + [problem for problem in told if not any(_names([problem], place) for place in arena.forged)]


def _names(told: Iterable[str], place: str) -> bool:
    return any(problem.startswith(f"{place}:") for problem in told)


class Positions:
    """Watches the stored positions of every projection: they never go back."""

    def __init__(self, arena: Arena) -> None:
        self._arena = arena
        self._seen: dict[tuple[str, str, int], int] = {}
        self.problems: list[str] = []

    async def watch(self) -> None:
        """Until cancelled; the database is one of the victims, so a failed look is no news."""
        while True:
            with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError, AssertionError):
                await asyncio.wait_for(self.look(), 5)
            await asyncio.sleep(0.2)

    def begin(self) -> None:
        """Another history begins."""
        self._seen.clear()
        self.problems.clear()

    async def look(self) -> None:
        settings = self._arena.settings
        db = await asyncpg.connect(settings.postgres_required, timeout=3)
        try:
            for context in CONTEXTS:
                positions = await read_positions(db, live_schema(settings, context))
                for place, position in positions.items():
                    key = (context, *place)
                    if position.offset < self._seen.get(key, -1):
                        self.problems.append(f"position {key} went back from {self._seen[key]} to {position.offset}")
                    self._seen[key] = position.offset
        finally:
            await db.close(timeout=2)


async def output(arena: Arena, load: Workload) -> list[str]:
    """What jobs printed is there whole and exact, or what is missing is said. Each job once: it is forgotten then."""
    problems = []
    async with AsyncClient(arena.gateway, token=arena.platform.key, timeout=60) as client:
        for job, lines in load.printed.items():
            if job in load.cut_short:
                continue
            attempts: dict[int, bytearray] = {}
            missing: dict[int, int] = {}
            ended: set[int] = set()
            async for piece in client.jobs.logs(job, stream="stdout"):
                attempts.setdefault(piece.attempt, bytearray()).extend(piece.data)
                missing[piece.attempt] = missing.get(piece.attempt, 0) + piece.missing_bytes
                if piece.eof:
                    ended.add(piece.attempt)
            last = max(attempts, default=0)
            got, said = bytes(attempts.get(last, b"")), missing.get(last, 0)
            wanted = b"".join(b"%d\n" % number for number in range(1, lines + 1))
            if last not in ended:
                problems.append(f"{job}: its output has no end: {len(got)} of {len(wanted)} bytes")
            elif len(got) + said != len(wanted) or (not said and got != wanted):
                problems.append(f"{job}: {len(got)} of {len(wanted)} bytes of output, {said} said to be missing")
    load.printed.clear()
    return problems
