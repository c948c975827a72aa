"""The fetching itself: files that were sent, from a real gateway into a folder; and what keeps them from coming."""

from __future__ import annotations

import asyncio
import http.client
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import pytest_asyncio

from events.objects.collecting import collect
from events.objects.manifest import MAX_MANIFEST_BYTES
from events.objects.remote import RemoteObjects
from events.objects.sending import send_bundle
from forgelog.client.core import Core
from forgelog.client.fetching import fetch_rows, kept_rows, list_files
from forgelog.client.rows import OutputRow
from forgelog.errors import InvalidInput, NotFound, Unavailable
from tests.unit.gateway.door import Door, door


@pytest_asyncio.fixture(scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Door]:
    async with door(tmp_path_factory.mktemp("gateway")) as made:
        yield made


@pytest.fixture
def core(gateway: Door) -> Core:
    return cast(Core, SimpleNamespace(connection=SimpleNamespace(address=gateway.address, key=gateway.key)))


async def kept(gateway: Door, folder: Path, task: int = 0) -> OutputRow:
    """What a node tells of a folder whose files it keeps."""
    found = collect(folder, ["**"])
    remote = RemoteObjects(gateway.address, gateway.key)
    ref = await asyncio.to_thread(send_bundle, found.manifest, found.open, remote)
    return OutputRow(task=task, attempt=1, files=len(found.manifest.files), digest=ref.digest, size=ref.size)


@pytest_asyncio.fixture
async def row(gateway: Door, tmp_path: Path) -> OutputRow:
    work = tmp_path / "work"
    work.mkdir()
    (work / "a").write_text("a")
    (work / "two\nlines").write_text("b")
    return await kept(gateway, work)


async def fetched(core: Core, rows: list[OutputRow], into: Path, pattern: str = "", **more: Any) -> list[str]:
    files = await fetch_rows(core, rows, into, pattern, **{"nested": False, "force": False, "progress": None, **more})
    return [file.path for file in files if file.fetched]


async def test_files_come_and_those_that_are_there_do_not_come_again(
    core: Core, row: OutputRow, tmp_path: Path
) -> None:
    into = tmp_path / "into"
    assert await fetched(core, [row], into, "a") == ["a"]
    assert await fetched(core, [row], into) == ["two\nlines"]
    assert await fetched(core, [row], into) == []
    assert (into / "two\nlines").read_text() == "b"
    assert sorted(os.listdir(into)) == ["a", "two\nlines"]


async def test_many_tasks_files_go_into_folders_of_their_numbers(core: Core, gateway: Door, tmp_path: Path) -> None:
    rows = []
    for task in range(20):
        work = tmp_path / f"work{task}"
        work.mkdir()
        (work / "number").write_text(f"{task}")
        rows.append(await kept(gateway, work, task))
    assert await fetched(core, rows, tmp_path / "into", nested=True) == [f"{task}/number" for task in range(20)]
    assert (tmp_path / "into/17/number").read_text() == "17"
    assert [(file.task, file.path) for file in await list_files(core, rows)] == [(task, "number") for task in range(20)]


async def test_what_is_in_the_way_keeps_all_away_and_is_replaced_only_by_force(
    core: Core, row: OutputRow, tmp_path: Path
) -> None:
    (tmp_path / "two\nlines").write_text("of mine")
    with pytest.raises(
        InvalidInput,
        match=r"'two\\nlines' is there with other content; nothing was fetched: .* --into",
    ):
        await fetched(core, [row], tmp_path)
    assert not (tmp_path / "a").exists()
    assert await fetched(core, [row], tmp_path, force=True) == ["a", "two\nlines"]
    assert (tmp_path / "two\nlines").read_text() == "b"


async def test_what_claims_to_be_a_manifest_and_is_too_large_is_not_read(core: Core, tmp_path: Path) -> None:
    huge = OutputRow(task=0, attempt=1, files=1, digest="4f" * 32, size=MAX_MANIFEST_BYTES + 1)
    with pytest.raises(NotFound, match=f"it has {MAX_MANIFEST_BYTES + 1} bytes; a manifest has at most"):
        await fetched(core, [huge], tmp_path)


async def test_a_manifest_that_is_gone_is_told(core: Core, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="the files can't be had: there is no object"):
        await fetched(core, [OutputRow(task=0, attempt=1, files=1, digest="4f" * 32, size=10)], tmp_path)


async def test_a_network_that_is_down_is_no_fault_of_the_folder(
    core: Core, row: OutputRow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def connect(_: http.client.HTTPConnection) -> None:
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(http.client.HTTPConnection, "connect", connect)
    monkeypatch.setattr(RemoteObjects.__init__, "__kwdefaults__", {"patience": 0.0, "stopped": None})
    with pytest.raises(Unavailable, match=r"can't be reached: Temporary failure in name resolution$"):
        await fetched(core, [row], tmp_path / "into")


async def test_a_folder_that_takes_no_more_is_told_and_nothing_half_is_left(
    core: Core, row: OutputRow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "link", full)
    with pytest.raises(InvalidInput, match="No space left on device; name another folder by --into"):
        await fetched(core, [row], tmp_path / "into")
    assert os.listdir(tmp_path / "into") == []


async def test_a_task_that_the_job_does_not_have_is_told() -> None:
    async def get(*_: Any, **__: Any) -> Any:
        tasks = SimpleNamespace(total=3)
        return SimpleNamespace(job=SimpleNamespace(tasks=tasks), spec=SimpleNamespace(keep=["*"]))

    with pytest.raises(NotFound, match="job j-1 has no task 3; its tasks are 0 to 2"):
        await kept_rows(cast(Any, SimpleNamespace(get=get)), "j-1", 3, None, None)
