"""What a task may plant in its folders: links, pipes, second names of files elsewhere. Nothing outside is read or
written through them, and nobody waits for them.

A victim lies outside: everything that is planted points to it, and it must not change.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from events.language.jobs import ExitReason
from events.process import notes
from services.resources.agent import warden
from services.resources.agent.attempts import Stop
from services.resources.agent.output import _read_file, _read_note, _size, _write_note
from services.resources.agent.store import Store
from tests.unit.agent.wards import Wards, running, until, wards

KEPT = '{"grace": 0, "reason": "stopped", "message": "the victim"}'


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A folder with files of the names that are written."""
    folder = tmp_path / "victim"
    folder.mkdir()
    for name in ("exit.json", "exit.json.new", "stop.json", "stdout", "cut.json.new", "shipped", "secrets"):
        (folder / name).write_text(KEPT)
    return folder


def unharmed(victim: Path) -> bool:
    return {path.read_text() for path in victim.iterdir()} == {KEPT} and len(list(victim.iterdir())) == 7


PLANTED: dict[str, Callable[[Path, Path], None]] = {
    "a link": lambda place, target: place.symlink_to(target),
    "a second name": lambda place, target: place.hardlink_to(target),
    "a pipe": lambda place, _: os.mkfifo(place),
    "a link to a pipe": lambda place, _: (os.mkfifo(f"{place}.pipe"), place.symlink_to(f"{place}.pipe"))[1],
    "a dead link": lambda place, target: place.symlink_to(target.parent / "new"),
}


@pytest.mark.parametrize("plant", PLANTED.values(), ids=PLANTED)
def test_a_note_is_read_and_written_in_its_own_place(tmp_path: Path, victim: Path, plant: Callable[..., None]) -> None:
    folder = tmp_path / "tasks" / "a"
    folder.mkdir(parents=True)
    plant(folder / "exit.json", victim / "exit.json")
    plant(folder / "stop.json.new", victim / "exit.json.new")
    plant(folder / "shipped", victim / "shipped")
    with pytest.raises(OSError):
        notes.read(str(folder / "exit.json"))
    notes.write(str(folder / "exit.json"), b"mine")
    notes.write(str(folder / "stop.json"), b"mine")
    assert notes.read(str(folder / "exit.json")) == notes.read(str(folder / "stop.json")) == b"mine"
    assert (folder / "stop.json").stat().st_mode & 0o777 == 0o600
    control = notes.Folder(str(folder))
    assert (_size(control, "shipped"), _read_note(control)) in (((0, [0, 0])), (len(KEPT), [0, 0]))
    assert _read_file(control, "shipped", 0, 10) == b""
    _write_note(control, [1, 2])
    assert unharmed(victim)


def test_no_link_in_the_middle_of_a_path_is_followed(tmp_path: Path, victim: Path) -> None:
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "a").symlink_to(victim)
    (tmp_path / "elsewhere").symlink_to(tmp_path)
    for folder in (tmp_path / "tasks" / "a", tmp_path / "elsewhere" / "victim"):
        with pytest.raises(OSError):
            notes.read(str(folder / "exit.json"))
        with pytest.raises(OSError):
            notes.write(str(folder / "exit.json"), b"mine")
        control = notes.Folder(str(folder))
        control.open()
        assert (_size(control, "stdout"), _read_file(control, "stdout", 0, 10)) == (0, b"")
        _write_note(control, [1, 2])
    assert unharmed(victim)


def test_an_agent_knows_its_own_files_from_what_a_task_put_there(tmp_path: Path, victim: Path) -> None:
    store = Store(tmp_path / "agent")
    store.open()
    (store.tasks / "a").symlink_to(victim)
    (store.scratch / "a" / "secrets").mkdir(parents=True)
    assert store.has("a")
    assert store.find("a") is None
    assert store.exit_of("a") is None
    with pytest.raises(OSError):
        store.ask_to_stop("a", Stop(ExitReason.STOPPED, 0))
    os.mkfifo(store.folder / "position.json")
    assert store.load_position("log") is None
    (store.folder / "position.json.new").symlink_to(victim / "exit.json")
    (store.folder / "membership.json.new").symlink_to(victim / "exit.json")
    store.save_membership({})
    store.retire("a", keep=True)
    store.tidy()
    assert not (store.scratch / "a").exists()
    assert unharmed(victim)
    store.close()


@pytest.fixture
async def ward(tmp_path: Path, program: Path | None) -> AsyncIterator[Wards]:
    async with wards(tmp_path, program, 0o027) as made:
        yield made


async def test_a_warden_does_not_follow_a_folder_that_is_a_link_now(ward: Wards, victim: Path) -> None:
    control, own = ward.tasks / "a", ward.scratch / "a"
    script = f"rm -rf {control} {own}; ln -s {victim} {control}; ln -s {victim} {own}; echo out; exit 3"
    answer = await ward.start("a", "sh", "-c", script, secrets={"key": "value"})
    await until(lambda: not running(answer.warden), "its warden lives")
    assert unharmed(victim)


@pytest.mark.parametrize(
    "plant", ["ln -sf {0} {1}", "ln -f {0} {1}", "rm -f {1}; mkfifo {1}"], ids=["link", "second name", "pipe"]
)
async def test_a_warden_does_not_follow_a_file(ward: Wards, victim: Path, plant: str) -> None:
    control = ward.tasks / "a"
    plants = [
        plant.format(victim / name, control / name) for name in ("exit.json.new", "cut.json.new", "stdout", "stop.json")
    ]
    script = "; ".join([*plants, "echo out", "kill -TERM $PPID", "sleep 0.2", "exit 3"])
    await ward.start("a", "sh", "-c", script, output_bytes=1)
    exit = await ward.exit("a")
    assert exit.reason is ExitReason.STOPPED, "a wish that can't be read is one"
    assert json.loads(ward.file("a", "cut.json"))["stdout"] == 4
    assert unharmed(victim)


async def test_a_task_has_its_user_s_umask_and_the_rest_is_private(ward: Wards) -> None:
    await ward.start("a", "sh", "-c", "umask; touch file; mkdir folder", secrets={"key": "value"})
    await ward.exit("a")
    assert ward.file("a", "stdout") == "0027\n"
    work = ward.scratch / "a" / "work"
    assert [(work / name).stat().st_mode & 0o777 for name in ("file", "folder")] == [0o640, 0o750]
    assert {path.stat().st_mode & 0o077 for path in (work, ward.tasks / "a", *(ward.tasks / "a").iterdir())} == {0}


def test_a_note_is_whole_or_not_there(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    path = str(tmp_path / "a" / "note")
    warden.write_json(path, {"long": "x" * 1000})
    warden.write_json(path, {"short": 1})
    assert json.loads(notes.read(path)) == {"short": 1}
    assert [file.name for file in (tmp_path / "a").iterdir()] == ["note"]
