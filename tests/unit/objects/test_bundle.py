"""A folder as a bundle: what belongs to it and what is kept out, with any content of the folder."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from events.objects import bundle as module
from events.objects.bundle import NoBundle, find_files, make_bundle
from events.objects.manifest import parse_manifest


def plant(root: Path, *paths: str, content: str = "") -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(content or path)


def test_a_bundle_has_each_file_with_its_digest_and_whether_it_is_a_program(tmp_path: Path) -> None:
    plant(tmp_path, "train.py", "src/model.py", "src/deep/er/x", "run.sh", "copy.py", content="")
    (tmp_path / "run.sh").chmod(0o755)
    made = make_bundle(find_files(tmp_path))
    files = {file.path: file for file in made.manifest.files}
    assert set(files) == {"train.py", "src/model.py", "src/deep/er/x", "run.sh", "copy.py"}
    assert [path for path, file in files.items() if file.executable] == ["run.sh"]
    assert made.sources[files["src/model.py"].digest].read_text() == "src/model.py"
    assert parse_manifest(made.manifest.to_bytes()) == made.manifest


def test_equal_folders_are_one_bundle_and_a_changed_file_another(tmp_path: Path) -> None:
    for name in ("one", "two"):
        plant(tmp_path / name, "a", "b/c")
    one, two = (make_bundle(find_files(tmp_path / name)) for name in ("one", "two"))
    assert one.ref == two.ref
    (tmp_path / "two/a").write_text("changed")
    assert make_bundle(find_files(tmp_path / "two")).ref != one.ref


def test_keys_and_histories_are_never_part_of_it(tmp_path: Path) -> None:
    plant(tmp_path, "a", ".git/config", "sub/.git/config", ".forgelog/keys/owner.key", "data/keys/owner.key", ".env")
    plant(tmp_path, ".gitignore", content=".env\n!.git\n!.forgelog\n")
    found = find_files(tmp_path, excluded=[tmp_path / "data"])
    assert set(found.files) == {"a", ".gitignore"}


def test_the_folder_of_the_keys_is_no_bundle(tmp_path: Path) -> None:
    plant(tmp_path, "keys/owner.key", "agents/n0/code/a/train.py")
    excluded = [tmp_path, tmp_path / "keys"]
    for folder in excluded:
        with pytest.raises(NoBundle, match="never uploaded"):
            find_files(folder, excluded)
    assert set(find_files(tmp_path / "agents/n0/code/a", excluded).files) == {"train.py"}


def test_links_are_kept_as_the_file_of_the_bundle_that_they_lead_to(tmp_path: Path) -> None:
    root = tmp_path / "root"
    plant(root, "a", "d/b", ".env")
    plant(root, ".gitignore", content=".env\n")
    plant(tmp_path, "outside/secret")
    os.symlink("a", root / "good")
    os.symlink("../a", root / "d" / "up")
    os.symlink("good", root / "chain")
    os.symlink(root / "a", root / "absolute")
    bad = {
        "out": "../outside/secret",
        "etc": "/etc/passwd",
        "folder": "d",
        "outer": "../outside",
        "ignored": ".env",
        "broken": "nothing",
        "loop": "loop",
        "git": ".gitignore/../.env",
    }
    for name, target in bad.items():
        os.symlink(target, root / name)
    found = find_files(root)
    assert set(found.left_out) == set(bad)
    made = make_bundle(found)
    digests = {file.path: file.digest for file in made.manifest.files}
    assert set(digests) == {"a", "d/b", ".gitignore", "good", "d/up", "chain", "absolute"}
    assert len({digests[path] for path in ("a", "good", "d/up", "chain", "absolute")}) == 1


def test_pipes_and_sockets_are_left_out_and_nothing_waits_for_them(tmp_path: Path) -> None:
    plant(tmp_path, "a")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "d").mkdir()
    os.mkfifo(tmp_path / "d" / ".gitignore")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        found = find_files(tmp_path)
    assert set(found.files) == {"a"}
    assert set(found.left_out) == {"pipe", "socket", "d/.gitignore"}


def test_a_file_that_became_a_pipe_is_told(tmp_path: Path) -> None:
    plant(tmp_path, "a")
    found = find_files(tmp_path)
    (tmp_path / "a").unlink()
    os.mkfifo(tmp_path / "a")
    with pytest.raises(NoBundle, match="no plain file any more"):
        make_bundle(found)


def test_a_file_that_became_a_link_is_not_followed(tmp_path: Path) -> None:
    plant(tmp_path, "a")
    found = find_files(tmp_path)
    (tmp_path / "a").unlink()
    os.symlink("/etc/passwd", tmp_path / "a")
    with pytest.raises(OSError, match="symbolic links"):
        make_bundle(found)


def test_a_name_that_is_no_utf8_is_left_out(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"n\xffme")).write_text("x")
    found = find_files(tmp_path)
    assert found.files == {}
    assert "no UTF-8" in next(iter(found.left_out.values()))


def test_a_file_that_lies_too_deep_is_left_out_and_told(tmp_path: Path) -> None:
    plant(tmp_path, "d/" * 64 + "a", "e/" * 65 + "a")
    found = find_files(tmp_path)
    assert set(found.files) == {"d/" * 64 + "a"}
    assert "lies more than 64 folders deep" in found.left_out["e/" * 65 + "a"]


def test_an_empty_folder_is_a_bundle(tmp_path: Path) -> None:
    assert make_bundle(find_files(tmp_path)).manifest.files == ()


def test_too_many_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_FILES", 3)
    plant(tmp_path, "a", "b", "c")
    find_files(tmp_path)
    plant(tmp_path, "d")
    with pytest.raises(NoBundle, match="more than 3 files"):
        find_files(tmp_path)


def test_too_many_bytes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BUNDLE_BYTES", 3)
    plant(tmp_path, "a", "b", "c")
    find_files(tmp_path)
    plant(tmp_path, "d")
    with pytest.raises(NoBundle, match="keep out by"):
        find_files(tmp_path)


def test_a_manifest_that_no_node_would_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(tmp_path, "a")
    made = make_bundle(find_files(tmp_path))
    monkeypatch.setattr(module, "MAX_MANIFEST_BYTES", made.ref.size)
    assert make_bundle(find_files(tmp_path)) == made
    plant(tmp_path, "b")
    with pytest.raises(NoBundle, match="shorten names, or keep out by"):
        make_bundle(find_files(tmp_path))


def test_what_is_no_folder_is_refused(tmp_path: Path) -> None:
    plant(tmp_path, "a")
    for path in (tmp_path / "a", tmp_path / "nothing"):
        with pytest.raises(NoBundle, match="is no folder"):
            find_files(path)
