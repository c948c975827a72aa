"""Given a process, all of what it runs is captured, values of its environment's variables left out, and it is never
stopped by that."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from events.language.experiments.capture import CapturePart, RunCapture
from forgelog.capture import capture, capture_command, machine, packages
from forgelog.errors import InvalidInput
from tests.unit.capture.repositories import git, repository

PROGRAM = """
import sys
from forgelog.capture import capture
captured = capture(seeds={"numpy": 7})
assert all(captured.objects.values())
sys.stdout.write(captured.capture.model_dump_json())
"""


def run(program: Path, *words: str, folder: Path, **variables: str) -> RunCapture:
    """What a program captures of itself."""
    ran = subprocess.run(
        [sys.executable, str(program), *words],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(Path(__file__).parents[3]), **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    return RunCapture.model_validate_json(ran.stdout)


def test_a_program(tmp_path: Path) -> None:
    folder = repository(tmp_path / "digits", train__py=PROGRAM, uv__lock="version = 1\n")
    (folder / "data").mkdir()
    (folder / "new.py").write_text("1\n")
    found = run(
        folder / "train.py", "--lr", "0.1", "--password", "p", folder=folder / "data", PYTHONHASHSEED="3",
        SECRET_WORD="hush", OMP_NUM_THREADS="2", FORGELOG_IMAGE="example.org/train:7",
    )  # fmt: skip
    assert found.code is not None
    assert found.program is not None
    assert found.packages is not None
    assert found.machine is not None
    assert (found.code.commit, found.code.changed_files) == (git(folder, "rev-parse", "HEAD"), 1)
    assert found.program.argv[1:] == (str(folder / "train.py"), "--lr", "0.1", "--password", "***")
    assert found.program.working_directory == "data"
    assert {"SECRET_WORD", "OMP_NUM_THREADS"} <= set(found.program.variables)
    assert found.program.settings == {"OMP_NUM_THREADS": "2", "PYTHONHASHSEED": "3"}
    assert "hush" not in found.model_dump_json()
    assert found.seeds == {"PYTHONHASHSEED": 3, "numpy": 7}
    assert found.packages.python == ".".join(map(str, sys.version_info[:3]))
    assert (found.packages.lock_path, found.packages.count > 10) == ("uv.lock", True)
    assert (found.machine.cpus >= 1, found.machine.memory_bytes > 0) == (True, True)
    assert (found.machine.container, found.machine.image) == (True, "example.org/train:7")
    assert [(each.part, each.what) for each in found.left_out] == [(CapturePart.PROGRAM, "--password")]


def test_a_program_outside_of_a_repository_and_a_seed_that_is_no_number(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(PROGRAM)
    found = run(tmp_path / "train.py", folder=tmp_path, PYTHONHASHSEED="random")
    assert found.code is None
    assert found.program is not None
    assert found.program.working_directory == ""
    assert [(each.part, each.what, each.why) for each in found.left_out] == [
        ("code", "", f"{tmp_path} is in no git repository"),
        ("seeds", "PYTHONHASHSEED", "it is 'random', and no number"),
    ]


def test_a_program_goes_on_when_a_part_can_not_be_captured(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise OSError("no such device")

    monkeypatch.setattr(machine, "captured", broken)
    found = capture().capture
    assert found.machine is None
    assert ("machine", "OSError: no such device") in {(each.part, each.why) for each in found.left_out}


@pytest.mark.parametrize("seed", [-1, 1.5, True, 1 << 63, "3"])
def test_a_seed_that_is_none_is_refused(seed: Any) -> None:
    with pytest.raises(InvalidInput, match=r"^seeds.numpy: .* is no seed; give an integer from 0 to"):
        capture(seeds={"numpy": seed})


def test_what_a_job_is_submitted_with(tmp_path: Path) -> None:
    folder = repository(tmp_path / "digits", train__py="1\n")
    found = capture_command(
        ["python3", "train.py", "--api-key=a"], folder, {"OMP_NUM_THREADS": "4", "API": "b"}
    ).capture
    assert found.code is not None
    assert found.program is not None
    assert (found.packages, found.machine) == (None, None)
    assert (found.program.argv, found.program.working_directory) == (("python3", "train.py", "--api-key=***"), "")
    assert (found.program.variables, found.program.settings) == (("API", "OMP_NUM_THREADS"), {"OMP_NUM_THREADS": "4"})


def test_a_lock_file_loses_passwords_and_one_that_is_too_large_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "requirements.txt").write_text("--index-url https://u:p@example.org/simple\nnumpy==2.0\n")
    kept: dict[str, bytes] = {}

    def keep(data: bytes) -> Any:
        from events.language.objects import ObjectRef

        digest = blake3(data).hexdigest()
        kept[digest] = data
        return ObjectRef(digest=digest, size=len(data))

    left: list[Any] = []
    found = packages.captured(tmp_path, tmp_path, keep, left)
    assert found.lock is not None
    assert kept[found.lock.digest] == b"--index-url https://example.org/simple\nnumpy==2.0\n"
    assert [(each.what, each.why) for each in left] == [("requirements.txt", "users and passwords in its URLs")]
    monkeypatch.setattr(packages, "MAX_LOCK_BYTES", 10)
    assert packages.captured(tmp_path, tmp_path, keep, left).lock is None


def test_packages_are_as_pip_reads_them() -> None:
    lines = packages.installed()
    assert any(line.startswith("pydantic==") for line in lines)
    assert any(line.startswith("-e file:") and line.endswith(" # forgelog==0.1.0") for line in lines)


class Nvml:
    """Answers as pynvml on a machine with two GPUs."""

    def nvmlSystemGetDriverVersion(self) -> str:
        return "560.1"

    def nvmlDeviceGetCount(self) -> int:
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetUUID(self, handle: int) -> str:
        return f"GPU-{handle}f"

    def nvmlDeviceGetName(self, handle: int) -> str:
        return f"H{handle}00"

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Any:
        return type("Memory", (), {"total": 80 << 30})


@pytest.mark.parametrize(
    ("visible", "names"),
    [(None, ["H000", "H100"]), ("1", ["H100"]), ("GPU-0", ["H000"]), ("", []), ("1,0", ["H000", "H100"])],
)
def test_gpus_that_the_program_may_use(visible: str | None, names: list[str]) -> None:
    assert [gpu.name for gpu in machine._described(Nvml(), visible)] == names
