"""Given a repository, its commit and all that was changed are captured, secrets and what is too large left out, and
nothing in it is changed."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from blake3 import blake3

from events.language.experiments.capture import CapturedCode
from events.language.objects import ObjectRef
from forgelog.capture import repository as captured_repository
from forgelog.capture.repository import NoCode, captured
from tests.unit.capture.repositories import git, repository


class Looked:
    """What was captured of a folder."""

    def __init__(self, folder: Path) -> None:
        self.objects: dict[str, bytes] = {}
        left: list = []
        self.code: CapturedCode = captured(folder, self._keep, left)
        self.left = {each.what: each.why for each in left}

    def _keep(self, data: bytes) -> ObjectRef:
        digest = blake3(data).hexdigest()
        self.objects[digest] = data
        return ObjectRef(digest=digest, size=len(data))

    @property
    def patch(self) -> bytes:
        return b"" if self.code.changes is None else self.objects[self.code.changes.digest]


def applied(looked: Looked, source: Path, folder: Path) -> Path:
    """A new work tree of the commit, with the patch."""
    git(source, "worktree", "add", "--quiet", "--detach", str(folder), looked.code.commit)
    subprocess.run(["git", "-C", str(folder), "apply", "--whitespace=nowarn"], input=looked.patch, check=True)
    return folder


def test_a_clean_repository_is_its_commit(tmp_path: Path) -> None:
    folder = repository(tmp_path / "digits", train__py="print(1)\n")
    looked = Looked(folder)
    assert (looked.code.commit, looked.code.branch) == (git(folder, "rev-parse", "HEAD"), "main")
    assert (looked.code.folder, looked.code.changes, looked.left) == (str(folder), None, {})


def test_all_that_was_changed_is_restored_by_the_patch(tmp_path: Path) -> None:
    folder = repository(tmp_path / "digits", train__py="a\nb\n", old__py="old\n", staged__py="1\n", gone__py="gone\n")
    (folder / "train.py").write_text("a\nc\n")
    (folder / "staged.py").write_text("2\n")
    git(folder, "add", "staged.py")
    (folder / "old.py").unlink()
    git(folder, "rm", "--quiet", "gone.py")
    (folder / "new folder").mkdir()
    (folder / "new folder" / "ün.py").write_text("new\n")
    (folder / "weights.bin").write_bytes(bytes(range(256)) * 40)
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o755)
    (folder / "link").symlink_to("train.py")
    looked = Looked(folder)
    assert looked.code.changed_files == 8
    copy = applied(looked, folder, tmp_path / "copy")
    assert (copy / "train.py").read_text() == "a\nc\n"
    assert (copy / "staged.py").read_text() == "2\n"
    assert not (copy / "old.py").exists()
    assert not (copy / "gone.py").exists()
    assert (copy / "new folder" / "ün.py").read_text() == "new\n"
    assert (copy / "weights.bin").read_bytes() == bytes(range(256)) * 40
    assert os.access(copy / "run.sh", os.X_OK)
    assert (copy / "link").readlink() == Path("train.py")


def test_a_folder_that_became_a_file_is_restored(tmp_path: Path) -> None:
    folder = repository(tmp_path / "digits")
    (folder / "data").mkdir()
    (folder / "data" / "one").write_text("1")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message=second")
    (folder / "data" / "one").unlink()
    (folder / "data").rmdir()
    (folder / "data").write_text("now a file")
    copy = applied(Looked(folder), folder, tmp_path / "copy")
    assert (copy / "data").read_text() == "now a file"


def test_nothing_in_the_repository_changes(tmp_path: Path) -> None:
    folder = repository(tmp_path / "digits", train__py="1\n")
    (folder / "train.py").write_text("2\n")
    (folder / "new.py").write_text("3\n")

    def content() -> dict[str, bytes]:
        return {str(each): each.read_bytes() for each in folder.rglob("*") if each.is_file()}

    before = content()
    assert Looked(folder).code.changed_files == 2
    assert content() == before


def test_what_git_ignores_and_what_may_be_secret_stays_out(tmp_path: Path) -> None:
    folder = repository(tmp_path / "digits", __gitignore="*.log\n", __env="OLD=1\n")
    (folder / "train.log").write_text("ignored")
    (folder / ".env").write_text("KEY=of-mine\n")
    (folder / "id_ed25519").write_text("private")
    (folder / "notes.txt").write_text("-----BEGIN RSA PRIVATE KEY-----\nabc\n")
    (folder / "settings.py").write_text("TOKEN = 'ghp_" + "a" * 36 + "'\n")
    (folder / ".env.example").write_text("KEY=\n")
    looked = Looked(folder)
    assert looked.code.changed_files == 1
    assert b"b/.env.example" in looked.patch
    assert b"of-mine" not in looked.patch
    assert looked.left == {
        ".env": "by its name it may have secrets",
        "id_ed25519": "by its name it may have secrets",
        "notes.txt": "it has a private key or an access token",
        "settings.py": "it has a private key or an access token",
    }


def test_a_huge_change_is_left_out_and_the_rest_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(captured_repository, "MAX_FILE_BYTES", 50_000)
    monkeypatch.setattr(captured_repository, "MAX_FILE_PATCH_BYTES", 10_000)
    monkeypatch.setattr(captured_repository, "MAX_PATCH_BYTES", 12_000)
    folder = repository(tmp_path / "digits", train__py="1\n")
    (folder / "train.py").write_text("2\n")
    (folder / "data.bin").write_bytes(os.urandom(60_000))
    (folder / "table.csv").write_text("1,2\n" * 5_000)
    (folder / "a.txt").write_text("a\n" * 2_000)
    (folder / "b.txt").write_text("b\n" * 2_100)
    looked = Looked(folder)
    assert looked.left == {
        "data.bin": "it has 60,000 bytes; at most 50,000 are compared",
        "table.csv": "its change has 25,194 bytes; at most 10,000 are captured",
        "b.txt": "all changes together have more than 12,000 bytes",
    }
    assert looked.code.changed_files == 2
    copy = applied(looked, folder, tmp_path / "copy")
    assert (copy / "train.py").read_text() == "2\n"
    assert (copy / "a.txt").read_text() == "a\n" * 2_000


def test_more_files_than_are_captured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(captured_repository, "MAX_FILES", 2)
    folder = repository(tmp_path / "digits")
    for number in range(3):
        (folder / f"{number}.txt").write_text("x")
    looked = Looked(folder)
    assert looked.code.changed_files == 2
    assert looked.left == {"": "3 files are changed, and 2 are captured; .gitignore what is no code"}


def test_a_detached_head_has_no_branch(tmp_path: Path) -> None:
    folder = repository(tmp_path / "digits", train__py="1\n")
    git(folder, "checkout", "--quiet", "--detach")
    assert (Looked(folder).code.branch, Looked(folder).code.commit) == ("", git(folder, "rev-parse", "HEAD"))


def test_a_repository_without_a_commit_is_all_changes(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch=main")
    (folder / "train.py").write_text("print(1)\n")
    looked = Looked(folder)
    assert (looked.code.commit, looked.code.changed_files) == ("", 1)
    restored = tmp_path / "restored"
    restored.mkdir()
    subprocess.run(["git", "-C", str(restored), "apply"], input=looked.patch, check=True)
    assert (restored / "train.py").read_text() == "print(1)\n"


def test_a_submodule_is_its_commit_and_its_own_changes_are_left_out(tmp_path: Path) -> None:
    inner = repository(tmp_path / "inner", lib__py="1\n")
    folder = repository(tmp_path / "outer", train__py="1\n")
    git(folder, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(inner), "vendor lib")
    git(folder, "commit", "--quiet", "--message=submodule")
    (folder / "vendor lib" / "lib.py").write_text("2\n")
    looked = Looked(folder)
    (submodule,) = looked.code.submodules
    assert (submodule.path, submodule.commit) == ("vendor lib", git(inner, "rev-parse", "HEAD"))
    assert looked.left == {"vendor lib": "the submodule has changes of its own; only its commit is captured"}
    assert looked.code.changes is None


def test_a_repository_inside_that_is_no_submodule_is_left_out(tmp_path: Path) -> None:
    folder = repository(tmp_path / "outer", train__py="1\n")
    repository(folder / "other", lib__py="1\n")
    assert Looked(folder).left == {"other/": "it is another repository"}


def test_a_merge_that_is_not_finished_is_what_the_files_have(tmp_path: Path) -> None:
    folder = repository(tmp_path / "digits", train__py="1\n")
    git(folder, "checkout", "--quiet", "-b", "theirs")
    (folder / "train.py").write_text("theirs\n")
    git(folder, "commit", "--quiet", "--all", "--message=theirs")
    git(folder, "checkout", "--quiet", "main")
    (folder / "train.py").write_text("ours\n")
    git(folder, "commit", "--quiet", "--all", "--message=ours")
    with pytest.raises(subprocess.CalledProcessError):
        git(folder, "merge", "theirs")
    copy = applied(Looked(folder), folder, tmp_path / "copy")
    assert (copy / "train.py").read_text() == (folder / "train.py").read_text()


def test_the_url_has_no_password(tmp_path: Path) -> None:
    folder = repository(tmp_path / "digits")
    git(folder, "remote", "add", "origin", "https://ada:hunter2@example.org/digits.git?private_token=abc")
    assert Looked(folder).code.repository == "https://example.org/digits.git"
    git(folder, "remote", "set-url", "origin", "git@example.org:ada/digits.git")
    assert Looked(folder).code.repository == "git@example.org:ada/digits.git"


def test_whether_a_remote_has_the_commit(tmp_path: Path) -> None:
    source = repository(tmp_path / "source", train__py="1\n")
    folder = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", str(source), str(folder))
    assert Looked(folder).code.published
    git(folder, "commit", "--quiet", "--allow-empty", "--message=mine")
    assert not Looked(folder).code.published


def test_the_environment_of_a_hook_leads_to_no_other_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = repository(tmp_path / "other", a__py="1\n")
    folder = repository(tmp_path / "digits", b__py="1\n")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    assert Looked(folder).code.folder == str(folder)


def test_the_users_way_of_showing_differences_does_not_matter(tmp_path: Path) -> None:
    folder = repository(tmp_path / "digits", train__py="a\n", words__txt="x\n")
    order = tmp_path / "order"
    order.write_text("words.txt\ntrain.py\n")
    for name, value in (
        ("diff.noprefix", "true"),
        ("diff.external", "false"),
        ("diff.orderFile", str(order)),
        ("color.ui", "always"),
        ("core.fsmonitor", "false-program"),
        ("diff.relative", "true"),
    ):
        git(folder, "config", name, value)
    (folder / "train.py").write_text("b\n")
    (folder / "words.txt").write_text("y\n")
    looked = Looked(folder)
    assert looked.patch.startswith(b"diff --git a/train.py b/train.py\n")
    copy = applied(looked, folder, tmp_path / "copy")
    assert (copy / "words.txt").read_text() == "y\n"


def test_no_repository(tmp_path: Path) -> None:
    with pytest.raises(NoCode, match=f"^{tmp_path} is in no git repository$"):
        Looked(tmp_path)


def test_a_bare_repository(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet", "--bare")
    with pytest.raises(NoCode, match=r"is in a bare git repository$"):
        Looked(tmp_path)


def test_a_repository_of_another_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = repository(tmp_path / "digits", train__py="1\n")
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")  # git's own, for tests as this one
    with pytest.raises(
        NoCode, match="belongs to another user, so git does not read it; `git config --global --add safe"
    ):
        Looked(folder)


def test_without_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = repository(tmp_path / "digits", train__py="1\n")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NoCode, match=r"^git is not installed$"):
        Looked(folder)


def test_git_that_takes_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = tmp_path / "git"
    slow.write_text("#!/bin/sh\nsleep 60\n")
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr("forgelog.capture.git.SECONDS", 0.05)
    with pytest.raises(NoCode, match=r"^git rev-parse took longer than 0.05 s$"):
        Looked(tmp_path)
