"""Folders that tasks leave are removed with any content; what can't be removed is reported, and the rest is removed."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from services.resources.agent.removing import empty, move, remove

NOBODY = 65534
FOREIGN = "foreign"
"""Name of a folder that belongs to somebody else."""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    made = tmp_path / "left"
    made.mkdir()
    yield made
    subprocess.run(["rm", "-rf", str(made)], check=False)


def dig(folder: Path, depth: int) -> None:
    """A folder in a folder, so many times."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(depth):
        os.mkdir("folder", dir_fd=fd)
        below = os.open("folder", os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)


def as_nobody(folder: Path, act: Callable[[str], object]) -> str:
    """What `act` says of the folder as a plain user who owns it: root may do what no plain user may."""
    if os.geteuid() != 0:
        return repr(act(str(folder)))
    os.chmod(folder.parent, 0o777)
    for path in (folder, *folder.rglob("*")):
        if path.name != FOREIGN:
            os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
    told, tell = os.pipe()
    if os.fork() == 0:
        try:
            os.chdir(folder.parent)  # a plain user does not get through the folders above it
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            said = repr(act(folder.name))
        except BaseException as error:  # noqa: BLE001 - nothing of the fork may run on into the tests
            said = repr(error)
        os.write(tell, said.encode())
        os._exit(0)
    os.close(tell)
    with open(told) as answer:
        said = answer.read()
    os.wait()
    return said


def test_a_tree_deeper_than_paths_and_stacks_goes(folder: Path) -> None:
    dig(folder, 1100)
    assert remove(folder) == []
    assert not folder.exists()


def test_a_wide_tree_goes(folder: Path) -> None:
    for number in range(50):
        (folder / f"a{number}" / "b").mkdir(parents=True)
        (folder / f"a{number}" / "b" / "file").touch()
    assert remove(folder) == []
    assert not folder.exists()


def test_links_are_removed_and_not_followed(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "file").touch()
    (folder / "to-folder").symlink_to(other)
    (folder / "below").mkdir()
    (folder / "below" / "to-file").symlink_to(other / "file")
    assert remove(folder) == []
    assert (other / "file").exists()
    link = tmp_path / "link"
    link.symlink_to(other)
    assert remove(link) == []
    assert not link.is_symlink()
    assert (other / "file").exists()


def test_names_of_any_bytes_go(folder: Path) -> None:
    for name in (b"\xff\xfe", b"a\nb", b"-rf", b"\x01"):
        os.mkdir(os.path.join(os.fsencode(folder), name))
    assert remove(folder) == []


def test_special_files_go(folder: Path) -> None:
    os.mkfifo(folder / "fifo")
    (folder / "file").touch(mode=0o000)
    assert remove(folder) == []


def test_what_is_gone_already_is_no_error(tmp_path: Path) -> None:
    assert remove(tmp_path / "nothing") == []


@pytest.mark.parametrize("mode", [0o000, 0o100, 0o200, 0o400, 0o500])
def test_permissions_are_mended(folder: Path, mode: int) -> None:
    inner = folder / "a" / "b"
    inner.mkdir(parents=True)
    (inner / "file").touch()

    def act(top: str) -> object:
        for name in ("a/b", "a", "."):
            os.chmod(f"{top}/{name}", mode)
        return remove(top)

    assert as_nobody(folder, act) == "[]"
    assert not folder.exists()


def test_an_unwritable_folder_can_be_moved(folder: Path) -> None:
    (folder / "a").mkdir()
    (folder / "b").mkdir()

    def act(top: str) -> object:
        os.chmod(f"{top}/a", 0)
        move(f"{top}/a", f"{top}/b/a")
        return os.listdir(f"{top}/b")

    assert as_nobody(folder, act) == "['a']"


def test_what_can_t_be_removed_is_told_and_the_rest_goes(folder: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("a folder of another user needs root")
    for name in ("a", FOREIGN, "z"):
        (folder / name).mkdir(mode=0o700)
        (folder / name / "file").touch()
    said = as_nobody(folder, remove)
    assert said == "['left/foreign: Operation not permitted']"
    assert [path.name for path in folder.iterdir()] == [FOREIGN]
    assert remove(folder) == []


def test_a_folder_can_be_moved(folder: Path, tmp_path: Path) -> None:
    move(folder, tmp_path / "target")
    assert (tmp_path / "target").is_dir()


def test_what_is_in_a_folder_goes_and_the_folder_stays(folder: Path) -> None:
    (folder / "a" / "b" / "c").mkdir(parents=True)
    (folder / "a" / "b" / "file").touch()
    (folder / "file").touch()
    (folder / "spared").mkdir()
    (folder / "spared" / "file").touch()
    dig(folder / "a", 40)
    assert empty(folder, {"spared"}) == {}
    assert [path.name for path in folder.iterdir()] == ["spared"]
    assert (folder / "spared" / "file").exists()


def test_what_stays_in_a_folder_is_told_by_its_name_and_the_rest_goes(folder: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("a folder of another user needs root")
    for name in ("a", FOREIGN, "z"):
        (folder / name / "b").mkdir(mode=0o700, parents=True)
        (folder / name / "b" / "file").touch()
    os.chmod(folder / FOREIGN, 0o700)
    said = as_nobody(folder, empty)
    assert said == "{'foreign': 'left/foreign: Operation not permitted'}"
    assert [path.name for path in folder.iterdir()] == [FOREIGN]


def test_what_stays_is_told_with_the_entry_that_it_was_found_in(folder: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("a folder of another user needs root")
    (folder / "a" / "b" / FOREIGN).mkdir(parents=True)
    (folder / "a" / "b" / FOREIGN / "file").touch()
    os.chmod(folder / "a" / "b" / FOREIGN, 0o700)
    said = as_nobody(folder, lambda top: list(empty(top).values()))
    assert said == "['left/a/…/b: Operation not permitted']"


def test_only_a_folder_can_be_emptied(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    for name in ("link", "nothing"):
        with pytest.raises(OSError):
            empty(tmp_path / name)
