"""What of a task's folder is kept: what patterns name, and nothing that a task puts there to harm."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from blake3 import blake3

from events.language.file_paths import MAX_DEPTH
from events.objects.collecting import TOLD, Collected, _First, collect


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "work"
    (made / "results/deep").mkdir(parents=True)
    (made / "results/a.txt").write_text("a")
    (made / "results/deep/b.sh").write_text("bb")
    (made / "results/deep/b.sh").chmod(0o755)
    (made / "other.txt").write_text("other")
    return made


def paths(collected: Collected) -> list[str]:
    return [file.path for file in collected.manifest.files]


def test_files_that_a_pattern_fits_are_kept_with_their_modes_and_digests(folder: Path) -> None:
    collected = collect(folder, ["results/**"])
    files = collected.manifest.files
    assert [(file.path, file.size, file.executable) for file in files] == [
        ("results/a.txt", 1, False),
        ("results/deep/b.sh", 2, True),
    ]
    assert files[0].digest == blake3(b"a").hexdigest()
    with collected.open(files[1].digest) as file:
        assert file.read() == b"bb"
    assert collected.left_out.count == 0


def test_nothing_that_fits_is_an_empty_manifest(folder: Path) -> None:
    assert paths(collect(folder, ["nothing/**"])) == []


def test_a_link_to_a_kept_file_is_kept_as_that_file_and_no_other_link_is(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("of another")
    (folder / "results/latest").symlink_to("deep/b.sh")
    (folder / "results/out").symlink_to(tmp_path / "secret")
    (folder / "results/up").symlink_to("../other.txt")
    (folder / "results/all").symlink_to(tmp_path)
    (folder / "results/loop").symlink_to("loop")
    collected = collect(folder, ["results/**"])
    assert paths(collected) == ["results/a.txt", "results/deep/b.sh", "results/latest"]
    assert collected.left_out.count == 4
    assert "'results/all': a link that leads to no file that is kept" in collected.left_out.reasons


def test_a_folder_that_is_a_link_is_not_entered(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/secret").write_text("of another")
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    assert paths(collect(folder, ["linked/**", "linked/secret"])) == []


def test_what_is_no_file_is_left_out_with_the_reason(folder: Path) -> None:
    os.mkfifo(folder / "results/pipe")
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(os.path.relpath(folder / "results/socket"))
    os.close(os.open(os.fsencode(folder) + b"/results/\xff", os.O_CREAT))
    collected = collect(folder, ["results/**"])
    assert paths(collected) == ["results/a.txt", "results/deep/b.sh"]
    reasons = sorted(collected.left_out.reasons)
    assert len(reasons) == collected.left_out.count == 3
    assert "no UTF-8" in reasons[0]
    assert reasons[1:] == [f"'results/{name}': neither a file nor a folder" for name in ("pipe", "socket")]


def test_what_lies_too_deep_is_left_out(folder: Path) -> None:
    deep = os.open(folder / "results", os.O_RDONLY)
    for number in range(MAX_DEPTH * 3):
        os.mkdir("d", dir_fd=deep)
        inner = os.open("d", os.O_RDONLY, dir_fd=deep)
        os.close(os.open(f"f{number}", os.O_CREAT, dir_fd=inner))
        os.close(deep)
        deep = inner
    os.close(deep)
    collected = collect(folder, ["results/d/**"])
    assert len(collected.manifest.files) == MAX_DEPTH - 1
    assert collected.left_out.count == 1
    assert f"more than {MAX_DEPTH} folders deep" in collected.left_out.reasons[0]


def test_keys_and_histories_are_never_kept(folder: Path, tmp_path: Path) -> None:
    for name in (".forgelog", ".git", "results/.git", "agent"):
        (folder / name).mkdir()
        (folder / name / "key").write_text("a key")
    assert "agent/key" in paths(collect(folder, ["**"]))
    (tmp_path / "agent").symlink_to(folder / "agent")
    found = collect(folder, ["**", ".forgelog/key"], excluded=[tmp_path / "agent", tmp_path / "not-there"])
    assert paths(found) == ["other.txt", "results/a.txt", "results/deep/b.sh"]


def test_what_is_too_much_is_left_out_and_counted(folder: Path) -> None:
    for number in range(10):
        (folder / f"results/n{number}").write_text("n" * 10)
    few = collect(folder, ["results/**"], most_files=3)
    assert (paths(few), few.left_out.count) == (["results/a.txt", "results/deep/b.sh", "results/n0"], 9)
    assert few.left_out.reasons[0] == "'results/n1': at most 3 files of a task are kept"
    small = collect(folder, ["results/**"], most_bytes=25)
    assert (len(paths(small)), small.left_out.count) == (4, 8)
    assert "at most 25 bytes of a task's files are kept" in small.left_out.reasons[0]
    assert len(paths(collect(folder, ["results/**"], most_manifest=400))) == 2


def test_a_file_that_is_mostly_hole_is_left_out_unread(folder: Path) -> None:
    with (folder / "results/huge").open("wb") as file:
        file.truncate(1 << 40)
    collected = collect(folder, ["results/**"])
    assert paths(collected) == ["results/a.txt", "results/deep/b.sh"]
    assert collected.left_out.reasons == ["'results/huge': at most 32 GiB of a task's files are kept"]


def test_of_a_file_that_grows_is_kept_what_was_there_when_it_was_opened(folder: Path) -> None:
    (folder / "results/a.txt").write_bytes(bytes(3 << 20))

    def grow() -> None:
        with (folder / "results/a.txt").open("ab") as file:
            file.write(b"more")

    collected = collect(folder, ["results/a.txt"], stop=grow)
    (file,) = collected.manifest.files
    assert 3 << 20 < file.size < (folder / "results/a.txt").stat().st_size
    content = (folder / "results/a.txt").read_bytes()[: file.size]
    assert (file.digest, collected.left_out.count) == (blake3(content).hexdigest(), 0)


def test_files_that_changed_are_left_out_also_under_other_names(folder: Path) -> None:
    (folder / "results/same").write_text("a")
    collected = collect(folder, ["results/**"])
    collected.leave_out({blake3(b"a").hexdigest(): "it changed while it was sent"})
    assert paths(collected) == ["results/deep/b.sh"]
    assert collected.left_out.reasons == [
        f"'results/{name}': it changed while it was sent" for name in ("a.txt", "same")
    ]


def test_no_more_paths_are_remembered_than_can_be_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(100):
        (folder / f"results/n{number:02}").touch()
        (folder / f"results/link{number:02}").symlink_to("n00")
    most = 0
    add = _First.add

    def counted(self: _First, path: str) -> None:
        nonlocal most
        add(self, path)
        most = max(most, len(self.sorted()))

    monkeypatch.setattr(_First, "add", counted)
    few = collect(folder, ["results/**"], most_files=3)
    assert (paths(few), few.left_out.count) == (["results/a.txt", "results/deep/b.sh", "results/n00"], 199)
    assert most < 2 * (3 + TOLD)


def test_a_name_that_begins_with_two_dots_is_one_like_others(folder: Path) -> None:
    (folder / "..data").write_text("mounted")
    (folder / "data").symlink_to("..data")
    assert paths(collect(folder, ["*data"])) == ["..data", "data"]


def test_a_link_in_the_place_of_the_folder_is_not_followed(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "planted").symlink_to(folder)
    with pytest.raises(OSError, match="Not a directory"):
        collect(tmp_path / "planted", ["**"])


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        collect(tmp_path / "gone", ["**"])
