"""From a client through Envoy to a replica and into the records: requests at zero replicas, and a request's trace."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc.aio
import httpx
import orjson
import pytest
import pytest_asyncio
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from websockets.asyncio.client import connect

from events.language.deployments.steering import ScalingDecided
from forgelog import AsyncClient
from forgelog.embedded.ports import free_port
from forgelog_pb.inference import grpc_service_pb2 as pb
from forgelog_pb.inference import grpc_service_pb2_grpc as pb_grpc
from services.deployments.router.bootstrap import ADMIN_SOCKET
from services.deployments.router.listeners import LOG_FILE
from services.deployments.router.spool import segments
from tests import PATIENCE
from tests.conftest import Servers, own_settings
from tests.integration.cluster import Cluster, cluster
from tests.serving.processes import digits, write_digits_model

pytestmark = pytest.mark.slow

NAME = "whole-way"
MANY = 200
"""Requests at zero replicas, by each protocol."""
SPEC = {
    "model": {"name": NAME},
    "replicas": 0,
    "resources": {"cpus": 0.1, "memory_bytes": 300 << 20},
    "drain_seconds": 0,
    "observability": {"tracing": 1},
    "routing": {"cold_start_seconds": PATIENCE, "concurrency": 1_000},
    "scaling": {"min_replicas": 0, "max_replicas": 2, "targets": [{"metric": "rps", "value": 1_000}]},
    "endpoints": [
        {"name": "rest", "type": "rest"},
        {"name": "grpc", "type": "grpc"},
        {"name": "ws", "type": "websocket", "path": "/ws"},
    ],
}


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Takes spans as a collector of OpenTelemetry does."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, Any]] = []
        """The service, and its span."""

    async def Export(self, request: Any, _context: Any) -> Any:
        """Of the protocol."""
        for of in request.resource_spans:
            named = {each.key: each.value.string_value for each in of.resource.attributes}
            self.spans += [(named.get("service.name", ""), span) for scope in of.scope_spans for span in scope.spans]
        return trace_service_pb2.ExportTraceServiceResponse()

    def of(self, trace: str) -> list[tuple[str, Any]]:
        return [(service, span) for service, span in self.spans if span.trace_id.hex() == trace]


@dataclass
class Way:
    """A platform, its router, and where spans go."""

    platform: Cluster
    client: AsyncClient
    router: str
    folder: Path
    """The router's."""
    deployment: str = ""
    collector: Collector = field(default_factory=Collector)

    def logged(self) -> list[dict[str, Any]]:
        """The lines of the router's access log."""
        paths = segments(self.folder / LOG_FILE)
        return [orjson.loads(line) for path in paths for line in path.read_bytes().splitlines() if line.endswith(b"}")]


@pytest_asyncio.fixture(scope="module")
async def way(servers: Servers) -> AsyncIterator[Way]:
    folder = Path(tempfile.mkdtemp(prefix="way-"))  # short, for its sockets
    (folder / "platform").mkdir()
    collector, server = Collector(), grpc.aio.server()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)  # type: ignore[no-untyped-call]
    told = {"FORGELOG_OTLP_ENDPOINT": f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"}
    await server.start()
    router = f"127.0.0.1:{free_port()}"
    try:
        async with (
            own_settings(servers, folder) as settings,
            cluster(settings, folder / "platform", nodes=0, gateway=True) as platform,
            AsyncClient(platform.gateway, token=platform.key) as client,
        ):
            platform.start_agent("n0", **told)
            more = {"FORGELOG_LISTEN": "127.0.0.1:0", "FORGELOG_ROUTER_LISTEN": router}
            more |= {"FORGELOG_ROUTER_FOLDER": str(folder / "router"), "FORGELOG_ROUTER_NAME": "way", **told}
            platform._run("router", "services.deployments.router", {**platform._told("deployments"), **more})
            write_digits_model(folder / "model")
            await client.models.register(NAME)
            await client.models.create_version(NAME, folder=folder / "model", model_format="onnx")
            deployment = await client.deployments.create(NAME, SPEC)
            try:
                await client.deployments.wait(NAME, timeout=PATIENCE)
                yield Way(platform, client, router, folder / "router", deployment, collector)
            finally:
                await client.deployments.terminate(NAME)
                platform.end("router")
    finally:
        await server.stop(0)
        shutil.rmtree(folder)


def image() -> list[float]:
    pixels: list[float] = digits()[0][0].tolist()
    return pixels


def message(id: str) -> str:
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 64], "data": image()}
    return json.dumps({"id": id, "inputs": [tensor], "outputs": [{"name": "label"}]})


async def routed(way: Way) -> None:
    """Wait until Envoy has the deployment's route; a request that asks it would wait for a replica already."""
    transport = httpx.AsyncHTTPTransport(uds=str(way.folder / ADMIN_SOCKET))
    until = time.monotonic() + PATIENCE
    async with httpx.AsyncClient(transport=transport) as admin:
        while time.monotonic() < until:
            with suppress(httpx.TransportError):
                asked = await admin.get("http://envoy/config_dump", params={"resource": "dynamic_route_configs"})
                if way.deployment in asked.text:
                    return
            await asyncio.sleep(0.05)
    raise AssertionError(f"the router does not know {way.deployment}: {way.platform.log('router')[-2000:]}")


async def by_grpc(channel: grpc.aio.Channel, number: int) -> int:
    asked = pb.ModelInferRequest(model_name=NAME, id=str(number))
    tensor = asked.inputs.add(name="x", datatype="FP32", shape=[1, 64])
    tensor.contents.fp32_contents.extend(image())
    asked.outputs.add(name="label")
    answer = await pb_grpc.GRPCInferenceServiceStub(channel).ModelInfer(
        asked, metadata=(("forgelog-model", NAME),), timeout=PATIENCE
    )
    assert answer.id == str(number)
    return (
        int.from_bytes(answer.raw_output_contents[0], "little")
        if answer.raw_output_contents
        else int(answer.outputs[0].contents.int64_contents[0])
    )


async def by_websocket(way: Way, number: int) -> int:
    url = f"ws://{way.router}/serve/local/default/{NAME}/ws"
    async with connect(url, open_timeout=PATIENCE, ping_interval=None) as socket:
        await socket.send(message(str(number)))
        answer = json.loads(await socket.recv())
    assert answer["id"] == str(number)
    return int(answer["outputs"][0]["data"][0])


async def test_requests_at_zero_replicas_are_all_answered_after_one_decision(way: Way) -> None:
    await routed(way)
    assert (await way.client.deployments.get(NAME)).ready == 0
    async with grpc.aio.insecure_channel(way.router) as channel, asyncio.timeout(PATIENCE):
        asked = [by_grpc(channel, number) for number in range(MANY)]
        asked += [by_websocket(way, number) for number in range(MANY)]
        answers = await asyncio.gather(*asked, return_exceptions=True)
    lines = [line for line in way.logged() if line["deployment"] == way.deployment]
    bad = [line for line in lines if line["status"] not in (101, 200)]
    assert Counter(map(repr, answers)) == {"0": 2 * MANY}, bad[:5]  # the digit that the image shows
    decided = way.platform.all(ScalingDecided, lambda event: event.deployment_id == way.deployment)
    ups = [each.decision for each in decided if each.decision.inputs.replicas == 0 < each.decision.replicas]
    assert len(ups) == 1, decided
    assert sum(line["endpoint"] == "grpc" for line in lines) >= MANY


async def test_a_trace_leads_from_the_routers_log_to_the_record_and_to_the_collector(way: Way, tmp_path: Path) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    url = f"http://{way.router}/v2/models/{NAME}/infer"
    async with httpx.AsyncClient(timeout=PATIENCE) as http:
        headers = {"traceparent": f"00-{trace}-00f067aa0ba902b7-01", "content-type": "application/json"}
        answer = await http.post(url, content=message("traced"), headers=headers)
    assert answer.status_code == 200, answer.text
    async with asyncio.timeout(PATIENCE):
        while not (lines := [line for line in way.logged() if trace in (line["trace"] or "")]):
            await asyncio.sleep(0.1)
        (line,) = lines
        assert line["trace"].split("-")[1] == trace
        asked = ("deployments", "requests", NAME, "--trace", trace, "--output", "json")
        while True:
            shown = await way.platform.command(tmp_path, *asked)
            assert shown.returncode == 0, shown.stderr
            if found := orjson.loads(shown.stdout):
                break
        services: set[str] = set()
        while not {"forgelog-replica", "forgelog-router"} <= services:
            services = {service for service, _ in way.collector.of(trace)}
            await asyncio.sleep(0.1)
    assert [(each["trace_id"], each["request_id"], each["status"]) for each in found] == [(trace, line["request"], 200)]
    spans = {span.span_id.hex(): (service, span) for service, span in way.collector.of(trace)}
    (whole,) = [span for service, span in spans.values() if span.name == f"infer {NAME}"]
    above, router = spans[whole.parent_span_id.hex()]
    assert above == "forgelog-router"
    while router.parent_span_id.hex() in spans:
        above, router = spans[router.parent_span_id.hex()]
    assert (above, router.parent_span_id.hex()) == ("forgelog-router", "00f067aa0ba902b7")
