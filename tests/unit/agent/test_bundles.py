"""Uploaded code on a node: fetched once, copied for each task, and no task's changes reach another.

The objects are those of a real gateway over HTTP.
"""

from __future__ import annotations

import asyncio
import os
import stat
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from blake3 import blake3

from events.language.objects import ObjectRef
from events.objects.manifest import BundleFile, Manifest
from events.objects.remote import RemoteObjects
from events.objects.store import Objects
from services.resources.agent.bundles import BundleProblem, Bundles, Stopped
from tests.unit.gateway.door import Door, door


class Counting(RemoteObjects):
    """Notes what is asked for."""

    asked: list[str]

    def get(self, ref: ObjectRef, opened: Any) -> None:
        self.asked.append(ref.digest)
        super().get(ref, opened)


class Node:
    def __init__(self, folder: Path, gateway: Door, objects: Objects, most: int) -> None:
        self.folder = folder
        self.objects = objects
        self.asked: list[str] = []
        self.gateway = gateway
        self.bundles = self.anew(most)

    def anew(self, most: int) -> Bundles:
        """As after the agent's restart."""
        return Bundles(self.folder / "bundles", self._remote, most, 0o027)

    def _remote(self, stopped: threading.Event) -> RemoteObjects:
        remote = Counting(self.gateway.address, self.gateway.key, patience=0.5, stopped=stopped)
        remote.asked = self.asked
        return remote

    async def bundle(self, **contents: bytes) -> ObjectRef:
        """A bundle of files; `__` in a name is a slash."""
        files = []
        for name, content in contents.items():
            ref = await self.objects.put(content)
            path = name.replace("__", "/")
            files.append(BundleFile(path=path, digest=ref.digest, size=ref.size, executable=path.endswith("sh")))
        return await self.objects.put(Manifest(files=tuple(files)).to_bytes())

    async def task(self, ref: ObjectRef, name: str, stopped: threading.Event | None = None) -> Path:
        target = self.folder / name
        await asyncio.to_thread(self.bundles.prepare, ref, target, stopped or threading.Event())
        return target

    def cached(self) -> dict[str, Path]:
        return {path.name: path for path in (self.folder / "bundles").glob("??/*")}


@pytest_asyncio.fixture(scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Door, Objects]]:
    folder = tmp_path_factory.mktemp("gateway")
    async with door(folder) as made:
        yield made, Objects((folder / "objects").as_uri())


@pytest.fixture
def node(gateway: tuple[Door, Objects], tmp_path: Path) -> Node:
    return Node(tmp_path, *gateway, most=1 << 20)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


async def test_a_task_has_the_files_with_their_modes(node: Node) -> None:
    ref = await node.bundle(train=b"train", src__a=b"a", src__deep__b=b"b", src__c=b"c", run_sh=b"#!/bin/sh", z__q=b"")
    task = await node.task(ref, "t1")
    assert files(task) == {
        "train": b"train", "src/a": b"a", "src/deep/b": b"b", "src/c": b"c", "run_sh": b"#!/bin/sh", "z/q": b"",
    }  # fmt: skip
    modes = {name: stat.S_IMODE((task / name).stat().st_mode) for name in ("train", "src", "src/deep", "run_sh")}
    assert modes == {"train": 0o640, "src": 0o750, "src/deep": 0o750, "run_sh": 0o750}


async def test_an_empty_bundle_is_an_empty_folder(node: Node) -> None:
    assert files(await node.task(await node.bundle(), "t1")) == {}


async def test_two_tasks_of_one_bundle_fetch_it_once(node: Node) -> None:
    ref = await node.bundle(a=b"of both", b=b"of both, too")
    tasks = await asyncio.gather(*(node.task(ref, f"t{n}") for n in range(4)))
    assert all(files(task) == {"a": b"of both", "b": b"of both, too"} for task in tasks)
    assert len(node.asked) == len(set(node.asked)) == 3, "the manifest, and two files"


async def test_of_another_version_only_what_changed_is_fetched(node: Node) -> None:
    await node.task(await node.bundle(a=b"stays", b=b"before"), "t1")
    node.asked.clear()
    await node.task(await node.bundle(a=b"stays", b=b"after"), "t2")
    assert len(node.asked) == 2, "the manifest, and one file"


async def test_what_a_task_changes_reaches_no_other(node: Node) -> None:
    ref = await node.bundle(a=b"as uploaded")
    first = await node.task(ref, "t1")
    (first / "a").write_bytes(b"changed in its own folder")
    assert files(await node.task(ref, "t2")) == {"a": b"as uploaded"}
    assert os.stat(first / "a").st_nlink == 1


@pytest.mark.parametrize("how", ["changed", "cut", "longer", "removed", "a link", "a pipe", "a folder"])
async def test_a_cache_that_a_task_changed_is_noticed(node: Node, how: str, tmp_path: Path) -> None:
    """It may be of any file, also of the manifest."""
    ref = await node.bundle(a=b"as uploaded", b__c=b"as uploaded, too")
    await node.task(ref, "t1")
    (tmp_path / "other").write_bytes(b"as uploadet")
    for path in node.cached().values():
        content = path.read_bytes()
        path.unlink()
        if how == "a link":
            path.symlink_to(tmp_path / "other")
        elif how == "a pipe":
            os.mkfifo(path)
        elif how == "a folder":
            (path / "deeper").mkdir(parents=True)
            (path / "deeper" / "out").symlink_to(tmp_path)
        elif how != "removed":
            path.write_bytes({"changed": content[:-1] + b"X", "cut": content[:-1], "longer": content + b"X"}[how])
    assert files(await node.task(ref, "t2")) == {"a": b"as uploaded", "b/c": b"as uploaded, too"}


async def test_a_full_cache_removes_what_was_used_least(node: Node) -> None:
    node.bundles = node.anew(2_500)
    old, kept, new = [await node.bundle(a=word * 1_000) for word in (b"o", b"k", b"n")]
    await node.task(old, "t1")
    await node.task(kept, "t2")
    await node.task(new, "t3")
    cached = {path.read_bytes()[:1] for path in node.cached().values() if path.stat().st_size == 1_000}
    assert cached == {b"k", b"n"}
    await node.task(kept, "t4")
    node.bundles = node.anew(2_500)  # a restarted agent knows the order
    assert files(await node.task(old, "t5")) == {"a": b"o" * 1_000}
    cached = {path.read_bytes()[:1] for path in node.cached().values() if path.stat().st_size == 1_000}
    assert b"k" in cached
    assert b"n" not in cached


async def test_sizes_that_a_manifest_claims_remove_nothing(node: Node) -> None:
    await node.task(await node.bundle(a=b"kept"), "t1")
    kept = set(node.cached())
    claims = Manifest(files=(BundleFile(path="huge", digest="00" * 32, size=20 << 30),))
    with pytest.raises(BundleProblem, match="there is no object"):
        await node.task(await node.objects.put(claims.to_bytes()), "t2")
    assert kept < set(node.cached())


async def test_each_file_that_comes_makes_room(node: Node) -> None:
    node.bundles = node.anew(2_500)
    await node.task(await node.bundle(a=b"o" * 1_000), "t1")
    one, away = await node.objects.put(b"n" * 2_000), BundleFile(path="b", digest="00" * 32, size=3)
    half = Manifest(files=(BundleFile(path="a", digest=one.digest, size=one.size), away))
    with pytest.raises(BundleProblem, match="there is no object"):
        await node.task(await node.objects.put(half.to_bytes()), "t2")
    assert sum(path.stat().st_size for path in node.cached().values()) <= 2_500


async def test_what_is_being_copied_stays_in_a_cache_that_is_too_small(node: Node) -> None:
    node.bundles = node.anew(10)
    ref = await node.bundle(a=b"a" * 1_000, b=b"b" * 1_000)
    tasks = await asyncio.gather(*(node.task(ref, f"t{n}") for n in range(3)))
    assert all(len(files(task)["b"]) == 1_000 for task in tasks)


async def test_what_a_killed_agent_was_fetching_is_removed(node: Node) -> None:
    shard = node.folder / "bundles" / "ab"
    shard.mkdir(parents=True)
    (shard / f"{'ab' * 32}.new").write_bytes(b"half")
    await node.task(await node.bundle(a=b"a"), "t1")
    assert not [name for name in node.cached() if name.endswith(".new")]


async def test_a_folder_in_the_way_of_a_fetched_file_is_removed_and_links_are_not_followed(
    node: Node, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "kept").write_bytes(b"kept")
    ref = await node.bundle(a=b"a")
    for name in (ref.digest, "ab" * 32):
        way = node.folder / "bundles" / name[:2] / f"{name}.new"
        way.mkdir(parents=True)
        (way / "out").symlink_to(tmp_path / "elsewhere")
    assert files(await node.task(ref, "t1")) == {"a": b"a"}
    assert not [name for name in node.cached() if name.endswith(".new")]
    way.mkdir()  # while the agent runs
    other = await node.bundle(a=b"b")
    for ending in ("", ".new"):
        (node.folder / "bundles" / other.digest[:2] / f"{other.digest}{ending}" / "in").mkdir(parents=True)
    assert files(await node.task(other, "t2")) == {"a": b"b"}
    assert (tmp_path / "elsewhere" / "kept").read_bytes() == b"kept"


async def test_a_folder_in_the_cache_is_removed_to_make_room(node: Node) -> None:
    node.bundles = node.anew(100)
    (node.folder / "bundles" / "ab" / ("ab" * 32) / "deeper").mkdir(parents=True)
    assert files(await node.task(await node.bundle(a=b"a" * 100), "t1")) == {"a": b"a" * 100}
    assert "ab" * 32 not in node.cached()


async def test_fetches_that_fail_leave_nothing_behind(node: Node) -> None:
    for number in range(3):
        with pytest.raises(BundleProblem, match="there is no object"):
            await node.task(ObjectRef(digest=f"{number:064x}", size=3), "t1")
    assert not node.bundles.fetching


async def test_a_bundle_that_is_not_there_is_told(node: Node) -> None:
    with pytest.raises(BundleProblem, match="there is no object"):
        await node.task(ObjectRef(digest="00" * 32, size=3), "t1")


async def test_a_size_that_is_not_the_objects_is_told(node: Node) -> None:
    ref = await node.bundle(a=b"a")
    with pytest.raises(BundleProblem, match="other bytes"):
        await node.task(ObjectRef(digest=ref.digest, size=ref.size - 1), "t1")
    with pytest.raises(BundleProblem, match="a manifest has at most"):
        await node.task(ObjectRef(digest=ref.digest, size=1 << 30), "t2")


@pytest.mark.parametrize("path", ["../up", "/etc/cron.d/x", "a/../../x", "a"])
async def test_a_manifest_that_would_leave_its_folder_is_told(node: Node, path: str) -> None:
    content = await node.objects.put(b"planted")
    one = BundleFile.model_construct(path=path, digest=content.digest, size=content.size, executable=False)
    through = BundleFile.model_construct(path="a/b", digest=content.digest, size=content.size, executable=False)
    evil = Manifest.model_construct(files=(one, through))
    ref = await node.objects.put(evil.to_bytes())
    before = {each for each in node.folder.rglob("*") if "bundles" not in each.parts}
    with pytest.raises(BundleProblem, match=r"is no path in a folder|goes through a file|is an absolute path"):
        await node.task(ref, "t1")
    assert {each for each in node.folder.rglob("*") if "bundles" not in each.parts} == before


async def test_a_folder_that_is_planted_in_the_way_is_not_entered(node: Node, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "bundles").symlink_to(tmp_path / "elsewhere")
    for shard in range(256):
        (tmp_path / "elsewhere" / f"{shard:02x}").symlink_to(tmp_path)
    with pytest.raises(BundleProblem, match="can't be unpacked"):
        await node.task(await node.bundle(a=b"a"), "t1")


async def test_a_gateway_that_is_away_is_told_after_a_while(node: Node) -> None:
    ref = await node.bundle(a=b"a")
    node.gateway = Door("127.0.0.1:1", "key")
    with pytest.raises(BundleProblem, match="can't be reached"):
        await node.task(ref, "t1")


async def test_a_wrong_key_is_told_at_once(node: Node) -> None:
    ref = await node.bundle(a=b"a")
    node.gateway = Door(node.gateway.address, "no-key")
    with pytest.raises(BundleProblem, match="authorization") as caught:
        await node.task(ref, "t1")
    assert "no-key" not in str(caught.value)


async def test_a_task_that_is_not_to_start_any_more_waits_for_nothing(node: Node) -> None:
    ref = await node.bundle(a=b"a")
    stopped = threading.Event()
    stopped.set()
    with pytest.raises(Stopped):
        await node.task(ref, "t1", stopped)


async def test_one_that_leaves_off_does_not_keep_another_from_the_same_files(node: Node) -> None:
    ref = await node.bundle(a=b"a", b=b"b")
    stopped = threading.Event()
    stopped.set()
    left, task = await asyncio.gather(node.task(ref, "t1", stopped), node.task(ref, "t2"), return_exceptions=True)
    assert isinstance(left, Stopped)
    assert isinstance(task, Path)
    assert files(task) == {"a": b"a", "b": b"b"}


async def test_a_folder_in_a_cached_files_place_goes_whatever_its_depth_and_permissions(node: Node) -> None:
    ref = await node.bundle(a=b"as uploaded")
    await node.task(ref, "t1")
    path = node.cached()[blake3(b"as uploaded").hexdigest()]
    path.unlink()
    path.mkdir()
    inner = os.open(path, os.O_RDONLY)
    for _ in range(3_000):  # deeper than Python recurses, and than a path may be long
        os.mkdir("d", dir_fd=inner)
        below = os.open("d", os.O_RDONLY, dir_fd=inner)
        os.close(inner)
        inner = below
    os.fchmod(inner, 0o500)
    os.close(inner)
    assert files(await node.task(ref, "t2")) == {"a": b"as uploaded"}
    assert node.cached()[path.name].is_file()
