"""buf finds no promise of the last release broken, and would find one."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from proto.generate import ROOT
from proto.lint import tags
from proto.release import buf, newest, tags_without_image


def breaking(folder: Path, image: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([buf(), "breaking", "--against", str(image)], cwd=folder, capture_output=True, text=True)


def test_no_promise_of_the_last_release_is_broken() -> None:
    done = breaking(ROOT, newest())
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("  string job_id = 1;", "  string job_id = 100;"),
        ("  string job_id = 1;", "  int64 job_id = 1;"),
        ("message CancelJob {", "message StopJob {"),
    ],
    ids=["a number", "a type", "a name"],
)
def test_a_change_is_found_without_any_history(tmp_path: Path, old: str, new: str) -> None:
    for name in ("forgelog", "google"):
        shutil.copytree(ROOT / "proto" / name, tmp_path / "proto" / name)
    shutil.copy(ROOT / "buf.yaml", tmp_path)
    types = tmp_path / "proto/forgelog/jobs/v1/types.proto"
    text = types.read_text()
    at = text.index("message CancelJob {")
    assert old in text[at:]
    types.write_text(text[:at] + text[at:].replace(old, new, 1))
    done = breaking(tmp_path, newest())
    assert done.returncode != 0
    assert "jobs/v1/types.proto" in done.stdout


def test_the_newest_release_is_found_by_its_numbers(tmp_path: Path) -> None:
    for version in ("0.9.0", "0.10.0", "0.2.11"):
        (tmp_path / f"v{version}.binpb").touch()
    assert newest(tmp_path).stem == "v0.10.0"
    assert tags_without_image(["v0.9.0", "v0.11.0", "v1", "vendored", "v1.0-rc1"], tmp_path) == ["v0.11.0", "v1"]


def test_the_protos_of_every_tagged_release_were_kept() -> None:
    assert tags_without_image(tags()) == []
