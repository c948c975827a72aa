"""The key of a platform: found without anybody typing it, and sent to nobody but that platform."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio

from events.process.identity import Identity
from events.process.keys import OWNER, ensure_key, key_path, new_api_key
from forgelog import AsyncClient, InvalidInput, Refused, Unavailable
from forgelog.where import choose, find_gateway, find_key
from tests.squatter import squatter
from tests.unit.client.test_where import ADDRESS, GONE, me, platform
from tests.unit.gateway.door import door

FORGELOG = (sys.executable, "-c", "from forgelog.cli import main; main()")


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No platform and no key is named, and the user has none at home."""
    for name in [each for each in os.environ if each.startswith("FORGELOG_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


def keyed(path: Path, supervisor: Identity | None = None) -> str:
    """A folder's platform with its key; the key."""
    platform(path, supervisor or me())
    return ensure_key(key_path(path, OWNER))


def test_the_folder_s_own_key_goes_to_the_folder_s_own_gateway(tmp_path: Path) -> None:
    key = keyed(tmp_path / ".forgelog")
    for given in (None, ADDRESS, ADDRESS.replace("127.0.0.1", "localhost")):
        assert find_gateway(given).key == key
    assert find_key() == key


@pytest.mark.parametrize("address", ["127.0.0.1:7172", "localhost:1", "cluster.example:7171", "10.0.0.1:7171"])
def test_and_to_no_other(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, address: str) -> None:
    keyed(tmp_path / ".forgelog")
    found = find_gateway(address)
    assert found.key == ""
    assert f"{tmp_path}/.forgelog (the nearest .forgelog) is not the data folder of" in found.without
    monkeypatch.setenv("FORGELOG_GATEWAY", address)
    assert find_gateway() == found
    with pytest.raises(Refused, match=f"no key of the platform at {address} is known: neither FORGELOG_TOKEN nor"):
        find_key()


def test_nor_to_who_listens_there_when_the_platform_is_down(tmp_path: Path) -> None:
    key = keyed(tmp_path / ".forgelog", GONE)
    assert find_gateway(ADDRESS).key == ""
    assert find_key() == key  # to be printed, it need not run


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
def test_nor_to_another_users_program_that_has_taken_the_port(tmp_path: Path) -> None:
    with squatter() as port:
        platform(tmp_path / ".forgelog", me(), address := f"127.0.0.1:{port}")
        ensure_key(key_path(tmp_path / ".forgelog", OWNER))
        taken = f"a program of nobody listens at {address}, which is the gateway's of"
        with pytest.raises(Unavailable, match=taken):
            find_gateway()
        found = find_gateway(address)
        assert found.key == ""
        assert taken in found.without


def test_a_named_key_goes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    keyed(tmp_path / ".forgelog")
    in_file, in_text, given = new_api_key(), new_api_key(), new_api_key()
    file = tmp_path / "key"
    ensure_key(file, lambda: in_file)
    (tmp_path / "link").symlink_to(file)  # as secrets are mounted
    for name in (file, tmp_path / "link"):
        monkeypatch.setenv("FORGELOG_TOKEN_FILE", str(name))
        assert {find_gateway(each).key for each in (None, ADDRESS, "other:1")} == {in_file}
    monkeypatch.setenv("FORGELOG_TOKEN", f" {in_text}\n")
    assert {find_gateway(each).key for each in (None, ADDRESS, "other:1")} == {in_text}
    assert find_key() == in_text
    assert find_gateway("other:1", given).key == given


def test_a_named_folder_has_its_own_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What the environment names may be another platform's."""
    key = keyed(tmp_path / "data")
    monkeypatch.setenv("FORGELOG_TOKEN", new_api_key())
    monkeypatch.setenv("FORGELOG_TOKEN_FILE", "/no/such/file")
    choose(None, tmp_path / "data")
    assert find_gateway().key == find_key() == key


@pytest.mark.parametrize("text", ["two words", "new\nline", "ключ", "\x1b[1m", " "])
def test_what_is_no_key_is_not_repeated(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("FORGELOG_TOKEN", text)
    with pytest.raises(InvalidInput, match=r"^FORGELOG_TOKEN: is no key; give what `forgelog token` prints$"):
        find_gateway(ADDRESS)


@pytest.mark.parametrize("what", ["missing", "read by others", "damaged"])
def test_a_key_file_that_can_not_be_used_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, what: str) -> None:
    file = tmp_path / "key"
    if what != "missing":
        file.write_text("secret words")
        file.chmod(0o644 if what == "read by others" else 0o600)
    if what == "damaged":
        file.write_bytes(b"\xff\xfe")
    monkeypatch.setenv("FORGELOG_TOKEN_FILE", str(file))
    with pytest.raises(InvalidInput, match=f"^FORGELOG_TOKEN_FILE: .*{re.escape(str(file))}") as caught:
        find_gateway(ADDRESS)
    assert "secret" not in str(caught.value)


def test_beside_another_user_s_platform_it_is_said_which_key_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = platform(tmp_path / ".forgelog", me())
    monkeypatch.setattr("os.geteuid", lambda: os.getuid() + 4321)
    found = find_gateway(ADDRESS)
    assert found.key == ""
    assert f"the data folder {path} is another user's" in found.without


def test_a_key_is_not_shown(tmp_path: Path) -> None:
    key = keyed(tmp_path / ".forgelog")
    assert key not in repr(find_gateway())


def test_the_command_prints_it(tmp_path: Path) -> None:
    key = keyed(tmp_path / "data")
    done = subprocess.run([*FORGELOG, "--data", str(tmp_path / "data"), "token"], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{key}\n", "")
    none = subprocess.run([*FORGELOG, "token"], capture_output=True, text=True)
    assert (none.returncode, none.stdout) == (1, "")
    assert none.stderr.startswith("error: no key is known: neither FORGELOG_TOKEN nor FORGELOG_TOKEN_FILE is set, and")
    assert "forgelog up" in none.stderr


class Stranger:
    """A server that keeps what its callers send."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        self.address = ""


@pytest_asyncio.fixture
async def stranger() -> AsyncIterator[Stranger]:
    made = Stranger()

    class Handler(grpc.GenericRpcHandler):  # type: ignore[type-arg]
        def service(self, details: Any) -> Any:
            made.told.append(dict(details.invocation_metadata))
            return None

    server: Any = grpc.aio.server()
    server.add_generic_rpc_handlers((Handler(),))
    made.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    yield made
    await server.stop(0)


async def test_a_stranger_is_told_no_key(tmp_path: Path, stranger: Stranger) -> None:
    keyed(tmp_path / ".forgelog")
    async with AsyncClient(stranger.address) as client:
        with pytest.raises(Refused):
            await client.jobs.list()
    async with AsyncClient(stranger.address, token="given") as client:
        with pytest.raises(Refused):
            await client.jobs.list()
    assert [each.get("authorization") for each in stranger.told] == [None, "Bearer given"]


async def test_without_the_key_the_client_says_what_is_missing(tmp_path: Path) -> None:
    async with door(tmp_path / "gateway") as gateway:
        async with AsyncClient(gateway.address) as client:
            with pytest.raises(Refused) as caught:
                await client.jobs.list()
        assert caught.value.code == "unauthenticated"
        for word in (gateway.address, "none is known here", "FORGELOG_TOKEN_FILE", str(tmp_path), "forgelog token"):
            assert word in str(caught.value)
        async with AsyncClient(gateway.address, token=new_api_key()) as client:
            with pytest.raises(Refused, match="is not its own"):
                await client.jobs.list()
        typed = [*FORGELOG, "--gateway", gateway.address, "ps"]
        done = await asyncio.to_thread(subprocess.run, typed, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: jobs: the platform at {gateway.address} asks for its key, and none is known")
    assert "Traceback" not in done.stderr
