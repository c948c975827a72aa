"""Files of a bundle in a person's folder: whole or not at all, never outside it, never over something else."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pytest
from blake3 import blake3

from events.objects.manifest import BundleFile
from events.objects.unpacking import InTheWay, is_there, write_file


def file(path: str, content: bytes = b"new", *, executable: bool = False) -> BundleFile:
    return BundleFile(path=path, digest=blake3(content).hexdigest(), size=len(content), executable=executable)


def fetched(content: bytes = b"new") -> Callable[[Callable[[], BinaryIO]], None]:
    def fetch(opened: Callable[[], BinaryIO]) -> None:
        for part in (content[:1], content):  # a first try that is cut
            with opened() as writer:
                writer.write(part)

    return fetch


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_file_is_written_with_its_folders_and_its_mode(tmp_path: Path) -> None:
    write_file(tmp_path, file("results/deep/run.sh", executable=True), fetched())
    write_file(tmp_path, file("a"), fetched())
    assert contents(tmp_path) == {"results/deep/run.sh": b"new", "a": b"new"}
    assert os.access(tmp_path / "results/deep/run.sh", os.X_OK)
    assert not os.access(tmp_path / "a", os.X_OK)


def test_what_is_there_is_known_by_its_content(tmp_path: Path) -> None:
    assert not is_there(tmp_path, file("a/b"))
    write_file(tmp_path, file("a/b"), fetched())
    assert is_there(tmp_path, file("a/b"))
    for other in (b"old", b"longer"):
        (tmp_path / "a/b").write_bytes(other)
        with pytest.raises(InTheWay, match="'a/b' is there with other content"):
            is_there(tmp_path, file("a/b"))


@pytest.mark.parametrize("content", [b"old", b"new"])
def test_something_else_is_replaced_only_by_force(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(InTheWay, match="'a' is there"):
        write_file(tmp_path, file("a"), fetched())
    assert contents(tmp_path) == {"a": content}
    write_file(tmp_path, file("a"), fetched(), force=True)
    assert contents(tmp_path) == {"a": b"new"}


@pytest.mark.parametrize("force", [False, True])
def test_nothing_is_written_through_a_link(tmp_path: Path, force: bool) -> None:
    folder, outside = tmp_path / "into", tmp_path / "outside"
    folder.mkdir()
    outside.mkdir()
    (folder / "linked").symlink_to(outside)
    with pytest.raises(InTheWay, match="'linked/a' leads through a link or a file"):
        write_file(folder, file("linked/a"), fetched(), force=force)
    with pytest.raises(InTheWay, match="leads through a link"):
        is_there(folder, file("linked/a"))
    (folder / "a").symlink_to(outside / "a")
    if force:
        write_file(folder, file("a"), fetched(), force=True)  # the link itself is replaced
        assert not (folder / "a").is_symlink()
    else:
        with pytest.raises(InTheWay):
            write_file(folder, file("a"), fetched())
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("force", [False, True])
def test_a_folder_in_a_files_place_and_a_file_in_a_folders_stay(tmp_path: Path, force: bool) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").write_bytes(b"b")
    for path in ("a", "b/c"):
        with pytest.raises(InTheWay):
            write_file(tmp_path, file(path), fetched(), force=force)
        with pytest.raises(InTheWay):
            is_there(tmp_path, file(path))
    assert contents(tmp_path) == {"b": b"b"}


def test_nothing_is_left_of_a_file_that_did_not_come(tmp_path: Path) -> None:
    def cut(opened: Callable[[], BinaryIO]) -> None:
        with opened() as writer:
            writer.write(b"ne")
        raise ConnectionError("cut")

    with pytest.raises(ConnectionError):
        write_file(tmp_path, file("a"), cut)
    assert contents(tmp_path) == {}


def test_a_long_look_at_what_is_there_can_be_stopped(tmp_path: Path) -> None:
    write_file(tmp_path, file("a"), fetched())

    def stop() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        is_there(tmp_path, file("a"), stop)


def test_what_keeps_a_file_from_its_place_is_told_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(InTheWay, match="can't be looked at: File name too long"):
        is_there(tmp_path, BundleFile.model_construct(path="n" * 300, digest="", size=0, executable=False))

    def meanwhile(opened: Callable[[], BinaryIO]) -> None:
        fetched()(opened)
        (tmp_path / "a").write_bytes(b"of another program")

    with pytest.raises(InTheWay, match="'a' is there by now"):
        write_file(tmp_path, file("a"), meanwhile)
    assert contents(tmp_path) == {"a": b"of another program"}
