"""Several contexts in one process: they work as each does alone, one that ends leaves the others at work, and a context
moves from one process to another amid work."""

from __future__ import annotations

import asyncio
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import httpx
import orjson
import pytest
from aiokafka import AIOKafkaProducer
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client.parser import text_string_to_metric_families

from events import hosting
from events.hosting import Answering
from events.language.contexts import TOGETHER
from events.language.jobs import CancelJob, JobCompleted, JobStarted, JobSubmitted
from events.language.scheduling import ConfigureQueue
from events.log import topics
from events.log.access import client_options
from events.log.outcomes import Outcomes
from events.log.publish import Publisher
from events.process.settings import Settings, SettingsError
from events.process.tasks import end_all
from events.queries.callers import service_channel, services_key
from events.service import run
from forgelog.cli.platform import fares
from forgelog.embedded.contexts import ask_all
from forgelog.embedded.ports import free_port
from forgelog_pb.jobs.v1 import queries_pb2 as jobs_pb
from forgelog_pb.jobs.v1.queries_pb2_grpc import JobQueriesStub
from forgelog_pb.log.v1 import queries_pb2 as pb
from forgelog_pb.log.v1.queries_pb2_grpc import LogQueriesStub
from forgelog_pb.scheduling.v1 import queries_pb2 as scheduling_pb
from forgelog_pb.scheduling.v1.queries_pb2_grpc import SchedulingQueriesStub
from services.gateway.catalog import Catalog
from services.gateway.forward import Forwarder
from services.gateway.limits import Bounds
from services.gateway.principal import Access
from services.jobs.service import SERVICE as JOBS
from services.scheduling.service import SERVICE as SCHEDULING
from tests import PATIENCE
from tests.access import environment_of
from tests.copies import write_copies
from tests.integration.cluster import SERVICES, cluster

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING

THREE = ("jobs", "scheduling", "resources")


async def test_contexts_in_one_process_do_what_they_do_alone(settings: Settings, tmp_path: Path) -> None:
    async with cluster(settings, tmp_path, gateway=True, together=THREE) as platform:
        job = await platform.submit("true")
        await platform.event(JobCompleted, lambda event: event.job_id == job)
        assert set(platform.of_job(job)) >= {"JobSubmitted", "JobStarted", "JobCompleted"}

        async with platform.http() as http, platform.service_channel(TOGETHER) as channel:
            assert (await http.get("/readyz")).json() == {"ready": True, "missing": {}}
            asked: Any = LogQueriesStub(channel)
            for name in THREE:
                status = await asked.GetStatus(pb.GetStatusRequest(context=name))
                assert (status.context, status.ready) == (name, True)
                events = (await asked.GetHistory(pb.GetHistoryRequest(context=name))).events
                assert {event.context for event in events} == {name}
                metrics = await http.get(f"/metrics/{name}")
                assert contexts_in(metrics) == {name}
                once(metrics.text)
            with pytest.raises(grpc.aio.AioRpcError, match="name the one that is asked"):
                await asked.GetStatus(pb.GetStatusRequest())
            with pytest.raises(grpc.aio.AioRpcError, match="not of 'accounts'"):
                await asked.GetStatus(pb.GetStatusRequest(context="accounts"))
            health: Any = health_pb2_grpc.HealthStub(channel)
            for name in ("", *THREE, "forgelog.log.v1.LogQueries", "forgelog.jobs.v1.JobQueries"):
                assert (await health.Check(health_pb2.HealthCheckRequest(service=name))).status == SERVING


def once(text: str) -> None:
    """That each metric, and each sample of it, is told once, and that samples stand below their metric's name."""
    families = list(text_string_to_metric_families(text))
    names = [family.name for family in families]
    samples = [(each.name, tuple(sorted(each.labels.items()))) for family in families for each in family.samples]
    assert (len(names), len(samples)) == (len(set(names)), len(set(samples)))
    types = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE ")]
    assert len(types) == len(set(types))
    assert "unknown" not in {family.type for family in families}


def contexts_in(answer: httpx.Response) -> set[str]:
    """The contexts of the samples in Prometheus' text."""
    assert answer.status_code == 200
    words = (line.partition('context="')[2].partition('"')[0] for line in answer.text.splitlines())
    return set(filter(None, words))


async def test_a_context_moves_to_another_process_and_back_amid_work(settings: Settings, tmp_path: Path) -> None:
    async with cluster(settings, tmp_path, together=()) as platform:
        jobs: list[str] = []

        async def work() -> None:
            while True:
                jobs.append(await platform.submit("true"))
                await asyncio.sleep(0.1)

        async def done(count: int) -> None:
            await platform.recorded(lambda _: len(platform.all(JobCompleted)) >= count)

        working = asyncio.create_task(work())
        try:
            await done(5)
            for name in ("jobs", "scheduling"):
                platform.end(name)
            platform.start(TOGETHER, "jobs", "scheduling")
            await platform.healthy(TOGETHER)
            await done(len(jobs) + 5)
            platform.end(TOGETHER)
            for name in ("jobs", "scheduling"):
                platform.start(name)
                await platform.healthy(name)
            await done(len(jobs) + 5)
        finally:
            await end_all([working])
        await done(len(jobs))
        for kind in (JobSubmitted, JobStarted, JobCompleted):
            assert Counter(event.job_id for event in platform.all(kind)) == dict.fromkeys(jobs, 1), kind


class Broken(Exception):
    """What a test lets a context end by."""


class Host:
    """Jobs, whose work ends when a test says so, and scheduling, in this process."""

    def __init__(
        self, address: str, publisher: Publisher, outcomes: Outcomes, channel: Any, breaking: asyncio.Event
    ) -> None:
        self.address = address
        self.publisher = publisher
        self.outcomes = outcomes
        self.channel = channel
        self.breaking = breaking
        self.log: Any = LogQueriesStub(channel)
        self._number = 0

    async def outcome(self, command: Any) -> Any:
        self._number += 1
        told = self.outcomes.expect(f"c{self._number}")
        await self.publisher.publish(command, id=f"c{self._number}")
        return await asyncio.wait_for(told, PATIENCE)

    async def status(self, context: str) -> Any:
        return await self.log.GetStatus(pb.GetStatusRequest(context=context))

    async def serving(self, name: str) -> int:
        stub: Any = health_pb2_grpc.HealthStub(self.channel)
        return int((await stub.Check(health_pb2.HealthCheckRequest(service=name))).status)

    async def becomes(self, name: str, status: int) -> None:
        async with asyncio.timeout(PATIENCE):
            while await self.serving(name) != status:
                await asyncio.sleep(0.02)


@pytest.fixture
async def host(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Host]:
    monkeypatch.setattr(hosting, "_FIRST_PAUSE", 3600.0)
    async with hosted(settings) as host:
        yield host


@asynccontextmanager
async def hosted(settings: Settings) -> AsyncIterator[Host]:
    await topics.ensure_topics(settings)
    breaking = asyncio.Event()

    async def background(_: Answering) -> None:
        await breaking.wait()
        breaking.clear()
        raise Broken("the disk of jobs is on fire")

    port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    services = [replace(JOBS, background=(background,)), SCHEDULING]
    task = asyncio.create_task(run(services, settings, started=port.set_result))
    try:
        async with Publisher(settings) as publisher, Outcomes(settings) as outcomes:
            address = f"127.0.0.1:{await asyncio.wait_for(port, PATIENCE)}"
            async with service_channel(address, services_key(settings)) as channel:
                host = Host(address, publisher, outcomes, channel, breaking)
                for name in ("jobs", "scheduling", ""):
                    await host.becomes(name, SERVING)
                yield host
    finally:
        await end_all([task])


async def test_a_context_that_ends_says_why_and_leaves_the_others_at_work(host: Host) -> None:
    host.breaking.set()
    await host.becomes("jobs", NOT_SERVING)
    why = (await host.status("jobs")).waits["service"]
    assert "Broken: the disk of jobs is on fire" in why
    assert (await host.serving(""), await host.serving("scheduling")) == (NOT_SERVING, SERVING)
    assert (await host.status("scheduling")).ready

    jobs: Any = JobQueriesStub(host.channel)
    for asked in (
        jobs.ListJobs(jobs_pb.ListJobsRequest()),
        host.log.GetHistory(pb.GetHistoryRequest(context="jobs")),
    ):
        with pytest.raises(grpc.aio.AioRpcError, match="the disk of jobs is on fire") as refused:
            await asked
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    decided = await host.outcome(ConfigureQueue(queue="nowhere"))
    assert "there is no queue nowhere" in decided.rejected.message
    queues: Any = SchedulingQueriesStub(host.channel)
    request = scheduling_pb.ListQueuesRequest(options={"at_least": [str(decided.position)]})
    assert [queue.queue for queue in (await queues.ListQueues(request)).queues]


async def test_status_doctor_and_readiness_name_the_context_that_ended(host: Host, settings: Settings) -> None:
    host.breaking.set()
    await host.becomes("jobs", NOT_SERVING)
    services = dict.fromkeys(("jobs", "scheduling"), host.address)
    jobs, scheduling = await ask_all(services, services_key(settings))
    assert (jobs["ready"], scheduling["ready"], scheduling["waits"]) == (False, True, {})
    (line,) = fares([jobs, scheduling])
    assert "jobs" in line
    assert "the disk of jobs is on fire" in line

    told = settings.model_copy(update={"services": services})
    forwarder = Forwarder(told, Catalog(), Bounds(), Access(told))
    try:
        assert "the disk of jobs is on fire" in await forwarder.serving("jobs", PATIENCE)
        assert await forwarder.serving("scheduling", PATIENCE) == ""
    finally:
        await forwarder.close()


async def test_a_context_that_ended_begins_again(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosting, "_FIRST_PAUSE", 0.05)
    async with hosted(settings) as host:
        for number in range(2):
            assert (await host.outcome(CancelJob(job_id=f"nobody-{number}"))).rejected is not None
            host.breaking.set()
            await host.becomes("jobs", NOT_SERVING)
            for name in ("jobs", ""):
                await host.becomes(name, SERVING)


async def test_a_context_that_is_alone_ends_its_process(settings: Settings) -> None:
    await topics.ensure_topics(settings)

    async def background(_: Answering) -> None:
        raise Broken

    with pytest.raises(Broken):
        await asyncio.wait_for(run([replace(SCHEDULING, background=(background,))], settings), PATIENCE)


async def test_a_port_that_is_taken_is_told(settings: Settings) -> None:
    server = await asyncio.start_server(lambda _, __: None, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()
        taken = settings.model_copy(update={"listen": f"{host}:{port}"})
        with pytest.raises(SettingsError, match="set FORGELOG_LISTEN to a free host:port"):
            await run([JOBS, SCHEDULING], taken)


def test_every_context_can_be_run_together() -> None:
    assert [hosting.service_of(name).projection.context for name in SERVICES] == list(SERVICES)


async def test_contexts_that_are_added_run_together_from_their_specs(settings: Settings, tmp_path: Path) -> None:
    """In processes that are told of them: this one is not."""
    names, address = ("notes", "mail"), f"127.0.0.1:{free_port()}"
    told = {
        **environment_of(settings),
        **write_copies(tmp_path, names),
        "FORGELOG_LISTEN": address,
        "FORGELOG_INSTANCE": "{context}-0",
    }
    command = [sys.executable, "-P", "-m", "services", *names]
    with (tmp_path / "services.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *command, env={**os.environ, **told}, stdout=log, stderr=log, cwd=tmp_path
        )
    try:
        async with service_channel(address, services_key(settings)) as channel, asyncio.timeout(PATIENCE):
            health: Any = health_pb2_grpc.HealthStub(channel)
            for name in names:
                status = NOT_SERVING
                while status != SERVING:
                    assert process.returncode is None, (tmp_path / "services.log").read_text()
                    await asyncio.sleep(0.05)
                    with suppress(grpc.aio.AioRpcError):
                        status = (await health.Check(health_pb2.HealthCheckRequest(service=name))).status
            asked: Any = LogQueriesStub(channel)
            async with AIOKafkaProducer(**client_options(settings)) as producer:
                for name in names:
                    kind = [("ce_id", f"{name}-1".encode()), ("ce_type", f"forgelog.{name}.v1.AddNote".encode())]
                    body = orjson.dumps({"note_id": "n1", "text": f"of {name}"})
                    await producer.send_and_wait(
                        f"{settings.prefix}commands.{name}", key=b"n1", value=body, headers=kind
                    )
            for name in names:
                while not (events := (await asked.GetHistory(pb.GetHistoryRequest(context=name))).events):
                    await asyncio.sleep(0.05)
                (event,) = events
                assert (event.context, event.type) == (name, f"forgelog.{name}.v1.NoteAdded")
                assert orjson.loads(event.data)["text"] == f"of {name}"
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await asyncio.wait_for(process.wait(), PATIENCE)
