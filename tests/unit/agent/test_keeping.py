"""Files that a job keeps: they are in the store before they are told, each try begins anew, and no end waits for them.

Real launchers and processes, and objects of a real gateway over HTTP; what is reported is only noted down.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import pytest_asyncio

from events.language.jobs import TaskOutputs
from events.objects.collecting import Collected, collect
from events.objects.manifest import parse_manifest
from events.objects.remote import RemoteObjects
from events.objects.store import Objects
from services.resources.agent import keeping
from services.resources.agent.attempts import Attempt, Exit
from services.resources.agent.environment import Around, NoWayToObjects
from services.resources.agent.folders import Folders
from services.resources.agent.launching import Launching
from services.resources.agent.output import Output
from services.resources.agent.reports import EXITED, FREED, KEPT, Reports
from services.resources.agent.running import Running
from tests.unit.agent.test_running import Node
from tests.unit.agent.wards import until
from tests.unit.gateway.door import Door, door


class Way(Around):
    """The way to the platform's objects, which a test can close."""

    problem: Exception | None = None
    tries = 0
    door: Door

    def objects(self, stopped: threading.Event) -> RemoteObjects:
        self.tries += 1
        if self.problem is not None:
            raise self.problem
        return RemoteObjects(self.door.address, self.door.key, patience=0.2, stopped=stopped)


class Keeper(Node):
    def __init__(self, folder: Path, gateway: Door, limit: float = 60.0) -> None:
        super().__init__(folder)
        self.way = Way("n1", folder, folder / "secrets", "", os.environ)
        self.way.door = gateway
        folders = Folders(self.store, lambda: cast(Any, None))
        self.running = Running(self.store, self.way, lambda: True, folders, outputs_seconds=limit)

    def keeps(self, script: str, *patterns: str, key: str = "a") -> Attempt:
        made = self.attempt(script, key)
        made.task = replace(made.task, keep=patterns)
        return made

    async def outputs(self, attempt: Attempt) -> TaskOutputs:
        """What is told of an attempt that is started now."""
        self.running.act(attempt)
        await self.kept(attempt)
        assert attempt.outputs is not None
        return attempt.outputs

    async def kept(self, attempt: Attempt) -> None:
        await until(lambda: (KEPT, attempt.key) in self.told, "its files are not told")


@pytest_asyncio.fixture(scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Door, Objects]]:
    folder = tmp_path_factory.mktemp("gateway")
    async with door(folder) as made:
        yield made, Objects((folder / "objects").as_uri())


@asynccontextmanager
async def served(made: Keeper) -> AsyncIterator[Keeper]:
    async with Launching(made.store.spare) as launching:
        made.running.connect(launching, cast(Reports, made.told), cast(Output, made.shipping))
        yield made
        made.running.close()
        made.store.close()


@pytest_asyncio.fixture
async def node(tmp_path: Path, gateway: tuple[Door, Objects], monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Keeper]:
    monkeypatch.setattr(keeping, "FIRST_PAUSE", 0.01)
    async with served(Keeper(tmp_path, gateway[0])) as made:
        yield made


async def contents(objects: Objects, outputs: TaskOutputs) -> dict[str, bytes]:
    assert outputs.manifest is not None
    files = parse_manifest(await objects.read(outputs.manifest)).files
    return {file.path: await objects.read(file.ref) for file in files}


async def test_files_of_a_task_that_ended_are_in_the_store_when_they_are_told(
    node: Keeper, gateway: tuple[Door, Objects]
) -> None:
    attempt = node.keeps("mkdir -p results/deep; echo a > results/a; echo b > results/deep/b; echo c > c", "results/**")
    outputs = await node.outputs(attempt)
    assert await contents(gateway[1], outputs) == {"results/a": b"a\n", "results/deep/b": b"b\n"}
    assert (outputs.files, outputs.total_bytes, outputs.left_out, outputs.message) == (2, 4, 0, "")
    assert not attempt.incomplete


@pytest.mark.parametrize("end", ["exit 3", "kill -9 $$"])
async def test_those_of_a_task_that_failed_are_kept_too(node: Keeper, gateway: tuple[Door, Objects], end: str) -> None:
    outputs = await node.outputs(node.keeps(f"echo half > half; {end}", "half"))
    assert await contents(gateway[1], outputs) == {"half": b"half\n"}


async def test_the_end_is_told_at_once_and_the_folders_stay_until_the_files_are(node: Keeper) -> None:
    node.way.problem = ConnectionRefusedError(111, "Connection refused")
    attempt = node.keeps("echo a > a", "a")
    node.running.act(attempt)
    await until(lambda: node.way.tries > 2, "it is not tried again")
    assert {(EXITED, attempt.key), (FREED, attempt.key)} <= set(node.told)
    assert (KEPT, attempt.key) not in node.told
    for what in (EXITED, FREED, "output"):
        node.running.on_settled(attempt, what)
    assert node.running.settled == []
    node.way.problem = None
    await node.kept(attempt)
    node.running.on_settled(attempt, KEPT)
    assert node.running.settled == [attempt]


async def test_a_task_that_keeps_nothing_is_settled_as_before(node: Keeper) -> None:
    attempt = node.keeps("echo a > a")
    node.running.act(attempt)
    await node.ended(attempt)
    assert attempt.unsettled == {EXITED, FREED, "output"}
    assert (node.way.tries, attempt.task.folder) == (0, "")


async def test_a_restarted_agent_begins_anew(tmp_path: Path, gateway: tuple[Door, Objects]) -> None:
    async with served(Keeper(tmp_path, gateway[0])) as first:
        first.way.problem = ConnectionRefusedError(111, "Connection refused")
        attempt = first.keeps("echo a > a", "a")
        first.running.act(attempt)
        await first.ended(attempt)
        await until(lambda: first.way.tries, "it is not tried")
    async with served(Keeper(tmp_path, gateway[0])) as second:
        (found,) = second.store.found()
        again = Attempt(found.task)
        second.running.resume(again, found)
        await second.kept(again)
        assert again.outputs is not None
        assert await contents(gateway[1], again.outputs) == {"a": b"a\n"}


async def test_it_is_given_up_after_the_limit_with_the_reason(tmp_path: Path, gateway: tuple[Door, Objects]) -> None:
    async with served(Keeper(tmp_path, gateway[0], limit=0.0)) as node:
        node.way.problem = ConnectionRefusedError(111, "Connection refused")
        attempt = node.keeps("echo a > a", "a")
        outputs = await node.outputs(attempt)
        assert outputs.message == "nothing is kept: Connection refused; given up 0 s after its end"
        assert (outputs.manifest, outputs.files) == (None, 0)
        assert attempt.incomplete, "so its folders are kept"


async def test_a_node_without_a_way_to_the_platform_says_so_at_once(node: Keeper) -> None:
    node.way.problem = NoWayToObjects("the agent of node n1 has no FORGELOG_TOKEN_FILE")
    outputs = await node.outputs(node.keeps("echo a > a", "a"))
    assert outputs.message == "nothing is kept: the agent of node n1 has no FORGELOG_TOKEN_FILE"
    assert node.way.tries == 1


async def test_what_is_left_out_is_told_and_its_folders_stay(node: Keeper) -> None:
    attempt = node.keeps("echo a > a; mkfifo pipe", "*")
    outputs = await node.outputs(attempt)
    assert (outputs.files, outputs.left_out) == (1, 1)
    assert outputs.message == "'pipe': neither a file nor a folder"
    assert attempt.incomplete


async def test_no_file_that_fits_is_told(node: Keeper) -> None:
    attempt = node.keeps("true", "results/**", "*.pt")
    outputs = await node.outputs(attempt)
    assert (outputs.files, outputs.message) == (0, "no file fits results/**, *.pt")
    assert not attempt.incomplete


async def test_a_working_folder_that_the_task_removed_is_told(node: Keeper) -> None:
    outputs = await node.outputs(node.keeps('rmdir "$PWD"', "*"))
    assert outputs.message == "nothing is kept: its working folder can't be entered: No such file or directory"


async def test_patterns_begin_at_the_folder_where_the_task_runs(
    node: Keeper, gateway: tuple[Door, Objects], tmp_path: Path
) -> None:
    own = tmp_path / "of-the-caller"
    (own / "results").mkdir(parents=True)
    (own / "results/old").write_text("from before\n")
    attempt = node.keeps("echo a > results/a", "results/*")
    attempt.folder = str(own)
    outputs = await node.outputs(attempt)
    assert await contents(gateway[1], outputs) == {"results/a": b"a\n", "results/old": b"from before\n"}


async def test_a_task_that_never_started_leaves_nothing(node: Keeper) -> None:
    attempt = node.keeps("true", "*")
    attempt.folder = "/not/there"
    node.running.act(attempt)
    await node.ended(attempt)
    assert KEPT not in attempt.unsettled


async def test_of_a_task_from_before_the_boot_only_its_files_are_told(
    node: Keeper, gateway: tuple[Door, Objects]
) -> None:
    attempt = node.keeps("true", "a")
    work = node.store.scratch / attempt.key / "work"
    work.mkdir(parents=True)
    (work / "a").write_text("left")
    node.running.left_behind(attempt, Exit(cast(Any, "lost"), 0.0))
    await node.kept(attempt)
    assert attempt.outputs is not None
    assert await contents(gateway[1], attempt.outputs) == {"a": b"left"}
    assert node.told == [(KEPT, attempt.key)]


async def test_an_error_of_the_agents_own_is_told(node: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(keeping, "collect", fails)
    outputs = await node.outputs(node.keeps("true", "a"))
    assert outputs.message == "nothing is kept: its node's agent met an error: RuntimeError: a defect"
    await asyncio.sleep(0)


async def test_a_link_that_a_task_puts_in_its_folders_place_is_not_followed(node: Keeper, tmp_path: Path) -> None:
    (tmp_path / "of-another").mkdir()
    (tmp_path / "of-another/secret").write_text("secret")
    script = f'rmdir "$PWD" && ln -s {tmp_path}/of-another "$PWD"'
    outputs = await node.outputs(node.keeps(script, "**"))
    assert outputs.message == "nothing is kept: its working folder can't be entered: Not a directory"


async def test_a_folder_that_a_job_names_may_be_a_link(
    node: Keeper, gateway: tuple[Door, Objects], tmp_path: Path
) -> None:
    (tmp_path / "named").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "named")
    attempt = node.keeps("echo a > a", "a")
    attempt.folder = str(tmp_path / "link")
    assert await contents(gateway[1], await node.outputs(attempt)) == {"a": b"a\n"}


def change(path: Path) -> None:
    path.write_text("other")


def grow(path: Path) -> None:
    with path.open("a") as file:
        file.write("step 2")


@pytest.mark.parametrize(
    ("happens", "told"),
    [
        (change, "'log': it changed while it was sent"),
        (Path.unlink, "'log': can't be read any more: No such file or directory"),
        (grow, ""),
    ],
    ids=["changes", "is removed", "grows"],
)
async def test_a_file_that_others_still_write_keeps_none_of_the_rest_away(
    node: Keeper,
    gateway: tuple[Door, Objects],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    happens: Callable[[Path], None],
    told: str,
) -> None:
    """The caller's folder, say, where the next attempt runs by now."""
    own = tmp_path / "of-the-caller"
    own.mkdir()

    def collected(*given: Any) -> Collected:
        found = collect(*given)
        happens(own / "log")  # each time, so that no second try finds it still
        return found

    monkeypatch.setattr(keeping, "collect", collected)
    attempt = node.keeps("printf %s-$FORGELOG_ALLOCATION step > log; echo a > a", "*", key=happens.__name__)
    attempt.folder = str(own)
    outputs = await node.outputs(attempt)
    kept = await contents(gateway[1], outputs)
    assert kept.pop("a") == b"a\n"
    assert (len(kept), outputs.left_out, outputs.message) == (not told, bool(told), told)
    assert attempt.incomplete == bool(told)
