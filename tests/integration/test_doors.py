"""One command, three doors, the same events; one submit, one trace; queries by HTTP and by a client that knows only
reflection."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import httpx
import orjson
import pytest
import pytest_asyncio
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha import reflection_pb2

from events.language.common import LogEvent
from events.language.jobs import JobCompleted, JobQueued, JobStarted, JobSubmitted
from events.language.scheduling import JobEnqueued
from events.log.access import client_options
from events.log.envelope import Recorded
from forgelog.embedded.kafka_users import PRODUCER
from forgelog.manifest import jobs as manifest
from tests import PATIENCE
from tests.access import as_user
from tests.integration.cluster import Cluster
from tests.integration.doors import DOORS, close_doors, open_doors

pytestmark = pytest.mark.slow

SUBMIT = "forgelog.jobs.v1.SubmitJob"
MANIFEST = """
name: sweep
command: [sh, -c, 'echo "task $FORGELOG_TASK"; test "$FORGELOG_TASK" != 2']
labels: {team: vision}
priority: high
array: {size: 3}
resources: {cpus: 0.1, memory: 64Mi}
"""


@pytest_asyncio.fixture(scope="module")
async def doors(platform: Cluster) -> AsyncIterator[dict[str, Any]]:
    doors = await open_doors(platform)
    yield doors
    await close_doors(doors)


@pytest_asyncio.fixture(scope="module")
async def http(platform: Cluster) -> AsyncIterator[httpx.AsyncClient]:
    async with platform.http() as client:
        yield client


def body() -> bytes:
    (job,) = manifest.parse(MANIFEST)
    return orjson.dumps({"spec": orjson.loads(job.base.model_dump_json(exclude_defaults=True))})


def story(platform: Cluster, job_id: str) -> list[tuple[str, str, str]]:
    """A job's own events up to its queueing, and scheduling's first, without what differs by nature: ids and times."""

    def plain(record: Recorded) -> str:
        text = record.data.model_dump_json(exclude_defaults=True).replace(job_id, "JOB")
        return re.sub(r'"submitted_at":"[^"]*"', '"submitted_at":"TIME"', text)

    told = [
        record
        for record in platform.seen
        if record.meta.subject == job_id and type(record.data).__name__ in ("JobSubmitted", "JobQueued", "JobEnqueued")
    ]
    told.sort(key=lambda record: record.position.topic)  # topics are read one beside the other; `sort` is stable
    return [
        (type(record.data).__name__, f"{record.meta.project} {record.meta.actor} {record.key == job_id}", plain(record))
        for record in told
    ]


async def test_the_same_manifest_yields_equal_events_at_every_door(platform: Cluster, doors: dict[str, Any]) -> None:
    stories = {}
    for name, door in doors.items():
        answer = await door.send(SUBMIT, body(), project="vision/detect", actor="owner")
        assert answer.accepted, answer
        done = await platform.recorded(lambda r, id=answer.subject: r.meta.subject == id and is_end(r))
        assert type(done.data).__name__ == "JobFailed"
        assert (done.data.counts.completed, done.data.counts.failed) == (2, 1)  # type: ignore[attr-defined]
        await platform.event(JobEnqueued, lambda e, id=answer.subject: e.job_id == id)
        stories[name] = story(platform, answer.subject)
    assert [kind for kind, _, _ in stories["kafka"]][:2] == ["JobSubmitted", "JobQueued"]
    assert '"size":3' in stories["kafka"][0][2]
    assert stories["kafka"] == stories["grpc"] == stories["http"]


def is_end(record: Recorded) -> bool:
    return type(record.data).__name__ in ("JobCompleted", "JobFailed", "JobCancelled")


@pytest.mark.parametrize("name", list(DOORS))
async def test_a_submit_is_one_trace_and_one_flow_through_all_services(
    platform: Cluster, doors: dict[str, Any], name: str
) -> None:
    trace, id = uuid.uuid4().hex, uuid.uuid4().hex
    spec = {"metadata": {"name": "traced"}, "command": "true"}
    parent = f"00-{trace}-{uuid.uuid4().hex[:16]}-01"
    answer = await doors[name].send(SUBMIT, orjson.dumps({"spec": spec}), id=id, traceparent=parent)
    job = answer.subject
    end = await platform.recorded(lambda r: r.meta.subject == job and is_end(r))
    for told in (  # and JobAssigned, where the job hears of the binding before it hears of the start
        ("events.jobs", "JobSubmitted"),
        ("events.jobs", "JobQueued"),
        ("events.scheduling", "JobEnqueued"),
        ("events.scheduling", "JobScheduled"),
        ("events.resources", "AllocationBound"),
        ("events.jobs", "JobStarted"),
        ("events.jobs", "JobExited"),
        ("events.jobs", "JobCompleted"),
    ):
        await platform.recorded(
            lambda r, told=told: r.meta.correlation == id and (r.position.topic, type(r.data).__name__) == told
        )
    flow = [r for r in platform.seen if r.meta.correlation == id]
    assert end in flow
    assert {r.meta.traceparent.split("-")[1] for r in flow} == {trace}
    ours = [r for r in platform.seen if getattr(r.data, "job_id", "") == job and not isinstance(r.data, LogEvent)]
    assert [r for r in ours if r not in flow and r.position.topic == "events.jobs"] == []


async def test_readme_s_plain_producer_submits_a_job(platform: Cluster) -> None:
    """The producer of the README's words, as a program of its own: headers and JSON, no package of ours."""
    program = """
import asyncio, json, sys
from aiokafka import AIOKafkaProducer

async def main(options, topic, job):
    async with AIOKafkaProducer(**json.loads(options)) as producer:
        headers = [("ce_id", b"my-first-job"), ("ce_type", b"forgelog.jobs.v1.SubmitJob")]
        await producer.send_and_wait(topic, job.encode(), headers=headers)

asyncio.run(main(*sys.argv[1:]))
"""
    settings = platform.settings
    job = '{"spec": {"metadata": {"name": "hello"}, "command": "echo", "args": ["hello"]}}'
    options = json.dumps(client_options(as_user(settings, PRODUCER)))
    arguments = [options, f"{settings.prefix}commands.jobs", job]
    for _ in range(2):  # the same id twice is one job
        done = await asyncio.to_thread(
            subprocess.run, [sys.executable, "-I", "-c", program, *arguments], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
    first = await platform.recorded(lambda r: r.meta.causation == "my-first-job")
    await platform.event(JobCompleted, lambda e: e.job_id == first.meta.subject)
    assert len(platform.all(JobStarted, lambda e: e.job_id == first.meta.subject)) == 1


class Reflected:
    """A client that has no stubs: it learns services and messages from the server."""

    def __init__(self, channel: Any, version: str) -> None:
        self.channel = channel
        # Both versions are the same messages in two packages; the library has a stub of one only.
        self._info = self.channel.stream_stream(
            f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )
        self._pool = DescriptorPool()
        self._known: set[str] = set()

    async def _ask(self, **request: str) -> Any:
        call = self._info(iter([reflection_pb2.ServerReflectionRequest(**request)]))
        async for answer in call:
            return answer
        raise AssertionError("reflection said nothing")

    async def services(self) -> list[str]:
        answer = await self._ask(list_services="")
        return [service.name for service in answer.list_services_response.service]

    async def learn(self, symbol: str) -> None:
        answer = await self._ask(file_containing_symbol=symbol)
        await self._add(answer.file_descriptor_response.file_descriptor_proto)

    async def _add(self, files: Any) -> None:
        for text in files:
            file = FileDescriptorProto.FromString(text)
            if file.name in self._known:
                continue
            self._known.add(file.name)
            for needed in file.dependency:
                if needed not in self._known:
                    answer = await self._ask(file_by_filename=needed)
                    await self._add(answer.file_descriptor_response.file_descriptor_proto)
            self._pool.Add(file)

    async def call(self, service: str, method: str, **fields: Any) -> Any:
        await self.learn(service)
        found = self._pool.FindServiceByName(service).methods_by_name[method]
        request = GetMessageClass(found.input_type)(**fields)
        ask = self.channel.unary_unary(
            f"/{service}/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=GetMessageClass(found.output_type).FromString,
        )
        return await ask(request, timeout=PATIENCE)


@pytest.mark.parametrize("where", ["gateway", "service"])
@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_a_plain_client_with_reflection_lists_jobs(
    platform: Cluster, doors: dict[str, Any], where: str, version: str
) -> None:
    answer = await doors["grpc"].send(SUBMIT, body())
    client = Reflected(platform.channel() if where == "gateway" else platform.service_channel("jobs"), version)
    services = await client.services()
    reflection = {f"grpc.reflection.{each}.ServerReflection" for each in ("v1", "v1alpha")}
    assert {"forgelog.jobs.v1.JobQueries", "grpc.health.v1.Health", *reflection} <= set(services)
    await client.learn(f"grpc.reflection.{version}.ServerReflection")
    await platform.recorded(lambda r: r.meta.subject == answer.subject and is_end(r))
    end = next(r for r in platform.seen if r.meta.subject == answer.subject and is_end(r))
    listed = await client.call("forgelog.jobs.v1.JobQueries", "ListJobs", options={"at_least": [str(end.position)]})
    (job,) = [job for job in listed.jobs if job.job_id == answer.subject]
    assert (job.name, job.tasks.total, job.tasks.failed, job.labels["team"]) == ("sweep", 3, 1, "vision")
    await client.channel.close()


async def test_queries_by_http(platform: Cluster, doors: dict[str, Any], http: httpx.AsyncClient) -> None:
    before = datetime.now(UTC)
    answer = await doors["http"].send(SUBMIT, body())
    id = answer.subject
    end = await platform.recorded(lambda r: r.meta.subject == id and is_end(r))
    now = {"at_least": str(end.position)}
    job = (await http.get(f"/v1/jobs/{id}", params=now)).json()
    assert (job["job"]["status"], job["job"]["exit_code"], job["spec"]["array"]["size"]) == ("failed", 1, 3)
    tasks = (await http.get(f"/v1/jobs/{id}/tasks", params=now)).json()["tasks"]
    assert [(task["task"], task["status"], task.get("exit_code")) for task in tasks] == [
        (0, "completed", 0),
        (1, "completed", 0),
        (2, "failed", 1),
    ]
    attempts = (await http.get(f"/v1/jobs/{id}/attempts", params=now)).json()["attempts"]
    assert [each["attempt"] for each in attempts] == [1, 1, 1]
    printed = await http.get(f"/v1/jobs/{id}/logs", params={"follow": "true"})
    assert printed.headers["content-type"] == "text/plain; charset=utf-8"
    assert sorted(printed.text.splitlines()) == ["task 0", "task 1", "task 2"]
    assert (await http.get(f"/v1/jobs/{id}/logs", params={"tasks": "1"})).text == "task 1\n"
    chunks = await http.get(f"/v1/jobs/{id}/chunks", params={"tasks": "1"})
    assert chunks.headers["content-type"] == "application/x-ndjson"
    pieces = [orjson.loads(line) for line in chunks.text.splitlines()]
    assert b"".join(base64.b64decode(piece.get("data", "")) for piece in pieces) == b"task 1\n"
    history = (await http.get(f"/v1/log/jobs/{id}/history", params=now)).json()["events"]
    assert [event["type"].rsplit(".", 1)[1] for event in history][:2] == ["JobSubmitted", "JobQueued"]
    assert history[0]["data"]["spec"]["metadata"]["name"] == "sweep"
    listed = (await http.get("/v1/jobs", params={"labels.team": "vision", "status": "failed"})).json()
    assert listed["error"]["errors"][0]["hint"] == "did you mean 'statuses'?"
    listed = (await http.get("/v1/jobs", params={"labels.team": "vision", "statuses": "failed", **now})).json()
    assert id in [each["job_id"] for each in listed["jobs"]]
    past = await http.get(f"/v1/jobs/{id}", params={"as_of": before.isoformat()})
    assert past.status_code == 404
    queued = next(r for r in platform.seen if r.meta.subject == id and isinstance(r.data, JobQueued))
    past = await http.get(f"/v1/jobs/{id}", params={"as_of": queued.meta.time.isoformat()})
    assert past.json()["job"]["status"] == "queued"
    nobody = await http.get("/v1/jobs/never-was")
    assert (nobody.status_code, nobody.json()["error"]["code"]) == (404, "not_found")


async def test_lists_go_on_where_a_cursor_says(
    doors: dict[str, Any], platform: Cluster, http: httpx.AsyncClient
) -> None:
    ids = []
    for number in range(5):
        spec = {"metadata": {"name": "paged", "labels": {"page": "yes"}}, "command": "true"}
        ids.append(
            (await doors["http"].send(SUBMIT, orjson.dumps({"job_id": f"paged-{number}", "spec": spec}))).subject
        )
    ends = [await platform.recorded(lambda r, id=id: r.meta.subject == id and is_end(r)) for id in ids]
    found: list[str] = []
    parameters = {"labels.page": "yes", "limit": "2", "at_least": [str(end.position) for end in ends]}
    while True:
        page = (await http.get("/v1/jobs", params=parameters)).json()
        found += [job["job_id"] for job in page["jobs"]]
        if not page.get("next_cursor"):
            break
        parameters["cursor"] = page["next_cursor"]
    assert found == ids[::-1]
    wrong = await http.get("/v1/jobs", params={"cursor": "nonsense"})
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (400, "invalid_argument")


async def test_a_waiting_job_says_why(doors: dict[str, Any], platform: Cluster, http: httpx.AsyncClient) -> None:
    cpus = (os.cpu_count() or 1) + 64
    spec = {"metadata": {"name": "greedy"}, "command": "true", "resources": {"cpus": cpus}}
    id = (await doors["http"].send(SUBMIT, orjson.dumps({"spec": spec}))).subject
    deferred = await platform.recorded(lambda r: r.meta.subject == id and type(r.data).__name__ == "JobDeferred")
    why = (await http.get(f"/v1/jobs/{id}/why", params={"at_least": str(deferred.position)})).json()
    assert "cpus" in why["message"] or "cpus" in str(why["entries"][0]["reasons"])
    queue = (await http.get("/v1/queues/default", params={"at_least": str(deferred.position)})).json()["queue"]
    assert queue["waiting_jobs"] >= 1
    assert why["entries"][0]["position"] == queue["waiting_jobs"], "behind those that other modules have left waiting"
    assert (await doors["http"].send("forgelog.jobs.v1.CancelJob", orjson.dumps({"job_id": id}))).accepted


async def test_a_watched_job_is_told_until_it_ends(
    doors: dict[str, Any], platform: Cluster, http: httpx.AsyncClient
) -> None:
    id = (await doors["http"].send(SUBMIT, body())).subject
    submitted = await platform.recorded(lambda r: r.meta.subject == id and isinstance(r.data, JobSubmitted))
    seen = []
    where = {"at_least": str(submitted.position)}
    async with http.stream("GET", f"/v1/jobs/{id}/watch", params=where) as answer:
        async for line in answer.aiter_lines():
            seen.append(orjson.loads(line)["job"]["status"])
    assert seen[-1] == "failed"
    assert "failed" not in seen[:-1]
