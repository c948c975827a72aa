"""Given a router with TLS, when a deployment is asked or waited for, then it is found, or what to do is said."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from events.process.identity import Identity
from forgelog.client import predicting
from forgelog.embedded.layout import ChildState
from forgelog.errors import InvalidInput, Unavailable
from forgelog.where import Router, find_router
from tests.certificates import signed
from tests.unit.client.test_where import me, platform

REQUEST = {"inputs": [{"name": "x", "shape": [1], "datatype": "INT64", "data": [1]}]}
ANSWER = b'{"model_name": "digits", "outputs": [{"name": "y", "datatype": "INT64", "shape": [1], "data": [7]}]}'


@pytest.fixture(autouse=True)
def _unnamed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [each for each in os.environ if each.startswith(("FORGELOG_", "SSL_CERT_"))]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@asynccontextmanager
async def router(pair: tuple[Path, Path] | None) -> AsyncIterator[int]:
    """One that answers as a deployment would; its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if (first := await reader.readexactly(1)) == b"\x16" and pair is None:  # the client begins with TLS
                writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                return
            head = first + await reader.readuntil(b"\r\n\r\n")
            if found := re.search(rb"content-length: (\d+)", head, re.IGNORECASE):
                await reader.readexactly(int(found[1]))
            length = str(len(ANSWER)).encode()
            writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: " + length + b"\r\n\r\n" + ANSWER)
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
            pass
        finally:
            writer.close()

    context = None
    if pair is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*pair)
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def answered(url: str | None = None) -> object:
    found = await predicting.predict("digits", REQUEST, project="local/default", router=url)
    return found.outputs["y"]


async def refused(url: str) -> str:
    with pytest.raises(Unavailable) as error:
        await answered(url)
    return str(error.value)


@contextmanager
def of_a_folder(folder: Path, port: int, **environment: str) -> Iterator[None]:
    """The data folder's platform says that its router, started with these variables, listens there."""
    program = [sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()"]
    pipe = subprocess.PIPE
    with subprocess.Popen(program, env={**os.environ, **environment}, stdin=pipe, stdout=pipe) as process:
        assert process.stdout is not None
        process.stdout.readline()
        of = Identity.of(process.pid)
        address = f"127.0.0.1:{port}"
        child = ChildState("router", "router", "ready", of.pid, of.started, address=address)
        platform(folder / ".forgelog", me(), children=(child,))
        yield
        process.kill()


async def test_the_folders_own_router_is_asked_by_tls_if_it_has_a_certificate(tmp_path: Path) -> None:
    pair = signed(tmp_path / "tls", "models.example")
    async with router(pair) as port:
        with of_a_folder(tmp_path, port, FORGELOG_ROUTER_CERT=str(pair[0])):
            assert find_router() == Router(f"https://127.0.0.1:{port}", own=True)
            assert await answered() == [7]
            assert await predicting.routed("digits", answers=True, timeout=10) == ""
        with of_a_folder(tmp_path, port):
            assert find_router() == Router(f"http://127.0.0.1:{port}", own=True)


async def test_one_of_a_name_is_trusted_by_the_file_of_who_signed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = signed(tmp_path / "tls")
    async with router(pair) as port:
        url = f"https://localhost:{port}"
        assert (await refused(url)).endswith(
            "its certificate is refused: self-signed certificate; name the PEM file of who signed it in SSL_CERT_FILE"
        )
        monkeypatch.setenv("SSL_CERT_FILE", str(pair[0]))
        assert await answered(url) == [7]
        assert await predicting.routed("digits", answers=True, router=url, timeout=10) == ""
        by_address = await refused(f"https://127.0.0.1:{port}")
        assert by_address.endswith("; ask the router by a name that its certificate has")
        other, _ = signed(tmp_path / "other")
        monkeypatch.setenv("SSL_CERT_FILE", str(other))
        assert (await refused(url)).endswith(f"in SSL_CERT_FILE (now {other})")


async def test_one_that_has_expired_is_for_its_operator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = signed(tmp_path / "tls", days=-1, since=2)
    monkeypatch.setenv("SSL_CERT_FILE", str(pair[0]))
    async with router(pair) as port:
        said = await refused(f"https://localhost:{port}")
    assert said.endswith("certificate has expired; who runs the router must renew it")


async def test_tls_to_a_port_without_and_the_reverse_are_told() -> None:
    async with router(None) as port:
        said = await refused(f"https://localhost:{port}")
        assert said.endswith(f": it speaks no TLS; write http://localhost:{port}")
    with socket.create_server(("127.0.0.1", 0)) as closing:
        port = closing.getsockname()[1]

        def close() -> None:  # as Envoy does with what is no TLS
            closing.accept()[0].close()

        ending = asyncio.to_thread(close)
        said, _ = await asyncio.gather(refused(f"http://localhost:{port}"), ending)
    assert said.endswith(f"; if it has TLS, write https://localhost:{port}")


@pytest.mark.parametrize(("name", "why"), [("none", "can't be read: No such file"), ("empty", "has no PEM cert")])
async def test_a_file_of_certificates_that_is_none_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, why: str
) -> None:
    (tmp_path / "empty").touch()
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / name))
    with pytest.raises(InvalidInput, match=f"^SSL_CERT_FILE: {tmp_path / name} {why}"):
        await answered("https://localhost:1")
