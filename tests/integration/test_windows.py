"""Windows of requests by Faust, on a real broker: they equal what was counted, though the application is killed.

It is killed when it is nearly done with what was sent: then the most is under way."""

from __future__ import annotations

import asyncio
import os
import random
import sys
from collections import Counter
from contextlib import suppress
from typing import Any

from events.hosting import open_pool
from events.language.deployments.traffic import LatencySketch
from events.language.deployments.traffic_records import MinuteRequests, Requests, TrafficRecord
from events.language.streams import TRAFFIC
from events.log.producer import Producer, ToSend
from events.log.topics import ensure_topics, existing
from events.process.settings import PREFIX, Settings
from events.streams.intake import Intake
from events.streams.rebuild import rebuild_stream
from services.deployments.windows.application import CHANGES
from services.deployments.windows.stream import WindowStream
from tests import PATIENCE

DEPLOYMENTS = ("one", "two", "three")
SOURCES = ("a", "b")
PARTS = 40


def records() -> list[TrafficRecord]:
    """What two routers count of three deployments, in one order of many."""
    chance = random.Random(7)
    found = []
    for sequence in range(1, PARTS + 1):
        for source in SOURCES:
            for deployment in DEPLOYMENTS:
                minutes = [
                    MinuteRequests(
                        revision=revision,
                        minute=100 + sequence // 10,
                        requests=Requests(
                            total=(count := chance.randint(1, 9)),
                            failures=chance.randint(0, count),
                            latency=LatencySketch.of_latencies([chance.uniform(1, 50) for _ in range(count)]),
                        ),
                    )
                    for revision in (1, 2)
                ]
                found.append(
                    TrafficRecord(source=source, sequence=sequence, deployment_id=deployment, minutes=tuple(minutes))
                )
    return found


async def application(settings: Settings) -> asyncio.subprocess.Process:
    settings = settings.model_copy(update={"instance": "windows-0"})
    settings.model_fields_set.add("instance")
    told = {f"{PREFIX}{name.upper()}": str(value) for name, value in settings.model_dump(exclude_unset=True).items()}
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services.deployments.windows",
        stdin=asyncio.subprocess.PIPE,
        env={**os.environ, **told},
    )


async def test_windows_equal_the_requests_after_the_application_was_killed(settings: Settings) -> None:
    await ensure_topics(settings)
    pool = await open_pool(settings)
    intake = Intake(WindowStream())
    running = asyncio.create_task(intake.run(settings, pool))
    process = await application(settings)
    wanted: Counter[tuple[str, int, int]] = Counter()
    failed = 0
    try:
        async with asyncio.timeout(PATIENCE):
            while (changes := (await existing(settings, [CHANGES])).get(CHANGES)) is None:
                await asyncio.sleep(0.1)
        assert changes == settings.partitions  # each with its leader, before the application asks for them
        async with Producer(settings) as producer:
            for number, record in enumerate(records()):
                for each in record.minutes:
                    wanted[record.deployment_id, each.revision, each.minute] += each.requests.total
                    failed += each.requests.failures
                sent = ToSend(settings.prefix + TRAFFIC.name, record.to_json(), record.deployment_id.encode())
                await producer.send_all([sent, sent] if number % 10 == 0 else [sent])  # some come twice
                if number in (60, 120, 180):
                    await _windows(intake, pool, process, sum(wanted.values()) * 9 // 10)
                    process.kill()
                    await process.wait()
                    process = await application(settings)
        rows = await _windows(intake, pool, process, sum(wanted.values()))
        found: Counter[tuple[str, int, int]] = Counter()
        for row in rows:
            found[row["deployment_id"], row["revision"], row["minute"]] += row["requests"]["total"]
        assert found == wanted
        assert sum(row["requests"]["failures"] for row in rows) == failed
        sketches = [LatencySketch.model_validate(row["requests"]["latency"]) for row in rows]
        assert LatencySketch.merged(sketches).count == sum(wanted.values())
        await rebuild_stream(settings, WindowStream())  # they keep their numbers and times, which say when they expire
        again = await _windows(intake, pool, process, sum(wanted.values()))
        assert {tuple(row.items()) for row in map(_plain, again)} == {tuple(row.items()) for row in map(_plain, rows)}
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await pool.close()


def _plain(row: Any) -> dict[str, str]:
    return {name: str(value) for name, value in row.items()}


async def _windows(intake: Intake, pool: Any, process: asyncio.subprocess.Process, least: int) -> list[Any]:
    """The windows, once they have at least so many requests."""
    async with asyncio.timeout(4 * PATIENCE):
        while True:
            assert process.returncode is None
            if intake.pool is not None:
                rows = await pool.fetch(f"select * from {intake.schema}.windows")
                if sum(row["requests"]["total"] for row in rows) >= least:
                    return list(rows)
            await asyncio.sleep(0.1)
