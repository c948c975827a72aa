"""The log is lost and the tables are kept: the history ends, and another one begins on the same platform.

What must hold then is told here; that the new history is kept whole, the other checks say.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import signal
import time
from contextlib import suppress

import asyncpg
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from events.log.access import client_options
from events.log.tail import NoTopic, Tail
from events.log.topics import CONTEXTS, TopicsUnusable, ensure_topics
from events.projections.origins import former_schema
from events.projections.positions import live_schema
from tests.chaos.arena import PATIENCE, SERVERS, Arena
from tests.chaos.workload import Workload
from tests.integration.cluster import FORGELOG

LOG_LOST = "log lost"


async def log_lost(arena: Arena, load: Workload, chance: random.Random) -> str:
    """The broker's folder, or all topics; while everything is down, or under those who read. Raises AssertionError when
    the platform does not say so, or shows what is gone."""
    del load
    before = await _jobs(arena)
    arena.log_lost = True
    arena.forged.clear()  # they were in that log
    if chance.random() < 0.5:
        for name in ("supervisor", *SERVERS):
            arena.signal(name, signal.SIGKILL)
        shutil.rmtree(arena.data / "kafka" / "data")
        what = "the broker's folder is lost"
    else:
        await _remake_topics(arena)
        what = "all topics are made anew under their readers"
    await arena.recover()
    await _all_say_so(arena)
    shown = await _jobs(arena)
    if left := before & shown:
        raise AssertionError(f"{len(left)} jobs of the lost log are shown, such as {min(left)}")
    return f"{what}, with {len(before)} jobs in the tables"


async def _remake_topics(arena: Arena) -> None:
    """Delete all topics; a service or this function creates them anew, whichever is first."""
    before = await _events(arena)
    admin = AIOKafkaAdminClient(**client_options(arena.settings))
    await admin.start()
    try:
        ours = {name for name in await admin.list_topics() if not name.startswith("_")}
        await admin.delete_topics(sorted(ours))
    finally:
        await admin.close()
    async with asyncio.timeout(PATIENCE):
        while True:
            with suppress(KafkaError, OSError, TopicsUnusable, NoTopic):
                await ensure_topics(arena.settings)
                if await _events(arena) < before:
                    return
            await asyncio.sleep(0.1)


async def _events(arena: Arena) -> int:
    async with Tail(arena.settings, CONTEXTS, hasty=True) as tail:
        return sum((await tail.ends()).values())


async def _all_say_so(arena: Arena) -> None:
    """Every context's status has a notice of it, and its former tables are kept."""
    until = time.monotonic() + PATIENCE
    while True:
        told = await arena.platform.contexts(arena.platform.report())
        silent = set(CONTEXTS) - {
            each["context"] for each in told if any("not of this log" in notice for notice in each["notices"].values())
        }
        if not silent and len(told) == len(CONTEXTS) and all(each["ready"] for each in told):
            break
        if time.monotonic() > until:
            raise AssertionError(f"nothing is said of the lost log by {sorted(silent)}; the contexts say {told}")
        await asyncio.sleep(0.5)
    db = await asyncpg.connect(arena.settings.postgres_required)
    try:
        for context in CONTEXTS:
            former = former_schema(live_schema(arena.settings, context))
            if not await db.fetchval("select count(*) from pg_namespace where nspname = $1", former):
                raise AssertionError(f"the former tables of {context} are not kept")
    finally:
        await db.close()


async def _jobs(arena: Arena) -> set[str]:
    """Jobs that the tables show."""
    db = await asyncpg.connect(arena.settings.postgres_required)
    try:
        with suppress(asyncpg.UndefinedTableError):
            rows = await db.fetch(f'select job_id from "{live_schema(arena.settings, "jobs")}".jobs')
            return {row["job_id"] for row in rows}
        return set()
    finally:
        await db.close()


async def mended(arena: Arena) -> list[str]:
    """`forgelog rebuild` ends, and what was said of the lost log is said no more."""
    problems = []
    for context in CONTEXTS:
        process = await asyncio.create_subprocess_exec(
            *FORGELOG,
            "rebuild",
            context,
            env=arena.environment("rebuilder"),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            _, said = await asyncio.wait_for(process.communicate(), PATIENCE)
        except TimeoutError:
            process.kill()
            await process.wait()
            problems.append(f"the rebuild of {context} does not end")
            continue
        if process.returncode:
            problems.append(f"the rebuild of {context} ended with {process.returncode}: {said.decode()[-300:]}")
    until = time.monotonic() + PATIENCE
    while True:
        told = await arena.platform.contexts(arena.platform.report())
        notices = [notice for each in told for notice in each["notices"].values()]
        if not any("not of this log" in notice for notice in notices):
            return problems
        if time.monotonic() > until:
            return [*problems, f"after the rebuilds it is still said: {notices}"]
        await asyncio.sleep(0.5)
