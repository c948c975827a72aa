"""The gateway by itself and beside services that come and go: health, limits, deadlines, batches, odd requests."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import httpx
import orjson
import pytest
import pytest_asyncio
from jsonschema import Draft202012Validator

from events.language.asyncapi import schema_of
from events.language.common import CommandRejected
from events.language.jobs import JobSubmitted, SubmitJob
from events.process.keys import OWNER, key_path, read_key
from forgelog_pb.gateway.v1 import commands_pb2, commands_pb2_grpc
from services.gateway.limits import Bounds
from services.gateway.server import run
from tests import PATIENCE, access
from tests.integration.cluster import Cluster
from tests.unit.gateway.attacks import ATTACKS, NAME
from tests.unit.gateway.attacks import BODY as ATTACK

pytestmark = pytest.mark.slow

SUBMIT = "forgelog.jobs.v1.SubmitJob"
JSON = {"content-type": "application/json"}
GOOD = {"spec": {"metadata": {"name": "good"}, "command": "true"}}


@pytest_asyncio.fixture(scope="module")
async def http(platform: Cluster) -> AsyncIterator[httpx.AsyncClient]:
    async with platform.http() as client:
        yield client


@pytest_asyncio.fixture(scope="module")
async def commands(platform: Cluster) -> AsyncIterator[Any]:
    async with platform.channel() as channel:
        yield commands_pb2_grpc.CommandsStub(channel)


async def test_it_tells_what_it_is_and_how_it_fares(http: httpx.AsyncClient) -> None:
    assert (await http.get("/healthz")).json() == {"status": "alive"}
    assert (await http.get("/readyz")).json() == {"ready": True, "missing": {}}
    assert "/v1/jobs/{job_id}" in (await http.get("/")).json()["paths"]
    metrics = (await http.get("/metrics")).text
    assert 'path="/healthz"' in metrics or "/healthz" in metrics
    assert "forgelog_" in (await http.get("/metrics/jobs")).text


async def test_the_document_describes_every_path(http: httpx.AsyncClient) -> None:
    document = (await http.get("/openapi.json")).json()
    assert document["openapi"].startswith("3.")
    shown = {path for path in (await http.get("/")).json()["paths"] if "<" not in path}
    assert shown - {"/openapi.json"} <= set(document["paths"])
    references = [part.split('"')[0] for part in json.dumps(document).split('"$ref": "#/components/schemas/')[1:]]
    assert references
    assert set(references) <= set(document["components"]["schemas"])


async def test_a_batch_tells_the_outcome_of_each(commands: Any, http: httpx.AsyncClient) -> None:
    bodies = [GOOD, {"spec": {"command": "true"}}, GOOD]
    batch = [commands_pb2.Command(type="SubmitJob", json=orjson.dumps(body)) for body in bodies]
    reply = await commands.PublishMany(commands_pb2.PublishManyRequest(commands=batch, wait=True), timeout=PATIENCE)
    accepted, rejected = commands_pb2.RESULT_ACCEPTED, commands_pb2.RESULT_REJECTED
    assert [outcome.result for outcome in reply.outcomes] == [accepted, rejected, accepted]
    assert reply.outcomes[1].rejection.errors[0].field == "spec.metadata"
    events = [{"specversion": "1.0", "id": "", "source": "t", "type": SUBMIT, "data": body} for body in bodies]
    headers = {"content-type": "application/cloudevents-batch+json"}
    outcomes = (await http.post("/v1/commands", json=events, headers=headers)).json()["outcomes"]
    assert [outcome["result"] for outcome in outcomes] == ["accepted", "rejected", "accepted"]


async def test_a_command_as_a_message_is_the_same_as_json(commands: Any) -> None:
    from google.protobuf.any_pb2 import Any as AnyMessage

    from forgelog_pb.jobs.v1 import types_pb2

    message = AnyMessage()
    spec = types_pb2.JobSpec(metadata=types_pb2.JobMetadata(name="packed"), command="true")
    message.Pack(types_pb2.SubmitJob(job_id="packed", spec=spec))
    request = commands_pb2.PublishAndWaitRequest(command=commands_pb2.Command(message=message))
    reply = await commands.PublishAndWait(request, timeout=PATIENCE)
    assert (reply.outcome.result, reply.outcome.subject) == (commands_pb2.RESULT_ACCEPTED, "packed")


@pytest.mark.parametrize(
    ("method", "path", "content", "status", "words"),
    [
        ("GET", "/v1/jbos", None, 404, "there is no /v1/jbos; did you mean /v1/jobs?"),
        ("GET", "/v1/jobs/", None, 404, "did you mean /v1/jobs?"),
        ("GET", "/nothing/17", None, 404, "/v1/commands, /v1/query, /v1/allocations"),
        ("GET", "/" + "x" * 5000, None, 404, "xxx...; there are"),
        ("DELETE", "/v1/jobs", None, 405, "does not take DELETE; it takes GET, HEAD"),
        ("PUT", "/v1/commands", b"{}", 405, "it takes POST"),
        ("PUT", "/api/v1/lineage", b"{}", 405, "does not take PUT; it takes POST"),
        ("POST", "/api/v1/lineage?project=0", b"{}", 400, "project: "),
        ("GET", "/schemas/SubmitJbo", None, 404, "no type 'SubmitJbo'; did you mean SubmitJob?"),
        ("POST", "/v1/commands?wiat=false", b"{}", 400, "did you mean 'wait'"),
        ("POST", "/v1/commands?wait=true&wait=false", b"{}", 400, "is given twice"),
        ("GET", "/v1/jobs?timeout=1&timeout=9", None, 400, "is given twice"),
        ("POST", "/v1/query/JobQueries/ListJobs?limit=1", b"{}", 400, "give it in the body"),
        ("POST", "/v1/query/JobQueries/ListJobs", b'{"page": {"limit": 1e400}}', 400, "page.limit"),
        ("POST", "/v1/query/JobQueries/ListJobs", b'{"limit": NaN}', 400, "limit"),
        ("POST", "/v1/commands?%00=1", b"{}", 400, "there is no such parameter"),
        ("POST", "/v1/query/JobQueries/ListJobs?%00=1", b"{}", 400, "give it in the body"),
        ("POST", "/v1/query/JobQueries/ListJobs", rb'{"\u0000": 1}', 400, "there is no such field"),
        ("POST", "/v1/commands", rb'{"type": "CancelJob", "data": {"\u0000": 1}}', 400, "there is no such field"),
        ("GET", "/v1/jobs?%00=1", None, 400, "there is no such field"),
        ("POST", "/v1/commands", b"", 400, "the body is empty"),
        ("POST", "/v1/commands", b"[]", 400, "not a JSON object"),
        ("POST", "/v1/commands", b'{"tpye": "SubmitJob"}', 400, "did you mean 'type'"),
        ("POST", "/v1/commands?wait=perhaps", b"{}", 400, "true, false or conclusion"),
        ("POST", "/v1/commands?timeout=soon", b"{}", 400, "no number of seconds"),
        ("POST", "/v1/commands", b"x" * (1 << 20), 413, "at most 1000000"),
        ("GET", "/v1/jobs?limit=many", None, 400, "whole number"),
        ("GET", "/v1/jobs?as_of=yesterday", None, 400, "RFC 3339"),
        ("GET", "/v1/jobs?as_of=9000-01-01T00:00:00Z", None, 400, "is in the future"),
        ("GET", "/v1/nodes?as_of=9000-01-01T00:00:00Z", None, 400, "is in the future"),
        ("GET", "/v1/queues?as_of=9000-01-01T00:00:00Z", None, 400, "is in the future"),
        ("GET", "/v1/log/jobs/a/history?as_of=9000-01-01T00:00:00Z", None, 400, "is in the future"),
        ("GET", "/v1/log/jobs/a/history?correlation_id=b", None, 400, "correlation_id: is set by this path"),
        ("GET", "/v1/log/jobs/history?types=JobStartd", None, 400, "types[0]: there is no event 'JobStartd'; did you"),
        ("GET", "/v1/log/jobs/history?actors=", None, 400, "actors[0]: is empty"),
        ("GET", "/v1/log/jobs/history?projects=detect", None, 400, "projects[0]: 'detect' is no project"),
        ("GET", "/v1/log/jobs/history?since=yesterday", None, 400, "since: 'yesterday' is no time"),
        ("GET", "/v1/log/jobs/events?types=JobStartd", None, 400, "types[0]: there is no event 'JobStartd'"),
        ("GET", "/v1/queues/nowhere/entries", None, 404, "there is no queue 'nowhere'"),
        ("GET", "/v1/queues/nowhere/placements", None, 404, "there is no queue 'nowhere'"),
        ("GET", "/v1/jobs/a/watch?until_ended=false", None, 400, "until_ended: is set by this path; leave it out"),
        ("GET", "/v1/jobs/a/logs?tail_bytes=-1", None, 400, "tail_bytes: is -1; give 0 or more"),
        ("GET", "/v1/jobs?at_least=here", None, 400, "topic/partition@offset"),
        ("GET", "/v1/query/JobQueries/ListJbos", None, 404, "ListJobs"),
        ("POST", "/v1/query/JobQueries/ListJobs", b'{"statuses": ["runing"]}', 400, "did you mean 'running'"),
    ],
)
async def test_odd_requests_are_answered_as_errors(
    http: httpx.AsyncClient, method: str, path: str, content: bytes | None, status: int, words: str
) -> None:
    headers = JSON if content is not None else {}
    answer = await http.request(method, path, content=content, headers=headers)
    error = answer.json()["error"]
    assert answer.status_code == status, error
    assert words in f"{error}", error


async def test_what_a_web_page_can_send_leaves_nothing_in_the_log(platform: Cluster, commands: Any) -> None:
    host, port = platform.gateway.split(":")
    for attack in ATTACKS:
        for more in ((), tuple(platform.credentials.items())):
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(attack.request(platform.gateway, more))
            answer = await asyncio.wait_for(reader.read(), PATIENCE)
            assert 400 <= int(answer.split()[1]) < 500, (attack, answer)
            writer.close()
    async with grpc.aio.insecure_channel(platform.gateway) as stranger:
        stub: Any = commands_pb2_grpc.CommandsStub(stranger)
        body = orjson.dumps(orjson.loads(ATTACK)["data"])
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.Publish(commands_pb2.PublishRequest(command=commands_pb2.Command(type="SubmitJob", json=body)))
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    # The partitions are written in order: behind a command in each, all of before is seen.
    bodies = [{**GOOD, "job_id": f"behind-{number}"} for number in range(40)]
    batch = [commands_pb2.Command(type="SubmitJob", json=orjson.dumps(body)) for body in bodies]
    await commands.PublishMany(commands_pb2.PublishManyRequest(commands=batch, wait=True), timeout=PATIENCE)
    for body in bodies:
        await platform.recorded(lambda record, body=body: record.meta.subject == body["job_id"])
    written = [each.data for each in platform.seen if isinstance(each.data, JobSubmitted | CommandRejected)]
    assert len({each.position.partition for each in platform.seen if each.meta.subject.startswith("behind-")}) == 4
    assert not [each for each in written if NAME in each.model_dump_json()]


async def test_what_a_path_takes_is_said_in_one_order(http: httpx.AsyncClient) -> None:
    assert (await http.put("/v1/query/JobQueries/ListJobs")).headers["allow"] == "GET, HEAD, POST"
    assert (await http.post("/v1/nodes", json={})).headers["allow"] == "GET, HEAD"
    assert (await http.get("/v1/commands")).headers["allow"] == "POST"


async def test_a_packed_body_is_refused_by_its_encoding(http: httpx.AsyncClient) -> None:
    packed = gzip.compress(orjson.dumps({"type": "SubmitJob", "data": GOOD}))
    for path in ("/v1/commands", "/v1/query/JobQueries/ListJobs"):
        answer = await http.post(path, content=packed, headers={**JSON, "content-encoding": "gzip"})
        assert (answer.status_code, answer.headers["accept-encoding"]) == (415, "identity")
        assert answer.json()["error"]["errors"][0]["field"] == "content-encoding"
    plain = await http.post("/v1/query/JobQueries/ListJobs", json={}, headers={"content-encoding": "identity"})
    assert plain.status_code == 200


async def test_producers_get_the_schemas_of_what_is_in_the_log(http: httpx.AsyncClient, platform: Cluster) -> None:
    document = (await http.get("/asyncapi.json")).json()
    assert document["servers"]["local"]["host"] == platform.settings.kafka
    channel = document["channels"]["commands.jobs"]
    assert channel["address"] == channel["bindings"]["kafka"]["topic"] == platform.settings.prefix + "commands.jobs"
    types = (await http.get("/schemas")).json()["types"]
    assert set(types) == set(document["components"]["messages"])
    schema = (await http.get(f"/schemas/{SUBMIT}")).json()
    assert schema == (await http.get("/schemas/SubmitJob")).json() == schema_of(SubmitJob)
    Draft202012Validator(schema).validate(GOOD)


async def test_what_is_no_http_is_told_so(platform: Cluster) -> None:
    host, port = platform.gateway.split(":")
    for sent, status in (
        (b"GET / HTTP/1.1\r\nhost: x\r\nx: " + b"y" * 1_000_000 + b"\r\n\r\n", b"431"),
        (b"\x16\x03\x01\r\n\r\n", b"400"),
    ):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(sent)
        answer = await asyncio.wait_for(reader.read(), 20)
        assert answer.split()[1] == status, answer
        assert b'"code"' in answer
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def test_a_deadline_leaves_the_command_in_the_log(platform: Cluster, commands: Any) -> None:
    os.kill(platform._processes["jobs"].pid, 19)  # SIGSTOP: nobody decides
    try:
        command = commands_pb2.Command(id="patience", type="SubmitJob", json=orjson.dumps(GOOD))
        request = commands_pb2.PublishAndWaitRequest(command=command)
        request.timeout.FromMilliseconds(300)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await commands.PublishAndWait(request, timeout=PATIENCE)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert "under the id patience and will be decided" in (caught.value.details() or "")
    finally:
        os.kill(platform._processes["jobs"].pid, 18)  # SIGCONT
    request.timeout.FromSeconds(30)
    reply = await commands.PublishAndWait(request, timeout=PATIENCE)
    assert reply.outcome.result == commands_pb2.RESULT_ACCEPTED


async def test_readiness_names_what_is_missing(platform: Cluster, http: httpx.AsyncClient) -> None:
    platform.kill("scheduling")
    try:
        answer = await http.get("/readyz")
        assert answer.status_code == 503
        assert list(answer.json()["missing"]) == ["scheduling"]
        refused = await http.get("/v1/queues")
        assert refused.status_code == 503
        assert "scheduling" in refused.json()["error"]["message"]
        assert (await http.get("/v1/jobs")).status_code == 200
    finally:
        platform.start("scheduling")
        await platform.healthy("scheduling")
    async with asyncio.timeout(PATIENCE):
        while (await http.get("/readyz")).status_code != 200:
            await asyncio.sleep(0.05)


async def by_way(http: httpx.AsyncClient, way: str) -> float:
    """Queries that the gateway has passed on by ``socket``, or by ``grpc``."""
    name = f'forgelog_gateway_forwarded_total{{by="{way}"}} '
    lines = (await http.get("/metrics")).text.splitlines()
    return next(float(line.removeprefix(name)) for line in lines if line.startswith(name))


async def test_queries_go_over_the_services_socket_and_by_grpc_while_there_is_none(
    platform: Cluster, http: httpx.AsyncClient
) -> None:
    socket = platform.folder / "sockets" / platform.address("scheduling").rpartition(":")[2]

    async def until_by(way: str, *answers: int) -> None:
        before = await by_way(http, way)
        async with asyncio.timeout(PATIENCE):
            while await by_way(http, way) == before:
                assert (await http.get("/v1/queues/default")).status_code in (200, *answers)
                await asyncio.sleep(0.02)

    await until_by("socket")
    missing = await http.get("/v1/queues/none-of-this-name")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "not_found")
    assert (socket.stat().st_mode & 0o777, socket.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    platform.kill("scheduling")
    platform.start("scheduling")
    await platform.healthy("scheduling")
    await until_by("grpc")  # the first one, at least: it does not wait for the socket
    await until_by("socket")
    platform.end("scheduling")
    assert not socket.exists()
    assert (await http.get("/v1/queues/default")).status_code == 503
    platform.start("scheduling")
    await platform.healthy("scheduling")
    await until_by("socket", 503)  # gRPC looks for a service that was away once a second: the caller comes again
    assert (await http.get("/v1/queues/default")).status_code == 200


async def test_work_beyond_the_bounds_is_sent_away_with_a_hint(platform: Cluster) -> None:
    """A gateway of its own with room for one: the second waiter is told when to come back."""
    port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    settings = platform.settings.model_copy(update={"gateway": "127.0.0.1:0"})
    bounds = Bounds(requests=1)
    task = asyncio.create_task(run(settings, bounds=bounds, started=lambda number: port.set_result(number)))
    try:
        base = f"http://127.0.0.1:{await asyncio.wait_for(port, 20)}"
        headers = {"authorization": f"Bearer {read_key(key_path(settings.data, OWNER))}"}
        async with httpx.AsyncClient(base_url=base, headers=headers, timeout=PATIENCE) as http:
            async with asyncio.timeout(PATIENCE):
                while (await http.post("/v1/commands", json={"type": "SubmitJob", "data": GOOD})).status_code != 200:
                    await asyncio.sleep(0.05)
            os.kill(platform._processes["jobs"].pid, 19)
            try:
                first = asyncio.create_task(http.post("/v1/commands", json={"type": "SubmitJob", "data": GOOD}))
                async with asyncio.timeout(PATIENCE):
                    while 'kind="requests"} 1.0' not in (await http.get("/metrics")).text:
                        await asyncio.sleep(0.02)
                second = await http.post("/v1/commands", json={"type": "SubmitJob", "data": GOOD})
            finally:
                os.kill(platform._processes["jobs"].pid, 18)
            assert second.status_code == 429
            assert int(second.headers["retry-after"]) >= 1
            assert second.json()["error"]["code"] == "resource_exhausted"
            assert second.json()["error"]["retry_after_ms"] > 0
            assert (await first).status_code == 200
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize(
    ("service", "variable", "problem"),
    [
        ("gateway", "FORGELOG_GATEWAY", "Address already in use"),
        ("jobs", "FORGELOG_LISTEN", "it is taken, or none of this machine's"),
    ],
)
async def test_an_address_that_is_taken_is_named(
    platform: Cluster, service: str, variable: str, problem: str, tmp_path: Path
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        settings = platform.settings
        environment = {**os.environ, **access.environment(settings), "FORGELOG_DATA": str(tmp_path), variable: address}
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", f"services.{service}"],
            env=environment,
            capture_output=True,
            text=True,
            cwd=Path(__file__).parents[2],
        )
    assert done.returncode == 1
    assert f"{service}: can't listen on {address} ({problem}); set {variable} to a free host:port" in done.stderr
