"""A request's trace goes through the router: from its caller's, or by the deployment's share, to the replica and to the
collector, without queries and keys."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import orjson
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as otlp
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as otlp_grpc

from forgelog.embedded.ports import free_port
from services.deployments.router.listeners import LOG_FILE
from services.deployments.router.records import record
from tests.integration.router.rig import SAFETY_SECONDS, Rig, revision, upstreams

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


class Collector(otlp_grpc.TraceServiceServicer):
    """Takes spans as any collector of OpenTelemetry does."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.whole = b""

    async def Export(self, request: Any, context: Any) -> Any:
        self.whole += request.SerializeToString()
        for resource in request.resource_spans:
            self.spans += [span for scope in resource.scope_spans for span in scope.spans]
        return otlp.ExportTraceServiceResponse()


@asynccontextmanager
async def collecting() -> AsyncIterator[tuple[Collector, str]]:
    found, server = Collector(), grpc.aio.server()
    otlp_grpc.add_TraceServiceServicer_to_server(found, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield found, f"http://127.0.0.1:{port}"
    finally:
        await server.stop(0)


async def test_a_request_is_traced_for_its_caller_or_by_the_deployments_share(tmp_path: Path) -> None:
    folder = tmp_path / "r"
    async with collecting() as (collector, endpoint), upstreams("a") as (a,):
        rig = Rig(folder, free_port())
        rig = Rig(folder, rig.config.port, replace(rig.config, collector=endpoint))
        async with rig.running(), rig.client() as client:
            quiet = rig.table(revision(1, 10_000, a))
            traced = rig.table(revision(1, 10_000, a), observability={"tracing": 1.0})
            await rig.put(quiet)
            await rig.put(traced)

            def asked(table: Any) -> str:
                return f"/serve/local/default/{table['name']}/?password=hunter2"

            secret = {"authorization": "Bearer hunter3", "x-api-key": "hunter4"}
            unsampled = (await client.get(asked(quiet), headers=secret)).json()["headers"]
            assert unsampled["traceparent"].endswith("-00")
            ours = (await client.get(asked(traced), headers=secret)).json()["headers"]["traceparent"].split("-")
            assert ours[3] == "01"
            parent = f"00-{TRACE}-00f067aa0ba902b7-01"
            theirs = (await client.get(asked(quiet), headers={**secret, "traceparent": parent})).json()["headers"]
            assert theirs["traceparent"].split("-")[1] == TRACE
            async with asyncio.timeout(SAFETY_SECONDS):
                while {span.trace_id.hex() for span in collector.spans} != {ours[1], TRACE}:
                    await asyncio.sleep(0.1)
            assert b"hunter" not in collector.whole
            spans = [span for span in collector.spans if span.trace_id.hex() == ours[1]]
            tags = {each.key: each.value.string_value for span in spans for each in span.attributes}
            assert tags["forgelog.deployment"] == traced["deployment_id"]
            assert ours[2] in {span.span_id.hex() for span in spans}, "the replica goes on where the router was"
            async with asyncio.timeout(SAFETY_SECONDS):
                while len(lines := (folder / LOG_FILE).read_bytes().splitlines()) < 3:
                    await asyncio.sleep(0.1)
            told = [record(orjson.loads(each), "rig", None) for each in lines[-3:]]
            assert [each and each["trace_id"] for each in told] == ["", ours[1], TRACE]


@pytest.mark.parametrize(("given", "wanted"), [(f"00-{TRACE}-00f067aa0ba902b7-01", TRACE), ("nonsense" * 20, "")])
async def test_without_a_collector_a_callers_trace_is_passed_on(router: Rig, given: str, wanted: str) -> None:
    async with upstreams("a") as (a,):
        table = router.table(revision(1, 10_000, a), observability={"tracing": 1.0})
        await router.put(table)
        async with router.client() as client:
            answer = await client.get(f"/serve/local/default/{table['name']}/", headers={"traceparent": given})
        assert answer.json()["headers"]["traceparent"] == given
        path = router.config.folder / LOG_FILE
        async with asyncio.timeout(SAFETY_SECONDS):
            while not (own := _lines(path, table["deployment_id"])):
                await asyncio.sleep(0.1)
        found = record(orjson.loads(own[0]), "rig", None)
        assert found is not None
        assert found["trace_id"] == wanted


def _lines(log: Path, deployment: str) -> list[bytes]:
    return [line for line in log.read_bytes().splitlines() if deployment.encode() in line]
