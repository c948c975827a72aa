"""From the command to Envoy: a key that the platform issued opens an endpoint of a real replica until it is revoked."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest_asyncio

from forgelog import AsyncClient
from forgelog.embedded.ports import free_port
from forgelog.errors import NotFound, Refused, Unavailable
from tests import PATIENCE
from tests.integration.cluster import Cluster

SERVER = """
import http.server, json, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.say({"name": "sum", "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}]})
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))["inputs"][0]["data"]
        sums = [sum(asked[start : start + 2]) for start in range(0, len(asked), 2)]
        output = {"name": "sum", "datatype": "FP32", "shape": [len(sums)], "data": sums}
        self.say({"model_name": "sum", "outputs": [output]})
    def say(self, body):
        content = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
    def log_message(self, *_):
        pass
address = os.environ["FORGELOG_ADDRESS"], int(os.environ["FORGELOG_PORT_HTTP"])
http.server.ThreadingHTTPServer(address, Handler).serve_forever()
"""
SPEC = {
    "command": "python3",
    "args": ["-c", SERVER],
    "resources": {"cpus": 0.1, "memory_bytes": 128 << 20},
    "drain_seconds": 0,
    "rollout": {"progress_deadline_seconds": PATIENCE},
    "endpoints": [
        {"name": "rest", "type": "rest", "authentication": True},
        {"name": "other", "type": "rest", "path": "/other", "authentication": True},
    ],
}


@pytest_asyncio.fixture
async def address(platform: Cluster) -> AsyncIterator[str]:
    """Of a router of the platform's."""
    folder, listen = Path(tempfile.mkdtemp(prefix="router-")), f"127.0.0.1:{free_port()}"  # short, for its sockets
    told = platform._told("deployments") | {"FORGELOG_LISTEN": "127.0.0.1:0"}
    more = {"FORGELOG_ROUTER_LISTEN": listen, "FORGELOG_ROUTER_FOLDER": str(folder), "FORGELOG_ROUTER_NAME": "keyed"}
    platform._run("router", "services.deployments.router", {**told, **more})
    try:
        yield listen
    finally:
        platform.end("router")
        shutil.rmtree(folder)


async def until_refused(client: AsyncClient, code: str, **more: Any) -> None:
    """Ask until an answer is refused so: routers hear of changes a moment later."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                await client.deployments.predict("keyed-sum", {"x": [1, 2]}, **more)
            except Refused as refused:
                if refused.code == code:
                    return
            except (NotFound, Unavailable):
                pass
            await asyncio.sleep(0.05)


async def check_requests(platform: Cluster, client: AsyncClient, folder: Path) -> None:
    """What became of each request is written down, and nothing that opens the endpoint."""
    async with asyncio.timeout(PATIENCE):
        while len(found := await client.deployments.requests("keyed-sum", outcome=["succeeded"])) < 3:
            await asyncio.sleep(0.05)
    assert {(each.revision, each.status, each.endpoint, each.endpoint_type) for each in found} == {
        (1, 200, "rest", "rest")
    }
    assert all(each.replica_id.startswith("dep.keyed-sum.1.") and each.latency_ms > 0 for each in found)
    assert len({each.request_id for each in found}) == len(found)
    traced = await client.lineage.trace("request", "keyed-sum", request=found[0].request_id)
    assert [(each.kind, each.label) for each in traced.nodes[1:]] == [("deployment_revision", "keyed-sum/1")]
    kinds = {each.error_type for each in await client.deployments.requests("keyed-sum", outcome=["refused"])}
    assert kinds == {"forbidden", "unauthenticated"}
    assert await client.deployments.requests("keyed-sum", outcome=["failed"], slower_than=1e9) == []
    async with asyncio.timeout(
        PATIENCE
    ):  # records and counts go ways of their own: each is there a while before the other
        while True:
            first = [each for each in await client.deployments.requests("keyed-sum", limit=1000) if each.revision == 1]
            windows = await client.deployments.metrics("keyed-sum", window=86_400, by_revision=True)
            counted = {each.revision: (each.total_requests, each.successful_requests) for each in windows}
            good = sum(each.outcome == "succeeded" for each in first)
            if first and counted.get(1) == (len(first), good):
                break
            await asyncio.sleep(0.1)
    assert good >= len(found)
    assert windows[-1].p95_latency_ms > 0
    assert windows[-1].estimated_cost > 0
    shown = await platform.command(folder, "deployments", "metrics", "keyed-sum", "--every", "24h")
    assert shown.returncode == 0, shown.stderr
    assert len(shown.stdout.splitlines()) >= 2
    shown = await platform.command(folder, "deployments", "requests", "keyed-sum", "--error", "forbidden", "-n", "1")
    assert shown.returncode == 0, shown.stderr
    assert "refused" in shown.stdout


async def test_a_key_opens_what_it_is_for_until_it_is_revoked(
    platform: Cluster, client: AsyncClient, address: str, tmp_path: Path
) -> None:
    await client.deployments.create("keyed-sum", SPEC)
    try:
        assert (await client.deployments.wait("keyed-sum", timeout=PATIENCE)).status == "running"
        await until_refused(client, "unauthenticated", router=address)  # before the first key as after it

        good = await client.endpoint_keys.issue("keyed-sum", "shop")
        other = await client.endpoint_keys.issue("keyed-sum", "other", endpoints=["other"])
        await until_refused(client, "permission_denied", router=address, key=other.token)
        found = await client.deployments.predict("keyed-sum", {"x": [[1, 2], [3, 4]]}, router=address, key=good.token)
        assert (found.outputs, found.model, found.revision) == ({"sum": [3, 7]}, "sum", 1)
        answered = found.request

        variables = {"FORGELOG_ROUTER": address, "FORGELOG_ENDPOINT_KEY": good.token}
        asked = ("predict", "keyed-sum", "x=[[1,2],[3,4]]")
        shown = await platform.command(tmp_path, *asked, more=variables)
        assert shown.returncode == 0, shown.stderr
        assert [line.split() for line in shown.stdout.splitlines()] == [["ROW", "SUM"], ["0", "3"], ["1", "7"]]
        asked = ("predict", "keyed-sum", "--input", "x=[[1,2],[3,4]]")
        as_json = await platform.command(tmp_path, *asked, "-o", "json", more=variables)
        assert json.loads(as_json.stdout)["outputs"][0]["data"] == [3, 7]

        await client.endpoint_keys.revoke("keyed-sum", good.key.key_id, reason="it leaked")
        await until_refused(client, "permission_denied", router=address, key=good.token)
        refused = await platform.command(tmp_path, *asked, more=variables)
        assert (refused.returncode, "was revoked" in refused.stderr) == (1, True)
        await check_requests(platform, client, tmp_path)
        assert answered in {each.request_id for each in await client.deployments.requests("keyed-sum", limit=1000)}
        assert good.token not in platform.log("router") + refused.stderr
    finally:
        with suppress(Refused):
            await client.deployments.terminate("keyed-sum")
