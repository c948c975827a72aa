"""Attempts with uploaded code: where they run, what becomes of the folder, and what ends one that has not begun."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest
import pytest_asyncio

from events.language.jobs import ExitReason
from events.language.objects import ObjectRef
from services.resources.agent.attempts import Attempt, Stop
from services.resources.agent.bundles import BundleProblem, Stopped
from services.resources.agent.environment import Around
from services.resources.agent.folders import Folders
from services.resources.agent.launching import Launching
from services.resources.agent.output import Output
from services.resources.agent.reports import Reports
from services.resources.agent.running import Running
from tests.unit.agent.test_running import Node
from tests.unit.agent.wards import until

CODE = ObjectRef(digest="4f" * 32, size=3)


class Unpacking:
    """Stands for the cache: makes a folder with one file once it may."""

    def __init__(self) -> None:
        self.may, self.began, self.problem = threading.Event(), threading.Event(), ""

    def prepare(self, ref: ObjectRef, target: Path, stopped: threading.Event) -> None:
        assert ref == CODE
        target.mkdir()
        (target / "half").touch()
        self.began.set()
        while not self.may.wait(0.01):
            if stopped.is_set():
                raise Stopped
        if self.problem:
            raise BundleProblem(self.problem)
        (target / "words").write_text("uploaded")


class Uploading(Node):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.unpacking = Unpacking()
        around = Around("n1", folder, folder / "secrets", "", os.environ)
        folders = Folders(self.store, lambda: cast(Any, self.unpacking))
        self.running = Running(self.store, around, lambda: True, folders)

    def uploaded(self, script: str, key: str = "a") -> Attempt:
        """An attempt that has uploaded code, as it is being started."""
        made = self.attempt(script, key)
        assert made.bound is not None
        environment = made.bound.launch.environment.model_copy(update={"bundle": CODE})
        launch = made.bound.launch.model_copy(update={"environment": environment})
        made.bound = made.bound.model_copy(update={"launch": launch})
        self.running.act(made)
        return made

    async def unpacks(self) -> None:
        await asyncio.to_thread(self.unpacking.began.wait, 30)

    def code(self) -> list[str]:
        return [path.name for path in self.store.code.iterdir()]


@pytest_asyncio.fixture
async def node(tmp_path: Path) -> AsyncIterator[Uploading]:
    made = Uploading(tmp_path)
    async with Launching(made.store.spare) as launching:
        made.running.connect(launching, cast(Reports, made.told), cast(Output, made.shipping))
        yield made
        for attempt in made.running.attempts.values():
            if attempt.exit is None and attempt.warden:
                os.kill(attempt.warden, signal.SIGKILL)
                await made.ended(attempt)
        made.running.close()
        made.store.close()


async def test_it_runs_in_its_copy_and_nothing_waits_for_that(node: Uploading) -> None:
    uploaded = node.uploaded("pwd; cat words")
    await node.unpacks()
    other = node.attempt("true", "b")
    node.running.act(other)
    assert (await node.ended(other)).ok
    node.unpacking.may.set()
    assert (await node.ended(uploaded)).ok
    printed = (node.store.tasks / uploaded.key / "stdout").read_text()
    assert printed == f"{node.store.code / uploaded.key}\nuploaded"


@pytest.mark.parametrize("keep", [False, True])
async def test_its_copy_goes_with_its_folders(node: Uploading, keep: bool) -> None:
    node.unpacking.may.set()
    attempt = node.uploaded("true")
    await node.ended(attempt)
    node.store.retire(attempt.key, keep=keep)
    assert node.code() == []
    kept = list((node.folder / "ended").glob("*/code/words"))
    assert bool(kept) is keep


async def test_why_it_can_not_be_had_is_its_end(node: Uploading) -> None:
    node.unpacking.problem = "its uploaded code can't be had: no"
    node.unpacking.may.set()
    attempt = node.uploaded("true")
    exit = await node.ended(attempt)
    assert (exit.reason, exit.message) == (ExitReason.SPAWN_FAILED, "its uploaded code can't be had: no")
    assert node.code() == []


async def test_a_stop_ends_what_is_still_being_unpacked(node: Uploading) -> None:
    attempt = node.uploaded("true")
    await node.unpacks()
    attempt.stop = Stop(ExitReason.STOPPED, 0, "cancelled")
    node.running.act(attempt)
    exit = await node.ended(attempt)
    assert (exit.reason, exit.message) == (ExitReason.STOPPED, "cancelled")
    assert node.code() == []


async def test_one_that_is_released_meanwhile_leaves_nothing(node: Uploading) -> None:
    attempt = node.uploaded("true")
    await node.unpacks()
    attempt.gone = True
    node.running.act(attempt)
    await until(lambda: attempt.key not in node.running.attempts, "it is still there")
    assert node.code() == []


async def test_one_that_is_released_before_it_may_start_leaves_nothing(node: Uploading) -> None:
    """The node is not sure of its registration when the folder is ready."""
    open_ = [True]
    node.running._may_start = lambda: open_[0]
    attempt = node.uploaded("true")
    await node.unpacks()
    open_[0] = False
    node.unpacking.may.set()
    await until(lambda: attempt.folder, "it is not unpacked")
    attempt.gone = True
    node.running.act(attempt)
    assert attempt.key not in node.running.attempts
    assert node.code() == []


async def test_what_a_killed_agent_had_unpacked_is_made_anew(node: Uploading) -> None:
    attempt = node.attempt("cat words; ls")
    (node.store.code / attempt.key).mkdir()
    (node.store.code / attempt.key / "rest").touch()
    assert node.store.found() == []
    assert node.code() == []
    (node.store.code / attempt.key).mkdir()
    node.unpacking.may.set()
    again = node.uploaded("ls")
    assert (await node.ended(again)).ok
    assert (node.store.tasks / again.key / "stdout").read_text() == "half\nwords\n"
