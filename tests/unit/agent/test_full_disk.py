"""How a task ended is known though the disk with its notes is full by then: its start takes the room for that note."""

from __future__ import annotations

import errno
import json
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from events.language.jobs import ExitReason
from events.process import notes
from services.resources.agent.attempts import MESSAGE
from services.resources.agent.store import Store
from services.resources.agent.warden import EXIT
from tests.small_disk import small_disk
from tests.unit.agent.wards import Wards, running, until, wards

UNTIL_TOLD = "while [ ! -e '{0}' ]; do sleep 0.02; done"
SIZE = 128 << 10


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system of the test's own."""
    with small_disk(tmp_path / "disk", SIZE) as folder:
        yield folder


@pytest.fixture
async def ward(disk: Path, program: Path | None) -> AsyncIterator[Wards]:
    async with wards(disk, program) as made:
        try:
            yield made
        finally:
            (disk / "ballast").unlink(missing_ok=True)  # a warden that waits goes on


def fill(disk: Path, leave: int = 0) -> Path:
    """Take what is left of a disk, but so many pages. The file that takes it."""
    ballast = disk / "ballast"
    tries = iter(range(100))
    with ballast.open("wb", buffering=0) as file:
        while (left := os.statvfs(disk).f_bavail - leave) > 0:
            try:
                os.posix_fallocate(file.fileno(), file.seek(0, os.SEEK_END), left * os.statvfs(disk).f_frsize)
            except OSError as error:
                if error.errno != errno.ENOSPC or next(tries, None) is None:  # a warden took some of it meanwhile
                    raise
    return ballast


async def test_how_a_task_ended_is_noted_on_a_full_disk(ward: Wards, disk: Path, tmp_path: Path) -> None:
    answer = await ward.start("a", "sh", "-c", f"{UNTIL_TOLD.format(tmp_path / 'go')}; exit 3")
    await until((ward.tasks / "a" / "started.json").exists, "its start is not noted")
    fill(disk)
    (tmp_path / "go").touch()
    assert (await ward.exit("a")).exit_code == 3
    await until(lambda: not running(answer.warden), "its warden waits for the disk")
    assert {path.name for path in (ward.tasks / "a").iterdir()} == {"task.json", "started.json", "exit.json"}


async def test_how_a_task_ended_is_known_while_its_output_waits_for_the_disk(
    ward: Wards, disk: Path, tmp_path: Path
) -> None:
    """The warden is killed while it waits: what the task printed last is lost, how it ended is not."""
    script = f"echo begun; {UNTIL_TOLD.format(tmp_path / 'go')}; head -c 50000 /dev/zero; exit 3"
    answer = await ward.start("a", "sh", "-c", script)
    await ward.printed("a", "begun")
    fill(disk)
    (tmp_path / "go").touch()
    store = Store(disk)
    exit = await until(lambda: store.exit_of("a", unpublished=True), "its end is not noted")
    assert (exit.reason, exit.exit_code) == (ExitReason.EXITED, 3)
    assert running(answer.warden)
    assert store.exit_of("a") is None, "its output is not whole"
    os.kill(answer.warden, signal.SIGKILL)
    await until(lambda: not running(answer.warden), "its warden lives")
    assert store.exit_of("a", unpublished=True) == exit


async def test_output_that_waited_for_the_disk_is_whole_at_the_end(ward: Wards, disk: Path, tmp_path: Path) -> None:
    script = f"echo begun; {UNTIL_TOLD.format(tmp_path / 'go')}; head -c 50000 /dev/zero; exit 3"
    await ward.start("a", "sh", "-c", script)
    await ward.printed("a", "begun")
    ballast = fill(disk)
    (tmp_path / "go").touch()
    store = Store(disk)
    await until(lambda: store.exit_of("a", unpublished=True), "its end is not noted")
    ballast.unlink()
    assert (await ward.exit("a")).exit_code == 3
    assert len(ward.file("a", "stdout")) == len("begun\n") + 50000


@pytest.mark.parametrize("pages", range(4))
async def test_a_task_without_room_for_its_notes_is_refused_or_its_end_is_noted(
    ward: Wards, disk: Path, pages: int
) -> None:
    fill(disk, leave=pages)
    answer = await ward.start("a", "sh", "-c", "exit 3")
    if answer.error:
        assert answer.error.endswith("can't be made: No space left on device")
        assert answer.pid == 0
    else:
        assert (await ward.exit("a")).exit_code == 3


async def test_why_a_task_can_t_be_started_is_noted_as_far_as_there_is_room(ward: Wards) -> None:
    """The message quotes the task's PATH, which may be long."""
    await ward.start("a", "no-such-command", env={"PATH": '/ü"\\\u20ac' * 20_000})
    exit = await ward.exit("a")
    assert exit.reason is ExitReason.SPAWN_FAILED
    assert exit.message.startswith("'no-such-command' is not found; PATH on this node is '/ü")
    assert len((ward.tasks / "a" / "exit.json").read_bytes()) <= 4096
    assert len(exit.message) > 400


async def test_a_message_that_people_may_see_whole_is_noted_whole(ward: Wards) -> None:
    await ward.start("a", "sleep", "1000")
    message = "x" * MESSAGE
    request = {"reason": "stopped", "grace": 0, "message": message}
    (ward.tasks / "a" / "stop.json").write_text(json.dumps(request))
    os.kill(ward.started["a"].warden, signal.SIGTERM)
    assert (await ward.exit("a")).message == message


def test_a_note_is_written_into_the_room_that_was_taken_for_it(disk: Path) -> None:
    (disk / "a").mkdir()
    path = str(disk / "a" / EXIT)
    notes.take_room(path, 4096)
    fill(disk)
    notes.write(path, b"x" * 4096)
    assert notes.read(path) == b"x" * 4096
    with pytest.raises(OSError, match="No space left on device"):
        notes.write(path, b"y")
    assert notes.read(path) == b"x" * 4096


def test_room_that_can_t_be_had_is_not_taken(disk: Path) -> None:
    (disk / "a").mkdir()
    fill(disk)
    with pytest.raises(OSError) as raised:
        notes.take_room(str(disk / "a" / EXIT), 4096)
    assert raised.value.errno == errno.ENOSPC
    assert list((disk / "a").iterdir()) == []
