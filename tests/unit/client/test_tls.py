"""Given a proxy with TLS in front of a gateway, when it is called, then it answers, or what to do is said."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from events.language.objects import ObjectRef
from events.objects.remote import RemoteError, RemoteObjects
from events.process.front_door import CA
from forgelog import AsyncClient, InvalidInput, Refused, Unavailable
from forgelog.optuna_proxy import OptunaProxy
from tests.certificates import signed
from tests.tls_proxy import tls_proxy
from tests.unit.gateway.door import Door, door

OBJECT = ObjectRef(digest="0" * 64, size=1)


@pytest.fixture(autouse=True)
def _unnamed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [each for each in os.environ if each.startswith(("FORGELOG_", "SSL_CERT_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("FORGELOG_DATA", str(tmp_path / "none"))


@pytest_asyncio.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Door]:
    async with door(tmp_path) as made:
        yield made


async def refused(address: str, key: str = "") -> str:
    """What is said to who asks for jobs there."""
    async with AsyncClient(address, token=key or None, timeout=1) as client:
        with pytest.raises((Unavailable, Refused)) as caught:
            await client.jobs.list()
    return str(caught.value)


async def test_it_is_called_with_the_key(gateway: Door, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate, key = signed(tmp_path / "tls")
    async with tls_proxy(gateway.address, (certificate, key)) as port:
        monkeypatch.setenv(CA, str(certificate))
        said = await refused(f"https://localhost:{port}", gateway.key)
        assert f"the platform at https://localhost:{port} can't answer now" in said
        assert "asks for its key" in await refused(f"https://localhost:{port}")
        with pytest.raises(RemoteError, match="key"):
            await asyncio.to_thread(RemoteObjects(f"https://localhost:{port}", "").missing, [OBJECT])


@pytest.mark.parametrize(
    ("made", "what"),
    [
        ({}, f"self-signed certificate; name the PEM file of who signed it in {CA}"),
        ({"days": -1, "since": 3}, "has expired; who runs the proxy must renew it"),
        ({"name": "other.example"}, "; call it by a name that its certificate has"),
    ],
)
async def test_a_certificate_that_is_refused(
    gateway: Door, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: dict[str, object], what: str
) -> None:
    certificate, key = signed(tmp_path / "tls", **made)  # type: ignore[arg-type]
    if made:
        monkeypatch.setenv(CA, str(certificate))
    async with tls_proxy(gateway.address, (certificate, key)) as port:
        address = f"https://localhost:{port}"
        said = await refused(address, gateway.key)
        assert f"{address} can't be spoken with: its certificate is refused: " in said
        assert said.endswith(what)
        with pytest.raises(RemoteError, match=f"{address}: its certificate is refused: .*{what}"):
            await asyncio.to_thread(RemoteObjects(address, gateway.key).missing, [OBJECT])


async def test_a_scheme_that_is_not_the_gateway_s(gateway: Door, tmp_path: Path) -> None:
    async with tls_proxy(gateway.address, signed(tmp_path / "tls")) as port:
        said = await refused(f"localhost:{port}", gateway.key)
        assert said.endswith(f"it has TLS; write https://localhost:{port}")
        said = await refused(f"https://{gateway.address}", gateway.key)
        assert said.endswith(f"it speaks no TLS; write {gateway.address}")
        objects = RemoteObjects(f"https://{gateway.address}", gateway.key, patience=0)
        with pytest.raises(RemoteError, match=f"can't be reached: it speaks no TLS; write {gateway.address}"):
            await asyncio.to_thread(objects.missing, [OBJECT])


async def test_a_connection_that_is_reset_in_its_handshake() -> None:
    async def reset(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.close()

    async with await asyncio.start_server(reset, "127.0.0.1", 0) as server:
        objects = RemoteObjects(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}", "", patience=0)
        with pytest.raises(RemoteError, match="can't be reached: Connection reset by peer"):
            await asyncio.to_thread(objects.missing, [OBJECT])


async def test_the_proxy_of_optuna_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CA, "/nowhere")
    with pytest.raises(InvalidInput, match=f"^{CA}: /nowhere can't be read"):
        OptunaProxy("https://a.example:443", "")
