"""What a task logged to runs is sent when it has ended, and its end is told behind that, or when that takes too long.

Real launchers and processes; what sends is a small program in place of the real one.
"""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest
import pytest_asyncio

from services.resources.agent import draining
from services.resources.agent.attempts import Attempt
from services.resources.agent.environment import Around
from services.resources.agent.folders import Folders
from services.resources.agent.launching import Launching
from services.resources.agent.output import Output
from services.resources.agent.reports import EXITED, FREED, Reports
from services.resources.agent.running import Running
from tests.unit.agent.test_running import Node
from tests.unit.agent.wards import until

LEAVES = 'mkdir -p "$FORGELOG_SPOOL/r1"; echo "$FORGELOG_PROJECT" > "$FORGELOG_SPOOL/r1/project"'
"""Shell of a task that leaves something."""

SENDER = """
import os, pathlib, sys
spool = pathlib.Path(sys.argv[1])
node = spool.parents[2]
with open(node / "tries", "a") as tries:
    print(*sorted(os.environ), sep=",", file=tries)
if not (node / "works").exists():
    print("no platform answers")
    sys.exit(75)
(spool / "r1" / "project").rename(node / "sent")
"""


class Drained(Node):
    """A node that has a way to the platform."""

    def __init__(self, folder: Path, gateway: str = "127.0.0.1:1", limit: float = 60.0) -> None:
        super().__init__(folder)
        around = Around("n1", folder, folder / "secrets", gateway, os.environ, token_file=folder / "key")
        folders = Folders(self.store, lambda: cast("object", None))  # type: ignore[arg-type,return-value]
        self.running = Running(self.store, around, lambda: True, folders, outputs_seconds=limit)

    def kinds(self, attempt: Attempt) -> list[str]:
        """What was told of its end."""
        return [kind for kind, key in self.told if key == attempt.key and kind in (EXITED, FREED)]

    def tries(self) -> list[str]:
        path = self.folder / "tries"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture(autouse=True)
def sender(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draining, "COMMAND", (sys.executable, "-c", SENDER))
    monkeypatch.setattr(draining, "FIRST_PAUSE", 0.01)


@pytest_asyncio.fixture
async def node(tmp_path: Path) -> AsyncIterator[Drained]:
    made = Drained(tmp_path)
    async with Launching(made.store.spare) as launching:
        made.running.connect(launching, cast(Reports, made.told), cast(Output, made.shipping))
        yield made
        made.running.close()
        made.store.close()


async def test_what_is_left_is_sent_before_the_end_is_told(node: Drained) -> None:
    (node.folder / "works").touch()
    attempt = node.attempt(f"{LEAVES}; exit 3")
    node.running.act(attempt)
    await until(lambda: node.kinds(attempt), "its end is not told")
    assert node.kinds(attempt) == [EXITED, FREED]
    assert (node.folder / "sent").read_text() == "local/default\n"
    assert draining.SPOOL not in attempt.unsettled
    (names,) = node.tries()
    assert {"FORGELOG_GATEWAY", "FORGELOG_TOKEN_FILE"} <= {*names.split(",")}
    assert not {name for name in names.split(",") if "KAFKA" in name or "POSTGRES" in name}


async def test_a_task_that_leaves_nothing_is_told_at_once(node: Drained) -> None:
    attempt = node.attempt('mkdir -p "$FORGELOG_SPOOL/.begun"')
    node.running.act(attempt)
    await until(lambda: node.kinds(attempt), "its end is not told")
    assert node.tries() == []


async def test_what_fails_is_tried_again_and_holds_the_end(node: Drained) -> None:
    attempt = node.attempt(LEAVES)
    node.running.act(attempt)
    await until(lambda: len(node.tries()) >= 3, "it is not tried again")
    assert node.kinds(attempt) == []
    (node.folder / "works").touch()
    await until(lambda: node.kinds(attempt), "its end is not told")
    assert (node.folder / "sent").exists()
    assert not attempt.incomplete


async def test_an_end_is_not_held_for_long(node: Drained, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draining, "FIRST_SECONDS", 0.05)
    attempt = node.attempt(LEAVES)
    node.running.act(attempt)
    await until(lambda: node.kinds(attempt), "its end is not told")
    assert draining.SPOOL in attempt.unsettled  # its folder stays
    (node.folder / "works").touch()
    await until(lambda: draining.SPOOL not in attempt.unsettled, "it is not sent")
    assert node.kinds(attempt) == [EXITED, FREED]


@pytest.mark.parametrize("gateway", ["", "127.0.0.1:1"])
async def test_what_can_t_be_sent_is_given_up_and_kept_for_a_while(tmp_path: Path, gateway: str) -> None:
    made = Drained(tmp_path, gateway, limit=0.0)
    async with Launching(made.store.spare) as launching:
        made.running.connect(launching, cast(Reports, made.told), cast(Output, made.shipping))
        attempt = made.attempt(LEAVES)
        made.running.act(attempt)
        await until(lambda: made.kinds(attempt), "its end is not told")
        assert attempt.incomplete
        assert draining.SPOOL not in attempt.unsettled
        made.running.close()
        made.store.close()


async def test_a_link_in_the_folder_s_place_is_not_followed(node: Drained) -> None:
    (node.folder / "elsewhere" / "r1").mkdir(parents=True)
    attempt = node.attempt(f'ln -s {node.folder}/elsewhere "$FORGELOG_SPOOL"')
    node.running.act(attempt)
    await until(lambda: node.kinds(attempt), "its end is not told")
    assert node.tries() == []
