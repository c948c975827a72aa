"""grpcurl is told the gateway's address and the key. By reflection it lists, describes, asks and publishes."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import subprocess
from pathlib import Path

import pytest

from events.language.jobs import JobSubmitted
from services.gateway.catalog import Catalog
from tests import PATIENCE
from tests.integration.cluster import Cluster
from tests.judges import tools

pytestmark = pytest.mark.slow

JOB = {"spec": {"metadata": {"name": "by-grpcurl"}, "command": "true"}}


@pytest.fixture(scope="module")
def program() -> Path:
    with tools.skipped_if_missing():
        return tools.grpcurl()


async def grpcurl(program: Path, platform: Cluster, *words: str, data: str = "") -> subprocess.CompletedProcess[str]:
    key = ["-expand-headers", "-H", "authorization: Bearer ${KEY}"]
    given = ["-d", "@"] if data else []
    return await asyncio.to_thread(
        subprocess.run,
        [str(program), "-plaintext", *key, *given, platform.gateway, *words],
        input=data,
        env={**os.environ, "KEY": platform.key},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


async def test_it_lists_every_service(program: Path, platform: Cluster) -> None:
    done = await grpcurl(program, platform, "list")
    assert done.returncode == 0, done.stderr
    assert {*Catalog().services, "forgelog.gateway.v1.Commands", "grpc.health.v1.Health"} <= set(done.stdout.split())


async def test_it_describes_every_service_and_what_its_queries_take(program: Path, platform: Cluster) -> None:
    names = [*Catalog().services, "forgelog.gateway.v1.Commands"]
    names += [method.request.DESCRIPTOR.full_name for method in Catalog().methods.values()]
    for word in await asyncio.gather(*[grpcurl(program, platform, "describe", name) for name in names]):
        assert word.returncode == 0, word.stderr


async def test_it_asks_and_publishes(program: Path, platform: Cluster) -> None:
    given = {
        "command": {
            "id": "by-grpcurl",
            "type": "SubmitJob",
            "json": base64.b64encode(json.dumps(JOB).encode()).decode(),
        }
    }
    done = await grpcurl(program, platform, "forgelog.gateway.v1.Commands/PublishAndWait", data=json.dumps(given))
    assert done.returncode == 0, done.stderr
    record = await platform.recorded(lambda record: record.meta.causation == "by-grpcurl")
    assert isinstance(record.data, JobSubmitted)

    outcome = json.loads(done.stdout)["outcome"]
    asked = {"jobId": record.data.job_id, "options": {"atLeast": outcome["positions"]}}
    done = await grpcurl(program, platform, "forgelog.jobs.v1.JobQueries/GetJob", data=json.dumps(asked))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["job"]["name"] == "by-grpcurl"


async def test_it_is_refused_without_the_key(program: Path, platform: Cluster) -> None:
    done = await asyncio.to_thread(
        subprocess.run,
        [str(program), "-plaintext", platform.gateway, "forgelog.jobs.v1.JobQueries/ListJobs"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode != 0
    assert "Unauthenticated" in done.stderr
