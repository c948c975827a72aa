"""Where a described job runs: given its working directory and who describes it where, then this folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from events.process.same_folder import folder_identity
from forgelog.cli.describing import folder
from forgelog.client.specs import in_callers_folder, jobs_of
from forgelog.errors import InvalidInput, ManifestError
from forgelog.manifest import ManifestJob

JOB = {"name": "train", "command": ["python", "train.py"]}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The caller's folder, with one below it."""
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def where(job: ManifestJob) -> tuple[str, str]:
    return job.base.environment.working_directory, job.base.environment.working_directory_id


def test_a_relative_path_begins_at_the_caller_s_folder(here: Path) -> None:
    (job,) = jobs_of(JOB, {"working_directory": "sub"})
    assert where(job) == (str(here / "sub"), "")


def test_in_a_manifest_it_begins_at_the_manifest_s_folder(here: Path) -> None:
    (here / "sub" / "job.yaml").write_text("name: a\ncommand: b\nworking_directory: .\n")
    (job,) = jobs_of("sub/job.yaml", {})
    assert where(job) == (str(here / "sub"), "")


def test_an_absolute_path_is_the_node_s_to_find() -> None:
    (job,) = jobs_of(JOB, {"working_directory": "/absent"})
    assert where(job) == ("/absent", "")


def test_a_relative_path_that_leads_nowhere_is_refused(here: Path) -> None:
    with pytest.raises(ManifestError, match=f"there is no folder {here}/absent, which job 'train' names"):
        jobs_of(JOB, {"working_directory": "absent"})


def test_the_library_puts_a_job_into_its_own_folder_unless_told(here: Path) -> None:
    (job,) = jobs_of(JOB, {})
    assert where(job) == ("", "")
    (placed,) = in_callers_folder([job])
    assert where(placed) == (str(here), folder_identity(str(here)))


@pytest.mark.parametrize("named", ["sub", "/absent", ""])
@pytest.mark.usefixtures("here")
def test_a_job_that_names_a_folder_or_none_keeps_its_word(named: str) -> None:
    (job,) = jobs_of(JOB, {"working_directory": named})
    assert in_callers_folder([job]) == [job]


def test_a_folder_that_was_removed_can_t_be_the_caller_s(here: Path) -> None:
    (job,) = jobs_of(JOB, {})
    (here / "sub").rmdir()
    here.rmdir()
    with pytest.raises(InvalidInput, match="not there any more"):
        in_callers_folder([job])


def test_an_absent_folder_of_another_machine_is_its_own_affair(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORGELOG_GATEWAY", "cluster.example:7070")
    assert folder("/absent", False) == "/absent"
    monkeypatch.setenv("FORGELOG_GATEWAY", "127.0.0.1:7070")
    with pytest.raises(InvalidInput, match="there is no folder /absent; make it"):
        folder("/absent", False)


def test_chdir_and_no_chdir_exclude_each_other() -> None:
    with pytest.raises(InvalidInput, match="one of the two"):
        folder(".", True)
