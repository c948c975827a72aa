"""Given a path and the folder that another process saw there, then this one knows whether it sees the same."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from events.process import same_folder
from events.process.same_folder import folder_identity, is_same_folder
from forgelog.manifest import in_callers_folder, job_from


def test_a_folder_is_the_same_whatever_happens_in_it(tmp_path: Path) -> None:
    identity = folder_identity(str(tmp_path))
    (tmp_path / "new").touch()
    assert is_same_folder(str(tmp_path), identity)


def test_another_folder_under_the_same_path_is_not(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    identity = folder_identity(str(folder))
    shutil.copytree(folder, tmp_path / "b")
    folder.rename(tmp_path / "c")
    (tmp_path / "b").rename(folder)
    assert not is_same_folder(str(folder), identity)


def test_what_is_no_folder_is_not_one(tmp_path: Path) -> None:
    identity = folder_identity(str(tmp_path))
    (tmp_path / "file").touch()
    assert not is_same_folder(str(tmp_path / "file"), identity)
    assert not is_same_folder(str(tmp_path / "absent"), identity)
    with pytest.raises(NotADirectoryError):
        folder_identity(str(tmp_path / "file"))


def test_on_a_network_file_system_other_machines_see_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not folder_identity(str(tmp_path)).startswith("network:")
    monkeypatch.setattr(same_folder, "_file_system", lambda _device: "nfs4")
    assert folder_identity(str(tmp_path)) == f"network:{tmp_path.stat().st_ino}"


def test_the_system_tells_the_type_of_a_file_system() -> None:
    assert same_folder._file_system(Path("/proc").stat().st_dev) == "proc"


def test_where_the_system_has_no_boot_id_no_folder_is_another_process_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(same_folder, "_boot", lambda: "")
    monkeypatch.chdir(tmp_path)
    assert folder_identity(str(tmp_path)) == ""
    assert not is_same_folder(str(tmp_path), "")
    (job,) = in_callers_folder([job_from({"name": "a", "command": "true"})])
    assert job.base.environment.working_directory == ""
