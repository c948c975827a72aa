"""Queries: a job by its id, at the service and through the gateway, beside a bare grpc.aio echo; a long list."""

from __future__ import annotations

import asyncio
import multiprocessing
import shutil
import tempfile
import time
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import grpc

from bench.report import Figure
from events.language.jobs import SubmitJob
from events.language.jobs.spec import JobMetadata, JobResources, JobSpec
from events.log.envelope import Position
from events.log.publish import Outgoing, Publisher
from events.process.settings import Settings
from forgelog.client.keyed import KeyedChannel
from forgelog_pb.jobs.v1 import queries_pb2 as jobs_pb
from forgelog_pb.query.v1 import options_pb2
from tests.integration.cluster import Cluster, cluster

WAITING = 10_000
"""Jobs in the queue."""
CALLERS = 16
"""Calls in flight at any time."""
SECONDS = 3.0

GET_JOB = "/forgelog.jobs.v1.JobQueries/GetJob"
LIST_JOBS = "/forgelog.jobs.v1.JobQueries/ListJobs"
OPTIONS = [("grpc.max_receive_message_length", 64 << 20)]


def _echo(port: Any, answer: bytes) -> None:
    """A process that does nothing but answer: the raw limit."""
    import uvloop

    class Handler(grpc.GenericRpcHandler):  # type: ignore[type-arg]
        def service(self, _: Any) -> Any:
            async def unary(_request: bytes, _context: Any) -> bytes:
                return answer

            return grpc.unary_unary_rpc_method_handler(unary)

    async def main() -> None:
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((Handler(),))
        number = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        port.send(number)
        await server.wait_for_termination()

    uvloop.run(main())


async def _answer(made: Any, method: str, request: bytes) -> bytes:
    async with made as channel:
        answer: bytes = await channel.unary_unary(method)(request)
        return answer


async def _rate(made: Any, method: str, request: bytes) -> float:
    """Calls a second of `CALLERS` callers over one channel, bytes in and out."""
    async with made as channel:
        call = channel.unary_unary(method)
        until = time.perf_counter() + SECONDS
        done = 0

        async def caller() -> None:
            nonlocal done
            while time.perf_counter() < until:
                await call(request)
                done += 1

        await call(request)
        began = time.perf_counter()
        await asyncio.gather(*(caller() for _ in range(CALLERS)))
        return done / (time.perf_counter() - began)


async def _milliseconds(made: Any, method: str, request: bytes) -> float:
    """Median time of one call of several, from the request's bytes to the answer's."""
    async with made as channel:
        call = channel.unary_unary(method)
        taken = []
        for _ in range(12):
            began = time.perf_counter()
            await call(request)
            taken.append((time.perf_counter() - began) * 1000)
        return median(taken[2:])


async def _fill(platform: Cluster, settings: Settings) -> list[str]:
    """Submit jobs that no node can take; the positions behind which all of them are listed."""
    spec = JobSpec(metadata=JobMetadata(name="waits"), command="true", resources=JobResources(cpus=4096.0))
    commands = [Outgoing(SubmitJob(job_id=f"w{number}", spec=spec), f"fill-{number}") for number in range(WAITING)]
    async with Publisher(settings) as publisher:
        await publisher.publish_many(commands)
    async with asyncio.timeout(120):
        while len({r.meta.subject for r in platform.seen if r.meta.type.endswith("JobQueued")}) < WAITING:
            await asyncio.sleep(0.2)
    last: dict[int, Position] = {}
    for record in platform.seen:
        if record.meta.type.endswith("JobQueued"):
            last[record.position.partition] = record.position
    return [str(position) for position in last.values()]


async def figures(settings: Settings, runs: int) -> list[Figure]:
    """Rates and times, `runs` times each on one platform without nodes."""
    folder = Path(tempfile.mkdtemp(prefix="forgelog-bench-"))
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    found: dict[str, list[float]] = {name: [] for name in ("direct", "gateway", "echo", "list")}
    echo = None
    try:
        async with cluster(settings, folder, nodes=0, gateway=True) as platform:
            jobs = partial(platform.service_channel, "jobs", OPTIONS)
            at_least = await _fill(platform, settings)
            one = jobs_pb.GetJobRequest(job_id="w7").SerializeToString()
            options, page = options_pb2.ReadOptions(at_least=at_least), options_pb2.PageRequest(limit=WAITING)
            all_ = jobs_pb.ListJobsRequest(options=options, page=page, queue="default").SerializeToString()
            listed, answer = await _answer(jobs(), LIST_JOBS, all_), await _answer(jobs(), GET_JOB, one)
            if len(jobs_pb.ListJobsResponse.FromString(listed).jobs) != WAITING:
                raise RuntimeError("the list is not whole")
            echo = multiprocessing.get_context("spawn").Process(target=_echo, args=(theirs, answer), daemon=True)
            echo.start()
            address = f"127.0.0.1:{await asyncio.to_thread(ours.recv)}"
            for _ in range(runs):
                found["echo"].append(
                    await _rate(KeyedChannel(grpc.aio.insecure_channel(address, OPTIONS), ""), "/echo/Echo", one)
                )
                found["direct"].append(await _rate(jobs(), GET_JOB, one))
                found["gateway"].append(await _rate(platform.channel(OPTIONS), GET_JOB, one))
                found["list"].append(await _milliseconds(jobs(), LIST_JOBS, all_))
    finally:
        if echo is not None:
            echo.terminate()
            echo.join()
        shutil.rmtree(folder, ignore_errors=True)
    echoed = median(found["echo"])
    name = f"grpc.aio echo, {CALLERS} callers"
    return [
        Figure("point query (GetJob) at the service", "requests/s", found["direct"], found["echo"], name, 0.6 * echoed),
        Figure(
            "point query (GetJob) through the gateway",
            "requests/s",
            found["gateway"],
            found["echo"],
            name,
            0.5 * echoed,
        ),
        Figure(f"list of {WAITING:,} queued jobs", "ms", found["list"], target=20, higher_is_better=False),
    ]
