"""Routers whose parts end: Envoy serves on without its companion, a pair starts again from disk, two share a port."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import ssl
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from forgelog.embedded.ports import free_port
from services.deployments.router import companion
from tests.certificates import signed
from tests.integration.router.rig import Rig, raw, revision, until, upstreams


@pytest.fixture
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="router-"))
    yield path
    shutil.rmtree(path)


async def test_envoy_serves_on_without_its_companion_and_the_next_one_adopts_it(folder: Path) -> None:
    first = Rig(folder, free_port())
    async with upstreams("a", "b") as (a, b), first.client() as client:
        table = first.table(revision(1, 10_000, a))
        path = f"/serve/local/default/{table['name']}/"
        async with killed(first) as pid:
            await first.put(table)
            assert (await client.get(path)).json()["name"] == "a"
        assert (await client.get(path)).json()["name"] == "a"
        assert {path.stat().st_mode & 0o777 for path in (folder / "tables").iterdir()} == {0o600}

        second = Rig(folder, first.config.port)
        async with second.running():
            assert (await client.get(path)).json()["name"] == "a"  # nobody has told it
            assert second.envoy.starts == 0
            await second.put({**table, "revisions": [revision(1, 10_000, b)], "number": 100})
            assert (await client.get(path)).json()["name"] == "b"
            # And one that dies is started again, with what there was.
            os.kill(pid, signal.SIGKILL)
            await until(lambda: second.envoy.starts == 1)
            await until(lambda: second.answers(path))
            async with second.client() as another:
                assert (await another.get(path)).json()["name"] == "b"


@asynccontextmanager
async def killed(rig: Rig) -> AsyncIterator[int]:
    """The router runs; at the end its companion is gone, as if it was killed, and Envoy, of this process id, is not."""
    tasks = [asyncio.create_task(rig.companion.run(rig)), asyncio.create_task(rig.envoy.run())]
    await until(lambda: rig.answers("/v2/health/live"))
    yield rig.envoy.pid
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_two_routers_share_a_port_and_are_restarted_singly(folder: Path) -> None:
    port = free_port()
    async with upstreams("a") as (a,):
        one, two = Rig(folder / "1", port), Rig(folder / "2", port)
        table = one.table(revision(1, 10_000, a))
        path = f"/serve/local/default/{table['name']}/"
        request = f"GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n".encode()
        failed = list[bytes]()
        ended = asyncio.Event()

        async def ask() -> None:
            while not ended.is_set():
                answer = await raw(port, request)  # by a connection of its own
                if not answer.startswith(b"HTTP/1.1 200 OK"):
                    failed.append(answer)

        async with one.running():
            await one.put(table)
            async with two.running():
                await two.put(table)
                load = [asyncio.create_task(ask()) for _ in range(4)]
                await until(lambda: len(a.got) > 100)
            seen = len(a.got)
            await until(lambda: len(a.got) > seen + 100)
            ended.set()
            await asyncio.gather(*load)
        assert failed == []


async def test_tls_by_a_certificate_of_the_operators(folder: Path) -> None:
    certificate, key = signed(folder)
    rig = Rig(folder, free_port())
    secure = replace(rig.config, certificate=(certificate, key))
    rig = Rig(folder, secure.port, secure)
    trusted = ssl.create_default_context(cafile=str(certificate))
    async with upstreams("a") as (a,), rig.running(verify=trusted):
        table = rig.table(revision(1, 10_000, a), session={"enabled": True})
        await rig.put(table)
        async with rig.client() as client:
            answer = await client.get(f"/serve/local/default/{table['name']}/")
        assert answer.json()["headers"]["x-forwarded-proto"] == "https"
        cookie = next(one for one in answer.headers.get_list("set-cookie") if one.startswith("fl-"))
        assert cookie.endswith("; Secure")


async def test_a_renewed_certificate_is_taken_without_a_restart_once_both_files_are_there(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(companion, "CERTIFICATE_SECONDS", 0.1)
    caplog.set_level(logging.INFO, "forgelog.router")
    before, renewed = signed(folder), signed(folder / "renewed")
    rig = Rig(folder, free_port())
    rig = Rig(folder, rig.config.port, replace(rig.config, certificate=before))

    async def shown() -> str:
        return await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", rig.config.port))

    async with rig.running(verify=ssl.create_default_context(cafile=str(before[0]))):
        old = before[0].read_text()
        assert await shown() == old
        os.replace(renewed[0], before[0])
        await until(lambda: "is not the certificate's" in caplog.text)
        assert await shown() == old
        os.replace(renewed[1], before[1])
        new = before[0].read_text()

        async def taken() -> bool:
            return await shown() == new

        await until(taken)
        await until(lambda: "the certificate was renewed" in caplog.text)
    assert caplog.text.count("is not the certificate's") == 1
    assert "PRIVATE KEY" not in caplog.text
    assert with_a_key(folder) == [before[1]]


def with_a_key(folder: Path) -> list[Path]:
    """The files that hold one."""
    return [path for path in folder.rglob("*") if path.is_file() and b"PRIVATE KEY" in path.read_bytes()]
