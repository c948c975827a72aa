"""Given what a task printed, when its attempt has ended, then its digests are those of all of it, or there are none."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from blake3 import blake3

from events.language.jobs import OutputDigests
from events.process.notes import Folder
from events.process.settings import Settings
from services.resources.agent import output
from services.resources.agent.attempts import Attempt, Task
from services.resources.agent.digests import StreamDigest
from services.resources.agent.output import Output


def of(data: bytes) -> str:
    return blake3(data).hexdigest() if data else ""


def test_a_piece_that_comes_again_or_in_part_counts_once() -> None:
    made = StreamDigest()
    for offset, piece in ((0, b"abc"), (0, b"abc"), (1, b"bcde"), (3, b"de"), (9, b"far"), (5, b"")):
        made.add(offset, piece)
    assert (made.size, made.hexdigest()) == (5, of(b"abcde"))
    assert StreamDigest().hexdigest() == ""


@pytest.fixture
def attempt() -> Attempt:
    return Attempt(Task("a1", "j1", 0, 1, "local/default", "boot", 1.0, 0))


async def ended(attempt: Attempt, folder: Path, *, limit: int = 1 << 20, before: bytes = b"") -> OutputDigests | None:
    """What is in its digests. `before`: what is shipped of stdout before it ends."""
    shipping = Output(Settings(output_bytes=limit), lambda _: Folder(str(folder)), lambda _: None)
    shipping.follow(attempt)
    if before:
        now = (folder / "stdout").read_bytes()
        (folder / "stdout").write_bytes(before)
        shipping._shipped_now(shipping._gather(1e12, 1 << 10))
        (folder / "stdout").write_bytes(now)
    done = asyncio.Event()
    shipping.finish(attempt)
    shipping.digest(attempt, lambda _: done.set())
    await done.wait()
    return attempt.output


async def test_all_of_both_streams(attempt: Attempt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "SLICE", 7)
    (tmp_path / "stdout").write_bytes(bytes(range(100)))
    (tmp_path / "stderr").write_bytes(b"warning")
    found = await ended(attempt, tmp_path, before=bytes(range(33)))
    assert found == OutputDigests(
        stdout_bytes=100, stdout_digest=of(bytes(range(100))), stderr_bytes=7, stderr_digest=of(b"warning")
    )
    assert attempt.resumed is False


async def test_an_agent_that_was_restarted_reads_it_from_the_beginning(attempt: Attempt, tmp_path: Path) -> None:
    (tmp_path / "stdout").write_bytes(b"before and after")
    (tmp_path / output.NOTED).write_bytes(b"7 0")
    attempt.resumed = True
    found = await ended(attempt, tmp_path)
    assert found == OutputDigests(stdout_bytes=16, stdout_digest=of(b"before and after"))


async def test_a_task_that_printed_nothing(attempt: Attempt, tmp_path: Path) -> None:
    assert await ended(attempt, tmp_path) == OutputDigests()


async def test_more_than_is_kept_has_none(attempt: Attempt, tmp_path: Path) -> None:
    (tmp_path / "stdout").write_bytes(bytes(1 << 16))
    (tmp_path / "stderr").write_bytes(b"x")
    assert await ended(attempt, tmp_path, limit=1 << 16) is None


async def test_what_its_warden_cut_has_none(attempt: Attempt, tmp_path: Path) -> None:
    (tmp_path / "stdout").write_bytes(b"some")
    (tmp_path / "cut.json").write_bytes(b'{"stdout": 7, "stderr": 0}')
    assert await ended(attempt, tmp_path) is None


async def test_a_stream_that_became_shorter_has_none(attempt: Attempt, tmp_path: Path) -> None:
    (tmp_path / "stdout").write_bytes(b"short")
    assert await ended(attempt, tmp_path, before=b"it was longer") is None


async def test_one_of_which_nothing_is_followed_has_none(attempt: Attempt, tmp_path: Path) -> None:
    shipping = Output(Settings(), lambda _: Folder(str(tmp_path)), lambda _: None)
    heard: list[Attempt] = []
    shipping.digest(attempt, heard.append)
    assert (heard, attempt.output) == ([attempt], None)
