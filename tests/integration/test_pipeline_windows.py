"""Windows over event time on a real platform with a real Kafka: a kill -9 at each of a worker's points changes none."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest

from events.language.pipelines.dataset_messages import VersionPublished
from events.language.pipelines.run_events import (
    RunCompleted,
    RunQueued,
    StageCompleted,
    StageFailed,
    StageRetrying,
    WorkerRequested,
)
from events.process import faults
from forgelog import AsyncClient
from tests import PATIENCE
from tests.integration.cluster import Cluster
from tests.integration.test_pipeline_workers import newest
from tests.integration.topics import connection_of, new_topic, send

pytestmark = pytest.mark.slow

KILLED, CALM = "windows-killed", "windows-calm"
EPOCH = datetime(2026, 5, 9, tzinfo=UTC)
SIZE, DELAY = 10, 5
BATCH = 40
_LAST = int((EPOCH + timedelta(seconds=900)).timestamp())
OF_EXECUTORS = (faults.MID_STAGE, faults.AFTER_ASIDE, faults.BEFORE_PUBLICATION, faults.AFTER_PUBLICATION)
"""Points that a worker's executor comes to, and not the worker itself."""
OF_WORKERS = (faults.AFTER_PREPARED, *OF_EXECUTORS)
"""Points at which the worker itself is killed."""

Record = tuple[int, dict[str, Any]]


def batches() -> list[list[Record]]:
    """Two of rows that come out of order, but within the delay; then one that ends all windows; then late rows."""
    chance = random.Random(11)
    made, id = [], 0
    for number in range(2):
        times = [number * BATCH / 2 + step / 2 for step in range(BATCH)]
        times.sort(key=lambda time: time + chance.uniform(0, DELAY - 1))
        rows: list[Record] = []
        for place, time in enumerate(times):
            rows.append((place % 2, _row(id, time)))
            id += 1
        made.append(rows)
    ending = [(partition, _row(1_000 + partition, 1_000)) for partition in (0, 1)]
    late = [(partition, _row(2_000 + partition, 1 + partition)) for partition in (0, 1)]
    return [*made, ending, late]


def _row(id: int, seconds: float) -> dict[str, Any]:
    return {"id": id, "at": (EPOCH + timedelta(seconds=seconds)).isoformat()}


def spec(connection: dict[str, Any], topic: str, name: str, folder: Path) -> dict[str, Any]:
    """A topic's windows, with their rows' ids, become a dataset. The worker's named points are in `folder`."""
    columns = [{"name": "id", "type": "BIGINT"}, {"name": "at", "type": "TIMESTAMPTZ"}]
    streaming = {"event_time": "at", "delay_seconds": DELAY, "late": "side", "windows": {"size_seconds": SIZE}}
    source = {"type": "kafka", "topic": topic, "connection": connection, "columns": columns, "streaming": streaming}
    sql = "SELECT epoch(_window_start)::BIGINT AS id, list(id ORDER BY id) AS ids FROM raw GROUP BY ALL"
    return {
        "stages": [
            {
                "id": "windows",
                "inputs": {"raw": {"source": source}},
                "transformations": [{"type": "custom", "custom": {"sql": sql}}],
                "sink": {"type": "dataset", "dataset": name, "mode": "append"},
                "retry": {"max": 5, "backoff_seconds": 0},
            }
        ],
        "triggers": [
            {
                "name": "rows",
                "topic": {"topic": topic, "connection": connection, "start": "earliest", "every_seconds": 1},
            }
        ],
        "execution": {
            "variables": {"FORGELOG_FAULTS": str(folder), "FORGELOG_INSTANCE": name},
            "worker": {"cpus": 0.1},
            "keep_warm_seconds": 60,
        },
    }


async def test_windows_of_a_worker_that_is_killed_at_each_point_are_those_of_one_that_is_not(
    platform: Cluster, client: AsyncClient, tmp_path: Path
) -> None:
    topic = await new_topic(platform.settings)
    connection, given = connection_of(platform), batches()
    for name in (KILLED, CALM):
        await client.pipelines.define(name, spec(connection, topic, name, tmp_path))
        await client.pipelines.activate(name)

    sent = 0
    for number, batch in enumerate(given):
        if number == 1:  # the worker is killed at each point, with rows held from the batch before
            for point in OF_WORKERS:
                _arm(tmp_path, point, "SIGSTOP" if point in OF_EXECUTORS else "SIGKILL")
        await send(platform, topic, batch)
        sent += len(batch)
        if number == 1:
            for point in OF_EXECUTORS:
                await _reached(tmp_path, point)
                await _kill_worker(platform)
        async with asyncio.timeout(PATIENCE):
            while any(_taken(platform, name) < sent for name in (KILLED, CALM)):
                failed = platform.all(StageFailed, lambda event: event.pipeline_id in (KILLED, CALM))
                assert not failed, failed[0].failure
                await asyncio.sleep(0.1)

    left = [point for point in OF_WORKERS if _armed(tmp_path, point).exists()]
    assert left == [], "not reached"
    windows = _windows(platform, KILLED)
    assert windows == _windows(platform, CALM)
    rows = [row for batch in given[:2] for _, row in batch]
    wanted: dict[int, list[int]] = {}
    for row in rows:
        begin = datetime.fromisoformat(row["at"]).timestamp() // SIZE * SIZE
        wanted.setdefault(int(begin), []).append(row["id"])
    assert windows == [(begin, sorted(ids)) for begin, ids in sorted(wanted.items())], "each once, and whole"
    for name in (KILLED, CALM):
        states = [event.streams[0] for event in _completed(platform, name)]
        assert [state.batch for state in states] == list(range(1, len(states) + 1)), "each goes on from the one before"
        assert states[-1].late_rows == 2
        assert states[-1].watermark == EPOCH + timedelta(seconds=1_000 - DELAY)
        published = platform.all(VersionPublished, lambda event, name=name: event.dataset_id == name)
        assert [event.dataset_version for event in published] == list(range(1, len(states) + 1))
        aside = newest(Path(f"{published[-1].location}.quarantine"), "_rules, _input, (_row->>'id')::INT AS id")
        assert aside == [(["late"], "raw", 2_000), (["late"], "raw", 2_001)]
    retried = platform.all(StageRetrying, lambda event: event.pipeline_id in (KILLED, CALM))
    assert [(event.pipeline_id, event.failure.kind) for event in retried] == [(KILLED, "lost")] * 2, (
        "what is prepared is published without another attempt"
    )
    shown = await platform.command(tmp_path, "pipeline", "status", KILLED)
    assert "windows/raw: complete up to 2026-05-09T00:16:35Z; 1 is open" in " ".join(shown.stdout.split())
    for name in (KILLED, CALM):
        await client.pipelines.retire(name)


def _armed(folder: Path, point: str) -> Path:
    return folder / f"{KILLED}@{point}"


def _arm(folder: Path, point: str, signal: str) -> None:
    _armed(folder, point).write_text(signal)


async def _reached(folder: Path, point: str) -> None:
    async with asyncio.timeout(PATIENCE):
        while _armed(folder, point).exists():
            await asyncio.sleep(0.02)


async def _kill_worker(platform: Cluster) -> None:
    """The worker whose executor stands still: its newest one, of which the test may hear later than of that."""
    async with asyncio.timeout(PATIENCE):
        while (worker := _newest_worker(platform)) is None:
            await asyncio.sleep(0.1)
    worker.kill()


def _newest_worker(platform: Cluster) -> psutil.Process | None:
    """The process of the worker that was requested last; None if it does not run."""
    requested = platform.all(WorkerRequested, lambda event: event.pipeline_id == KILLED and not event.watches)
    for each in psutil.process_iter():
        with suppress(psutil.Error):
            job = each.environ().get("FORGELOG_JOB")
            if each.cmdline()[-1:] == ["forgelog.worker"] and job == requested[-1].worker:
                return each
    return None


def _completed(platform: Cluster, name: str) -> list[StageCompleted]:
    return platform.all(StageCompleted, lambda event: event.pipeline_id == name)


def _taken(platform: Cluster, name: str) -> int:
    """How many records completed runs had."""
    done = {event.run_id for event in platform.all(RunCompleted, lambda event: event.pipeline_id == name)}
    runs = platform.all(RunQueued, lambda event: event.run_id in done)
    return sum(each.end - each.start for run in runs for batch in run.topics for each in batch.ranges)


def _windows(platform: Cluster, name: str) -> list[tuple[int, list[int]]]:
    """Begin and rows of each that the newest version has, in order."""
    published = platform.all(VersionPublished, lambda event: event.dataset_id == name)
    return [(begin, ids) for begin, ids in newest(Path(published[-1].location), "id, ids") if begin < _LAST]
