"""Shards of a rebuild: places that are folded in a process each, since one process keeps only one core busy.

The parent says on a child's stdin what to do and reads its progress and its result from its stdout, a line of JSON
each. A shard is one transaction, so a child that dies leaves nothing; one whose parent has died notices at its next
batch, when nobody reads what it says. Should a further rebuild begin before that, it waits until the child's
transaction is over, and a child that comes too late finds that the schema is not the one it was started for.

A child is killed with its parent's call; it never outlives a rebuild that failed.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

import asyncpg
import orjson
import uvloop
from aiokafka.errors import KafkaError

from events.log.envelope import Position
from events.log.positions import Place, ReaderPosition
from events.log.tail import Tail
from events.process.settings import Settings
from events.process.tasks import end_all
from events.projections import replaying, tables
from events.projections.projection import Projection
from events.projections.replaying import Interrupted, RebuildFailed

SMALLEST = 25_000
"""Events that are worth a process: it takes 0.7 s to start, in which one folds so many."""

_LINE_BYTES = 1 << 20


def divide(target: Mapping[Place, int], processes: int) -> list[list[Place]]:
    """Places by shard, about equal in events; a single shard when dividing isn't worth it. Any division will do: a row
    depends on events of one place only (see `Projection`)."""
    places = sorted(target, key=lambda place: -target[place])
    wanted = min(processes, len(places), sum(target.values()) // SMALLEST)
    if wanted < 2:
        return [places]
    shards: list[list[Place]] = [[] for _ in range(wanted)]
    for place in places:
        min(shards, key=lambda shard: sum(target[each] for each in shard)).append(place)
    return [shard for shard in shards if shard]


async def fill(
    settings: Settings,
    projection: Projection,
    schema: str,
    oid: int,
    shards: Sequence[Sequence[Place]],
    target: Mapping[Place, int],
    progress: Callable[[int], None],
) -> tuple[int, dict[Place, ReaderPosition]]:
    """Fold all shards into the empty tables of `schema`, whose object id is `oid`; returns the events folded and where
    each place stands. `progress` is told the sum of the offsets reached. Raises RebuildFailed."""
    reached = [0] * len(shards)

    def told(shard: int) -> Callable[[int], None]:
        def tell(offsets: int) -> None:
            reached[shard] = offsets
            progress(sum(reached))

        return tell

    order = order_of(settings, projection, schema, oid)
    tasks = [
        asyncio.create_task(_child({**order, "target": _plain(target, shard)}, told(number)))
        for number, shard in enumerate(shards)
    ]
    try:
        results = await asyncio.gather(*tasks)
    finally:
        await end_all(tasks)
    positions = {place: position for _, stands in results for place, position in stands.items()}
    return sum(events for events, _ in results), positions


def order_of(settings: Settings, projection: Projection, schema: str, oid: int) -> dict[str, Any]:
    """What a child is told, but for its shard."""
    kind = type(projection)
    return {
        "settings": settings.model_dump(mode="json", by_alias=True, exclude_unset=True),
        "projection": [kind.__module__, kind.__qualname__],
        "schema": schema,
        "oid": oid,
    }


def _plain(target: Mapping[Place, int], shard: Sequence[Place]) -> list[tuple[str, int, int]]:
    return [(context, number, target[context, number]) for context, number in shard]


async def _child(order: dict[str, Any], told: Callable[[int], None]) -> tuple[int, dict[Place, ReaderPosition]]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "events.projections.shards",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        limit=_LINE_BYTES,
        start_new_session=True,  # an interrupt is the parent's to handle
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(orjson.dumps(order) + b"\n")
        result: dict[str, Any] = {}
        async for line in process.stdout:
            result = orjson.loads(line)
            told(result.get("offsets", 0))
        code = await process.wait()
        if "failed" in result:
            failed = (Interrupted if result["again"] else RebuildFailed)(result["failed"])
            failed.position = Position.parse(result["at"]) if result.get("at") else None
            raise failed
        if code != 0 or "stands" not in result:
            raise Interrupted(f"a process of it ended with {code}")
        return result["events"], {
            (context, number): ReaderPosition(offset, epoch) for context, number, offset, epoch in result["stands"]
        }
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


# In the child


async def _work(order: dict[str, Any]) -> dict[str, Any]:
    settings = Settings(**order["settings"])
    module, name = order["projection"]
    projection: Projection = getattr(import_module(module), name)()
    target: dict[Place, int] = {(context, number): end for context, number, end in order["target"]}
    schema = order["schema"]
    contexts, numbers = sorted({context for context, _ in target}), {number for _, number in target}

    def progress(offsets: int) -> None:
        _say({"offsets": offsets})

    tail = Tail(settings, contexts, start="beginning", partitions=numbers, max_records=replaying.BATCH, hasty=True)
    async with tail, replaying.connected(settings) as db, replaying.connected(settings) as side:
        async with side.transaction(), db.transaction():
            for each in (db, side):
                await each.execute(f"lock table {tables.quoted(schema)}.positions in access share mode")
                if await tables.schema_oid(each, schema) != order["oid"]:
                    raise RebuildFailed("another rebuild has begun meanwhile")
            count = await replaying.advance(projection, db, schema, tail, target, progress, side)
        stands = [(context, number, *tail.positions[context, number]) for context, number in target]
    return {"events": count, "stands": stands, "offsets": sum(target.values())}


def _say(content: dict[str, Any]) -> None:
    sys.stdout.buffer.write(orjson.dumps(content) + b"\n")
    sys.stdout.buffer.flush()


def main() -> None:
    gc.disable()  # nothing here makes cycles, and looking for them takes a tenth
    order = orjson.loads(sys.stdin.buffer.readline())
    try:
        _say(uvloop.run(_work(order)))
    except BrokenPipeError:
        os._exit(1)  # the parent has died; the transaction is over with the connections
    except RebuildFailed as error:
        _say({"failed": str(error), "again": False, "at": str(error.position) if error.position else ""})
    except (OSError, KafkaError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        _say({"failed": f"{type(error).__name__}: {error}", "again": True})


if __name__ == "__main__":
    main()
