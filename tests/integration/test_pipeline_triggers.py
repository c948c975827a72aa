"""Topics and files that start runs, on a real platform with a real Kafka: each record and each file is read once."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from events.language.pipelines.dataset_messages import VersionPublished
from events.language.pipelines.run_events import RunQueued, WorkerReady, WorkerRequested
from events.language.pipelines.watch_messages import FilesArrived, TopicAdvanced, TriggerTroubled
from events.log.access import options_of
from forgelog import AsyncClient
from tests import PATIENCE
from tests.integration.cluster import Cluster
from tests.integration.test_pipeline_workers import newest

pytestmark = pytest.mark.slow

NAME = "comings"
RECORDS = 60


def _options(platform: Cluster) -> dict[str, Any]:
    settings = platform.settings
    found = {"bootstrap_servers": settings.kafka}
    return found | (options_of(settings.kafka_config) if settings.kafka_config else {})


def _connection(platform: Cluster) -> dict[str, Any]:
    """The broker as sources and triggers name it; its password is a secret of the node."""
    found = _options(platform)
    names = {"security_protocol": "security_protocol", "sasl_mechanism": "sasl_mechanism"}
    names |= {"sasl_plain_username": "sasl_username"}
    made: dict[str, Any] = {"url": found["bootstrap_servers"]}
    made["options"] = {name: str(found[given]) for given, name in names.items() if given in found}
    if "sasl_plain_password" in found:
        secrets = platform.folder / "n0" / "secrets"
        secrets.mkdir(exist_ok=True, mode=0o700)
        (secrets / "comings-kafka").write_text(str(found["sasl_plain_password"]))
        made["secret"] = {"name": "comings-kafka"}
    return made


async def _send(platform: Cluster, topic: str, numbers: range) -> None:
    producer = AIOKafkaProducer(**_options(platform))
    await producer.start()
    try:
        for number in numbers:
            await producer.send(topic, json.dumps({"id": number}).encode(), partition=number % 2)
        await producer.flush()
    finally:
        await producer.stop()


async def _made(platform: Cluster) -> str:
    name = f"comings-{uuid.uuid4().hex[:12]}"
    admin = AIOKafkaAdminClient(**_options(platform))
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, 2, 1)])
    finally:
        await admin.close()
    return name


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
    topic = await _made(platform)
    await _send(platform, topic, range(RECORDS // 2))
    await client.pipelines.define(NAME, spec(_connection(platform), topic, tmp_path))
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
    await _send(platform, topic, range(RECORDS // 2, RECORDS))
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
