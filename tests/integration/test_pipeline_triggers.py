"""Topics and files that start runs, on a real platform with a real Kafka: each record and each file is read once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from events.language.pipelines.dataset_messages import VersionPublished
from events.language.pipelines.run_events import RunQueued, WorkerReady, WorkerRequested
from events.language.pipelines.watch_messages import FilesArrived, TopicAdvanced, TriggerTroubled
from forgelog import AsyncClient
from tests import PATIENCE
from tests.integration.cluster import Cluster
from tests.integration.test_pipeline_workers import newest
from tests.integration.topics import connection_of, new_topic, send

pytestmark = pytest.mark.slow

NAME = "comings"
RECORDS = 60


def spec(connection: dict[str, Any], topic: str, folder: Path) -> dict[str, Any]:
    """A topic and a folder become a dataset each. What a third trigger watches can't be looked at."""
    id = [{"name": "id", "type": "BIGINT"}]
    records = {"type": "kafka", "topic": topic, "connection": connection}
    files = {"type": "file_system", "path": f"{folder}/in/*.csv"}
    return {
        "stages": [
            {
                "id": "records",
                "inputs": {"raw": {"source": {**records, "columns": id}}},
                "sink": {"type": "dataset", "dataset": f"{NAME}-records", "mode": "append"},
            },
            {
                "id": "files",
                "inputs": {"raw": {"source": {**files, "columns": id, "trigger": "files", "allow_empty": True}}},
                "sink": {"type": "dataset", "dataset": f"{NAME}-files", "mode": "append"},
            },
        ],
        "triggers": [
            {"name": "broken", "files": {"type": "file_system", "path": str(folder / "in")}},
            {
                "name": "records",
                "topic": {
                    "topic": topic,
                    "connection": connection,
                    "start": "earliest",
                    "max_records": 20,
                    "every_seconds": 1,
                },
            },
            {"name": "files", "files": {**files, "poll_seconds": 1, "settle_seconds": 2}},
        ],
        "execution": {"worker": {"cpus": 0.1}, "keep_warm_seconds": 30},
    }


async def test_records_and_files_that_come_are_read_once_each(
    platform: Cluster, client: AsyncClient, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "old.csv").write_text("id\n0\n")
    topic = await new_topic(platform.settings)
    await send(platform, topic, _records(range(RECORDS // 2)))
    await client.pipelines.define(NAME, spec(connection_of(platform), topic, tmp_path))
    await client.pipelines.activate(NAME)
    id = (await client.pipelines.get(NAME)).pipeline_id

    await platform.event(TopicAdvanced, lambda event: event.pipeline_id == id)
    troubled = await platform.event(TriggerTroubled, lambda event: event.pipeline_id == id)
    assert troubled.trigger == "broken"
    assert "is a folder; end it with / for all files below" in troubled.reason
    await platform.event(FilesArrived, lambda event: event.pipeline_id == id and event.looked)

    # a file that grows is waited for, and the watcher is lost in the midst of it
    growing = (folder / "growing.csv").open("w", buffering=1)
    growing.write("id\n1\n")
    requested = await platform.event(WorkerRequested, lambda event: event.pipeline_id == id and event.watches)
    await client.jobs.cancel(requested.worker)
    for number in range(2, 8):
        growing.write(f"{number}\n")
        await asyncio.sleep(0.5)
    growing.close()
    await send(platform, topic, _records(range(RECORDS // 2, RECORDS)))
    ready = await platform.event(
        WorkerReady,
        lambda event: event.worker != requested.worker and event.worker in _watchers(platform, id),
    )
    assert ready.worker != requested.worker
    async with asyncio.timeout(PATIENCE):
        while (_read(platform, "records"), _read(platform, "files")) != (RECORDS, 7):
            await asyncio.sleep(0.2)

    assert _ids(platform, "records") == Counter(range(RECORDS))
    assert _ids(platform, "files") == Counter(range(1, 8)), "not the file that was there before, and no part of one"
    runs = platform.all(RunQueued, lambda event: event.pipeline_id == id)
    batches = [each for run in runs for batch in run.topics for each in batch.ranges]
    for partition in (0, 1):
        ends = [(each.start, each.end) for each in batches if each.partition == partition]
        assert [start for start, _ in ends] == [0, *(end for _, end in ends[:-1])], "without gaps, and none twice"
    shown = await platform.command(tmp_path, "pipeline", "status", NAME)
    assert "broken starts no runs: path:" in " ".join(shown.stdout.split())
    await client.pipelines.retire(NAME)


def _records(numbers: range) -> Iterator[tuple[int, dict[str, int]]]:
    return ((number % 2, {"id": number}) for number in numbers)


def _watchers(platform: Cluster, id: str) -> set[str]:
    return {
        each.worker for each in platform.all(WorkerRequested, lambda event: event.pipeline_id == id and event.watches)
    }


def _read(platform: Cluster, what: str) -> int:
    return sum(_ids(platform, what).values())


def _ids(platform: Cluster, what: str) -> Counter[int]:
    """The rows that the newest version has."""
    published = platform.all(VersionPublished, lambda event: event.dataset_id == f"{NAME}-{what}")
    return Counter(id for (id,) in newest(Path(published[-1].location), "id")) if published else Counter()
