"""Given a commit and a patch, the files of then are in a new folder, and the repository is left as it is."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from events.language.experiments.capture import CapturedCode, CapturedProgram, RunCapture
from forgelog.errors import ForgelogError
from forgelog.reproduce import code, here, packages
from forgelog.reproduce.plan import Here
from tests.unit.capture.repositories import git, repository


def test_a_commit_that_no_branch_has_any_more(tmp_path: Path) -> None:
    folder = repository(tmp_path / "digits", train__py="1\n")
    commit = git(folder, "rev-parse", "HEAD")
    (folder / "train.py").write_text("2\n")
    git(folder, "commit", "--quiet", "--all", "--amend", "--message=other")
    assert code.restore(commit, str(folder), b"", tmp_path / "new") == []
    assert (tmp_path / "new" / "train.py").read_text() == "1\n"
    assert git(folder, "worktree", "list").count("\n") == 0


def test_a_patch_on_a_commit_and_one_on_nothing(tmp_path: Path) -> None:
    folder = repository(tmp_path / "digits", train__py="1\n")
    (folder / "train.py").write_text("2\n")
    patch = git(folder, "diff").encode() + b"\n"
    code.restore(git(folder, "rev-parse", "HEAD"), str(folder), patch, tmp_path / "new")
    assert (tmp_path / "new" / "train.py").read_text() == "2\n"
    made = b"diff --git a/x b/x\nnew file mode 100644\n--- /dev/null\n+++ b/x\n@@ -0,0 +1 @@\n+x\n"
    code.restore("", "", made, tmp_path / "empty")
    assert (tmp_path / "empty" / "x").read_text() == "x\n"


@pytest.mark.parametrize(
    ("commit", "patch", "problem"),
    [("0" * 40, b"", "can't be restored"), ("", b"no patch", "can't be restored into .*: error: No valid patches")],
)
def test_what_can_not_be_restored(tmp_path: Path, commit: str, patch: bytes, problem: str) -> None:
    folder = repository(tmp_path / "digits", train__py="1\n")
    with pytest.raises(ForgelogError, match=problem):
        code.restore(commit, str(folder), patch, tmp_path / "new")


def test_submodules_are_fetched_or_named(tmp_path: Path) -> None:
    inner = repository(tmp_path / "inner", lib__py="1\n")
    folder = repository(tmp_path / "outer", train__py="1\n")
    git(folder, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(inner), "lib")
    git(folder, "commit", "--quiet", "--message=submodule")
    (lacking,) = code.restore(git(folder, "rev-parse", "HEAD"), str(folder), b"", tmp_path / "new")
    assert lacking.startswith("submodules: ")  # git fetches none from a folder, unless it is told to
    assert (tmp_path / "new" / "train.py").read_text() == "1\n"


def test_where_the_commit_is(tmp_path: Path) -> None:
    folder = repository(tmp_path / "digits", train__py="1\n")
    commit = git(folder, "rev-parse", "HEAD")
    other = repository(tmp_path / "other", words__txt="1\n")

    def found(captured: CapturedCode, given: str = "") -> Here:
        return here.look(RunCapture(code=captured), repository=given)

    assert found(CapturedCode(commit=commit, folder=str(folder))).source == str(folder)
    url = "https://example.org/digits.git"
    assert found(CapturedCode(commit=commit, folder="/gone", repository=url)).source == url
    nowhere = found(CapturedCode(commit=commit, folder=str(other), repository="ext::sh -c id"))
    assert (nowhere.source, "does not have it" in nowhere.no_source) == ("", True)
    assert nowhere.no_source.endswith("--repository names another folder or URL")
    assert found(CapturedCode(commit=commit, folder="/gone"), str(folder)).source == str(folder)


def test_this_python_and_its_packages() -> None:
    found = here.look(RunCapture(program=CapturedProgram(argv=("python3", "train.py"))))
    assert found.python.startswith("3.")
    assert found.installed is not None


def test_an_environment_that_can_not_be_made(tmp_path: Path) -> None:
    wrong = tmp_path / "packages.txt"
    wrong.write_text("=== no line of pip ===\n")
    with pytest.raises(ForgelogError, match=r"the environment can't be made: .*no-python: No such file"):
        packages.make(str(tmp_path / "no-python"), wrong, tmp_path / "venv")


def test_an_environment_has_the_packages_of_then_and_no_others(tmp_path: Path) -> None:
    wheel, about = tmp_path / "digits-1.2-py3-none-any.whl", "digits-1.2.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("digits.py", "SEVEN = 7\n")
        archive.writestr(
            f"{about}/METADATA", "Metadata-Version: 2.1\nName: digits\nVersion: 1.2\nRequires-Dist: numpy\n"
        )
        archive.writestr(
            f"{about}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{about}/RECORD", "")
    wanted = tmp_path / "packages.txt"
    wanted.write_text(f"digits @ {wheel.as_uri()}  # digits==1.2\n")
    python = packages.make(sys.executable, wanted, tmp_path / "venv")
    told = "import digits, importlib.util as found; print(digits.SEVEN, found.find_spec('numpy'))"
    ran = subprocess.run([python, "-c", told], capture_output=True, text=True, check=True)
    assert ran.stdout == "7 None\n"
    wheel.unlink()
    with pytest.raises(ForgelogError, match=r"can't be filled: ERROR: Could not install .*digits-1.2-py3-none-any.whl"):
        packages.make(sys.executable, wanted, tmp_path / "venv")


def test_where_python_is(tmp_path: Path) -> None:
    python = tmp_path / "env/bin/python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)

    def found(*argv: str) -> str:
        captured = CapturedCode(folder=str(tmp_path))
        return here.look(RunCapture(code=captured, program=CapturedProgram(argv=argv))).interpreter

    assert found("env/bin/python", "train.py") == found(str(python), "train.py") == str(python)
    assert found("/gone/bin/python", "train.py") == found("gone/bin/python") == sys.executable


def test_pip_says_why_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = subprocess.run, []

    def run(argv: list[str], **more: object) -> object:
        calls.append(argv)
        if argv[1:3] == ["-m", "venv"]:
            return subprocess.CompletedProcess(argv, 0, "", "")
        return real(["sh", "-c", "echo 'ERROR: No matching distribution found for x==0' >&2; exit 1"], **more)  # type: ignore[call-overload]

    monkeypatch.setattr("forgelog.reproduce.packages.subprocess.run", run)
    with pytest.raises(ForgelogError, match="can't be filled: ERROR: No matching distribution found for x==0"):
        packages.make("python3", tmp_path / "packages.txt", tmp_path / "venv")
    assert calls[1][-2:] == ["--requirement", str(tmp_path / "packages.txt")]
