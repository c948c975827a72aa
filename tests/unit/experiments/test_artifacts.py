"""Given a run's files, when more are logged or some removed, then each path is one file, and folders are no files."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from events.language.common import ErrorCode, Refused
from events.language.experiments import (
    Artifact,
    ArtifactsLogged,
    ArtifactsRemoved,
    CreateRun,
    DeleteRun,
    LogArtifacts,
    RemoveArtifacts,
)
from events.language.objects import ObjectRef
from events.language.problems import decode_command
from services.experiments import files
from tests.unit.experiments.desk import Desk

ONE, TWO = "1" * 64, "2" * 64


def named(*paths: str, digest: str = ONE) -> tuple[Artifact, ...]:
    return tuple(Artifact(path=path, file=ObjectRef(digest=digest, size=3)) for path in paths)


def log(*paths: str, digest: str = ONE) -> LogArtifacts:
    return LogArtifacts(run_id="r1", artifacts=named(*paths, digest=digest))


def with_files(*paths: str) -> Desk:
    desk = Desk()
    desk.send(CreateRun(run_id="r1"))
    desk.send(log(*paths))
    return desk


def test_files_are_bound_to_their_paths() -> None:
    desk = with_files("a.txt")
    assert desk.send(log("model/weights.pt")) == [ArtifactsLogged(run_id="r1", artifacts=named("model/weights.pt"))]


def test_what_is_logged_again_changes_nothing_and_other_bytes_replace() -> None:
    desk = with_files("a", "b")
    assert desk.send(log("a", "b")) == []
    (event,) = desk.send(LogArtifacts(run_id="r1", artifacts=(*named("a"), *named("b", digest=TWO))))
    assert event == ArtifactsLogged(run_id="r1", artifacts=named("b", digest=TWO))


@pytest.mark.parametrize(
    ("paths", "problem"),
    [
        (("model",), "artifacts.0.path: 'model' is a folder of the run"),
        (("a.txt/b",), "artifacts.0.path: 'a.txt/b' goes through 'a.txt', which is a file of the run"),
        (("c", "c"), "artifacts.1.path: 'c' comes twice"),
        (("c/d", "c"), "artifacts.1.path: 'c' is a folder of the run"),
        (("c", "c/d"), "artifacts.1.path: 'c/d' goes through 'c', which is a file of the run"),
    ],
)
def test_a_path_is_a_file_or_a_folder(paths: tuple[str, ...], problem: str) -> None:
    with pytest.raises(Refused) as caught:
        with_files("a.txt", "model/weights.pt").send(log(*paths))
    assert (caught.value.code, caught.value.message) == (ErrorCode.INVALID_ARGUMENT, problem)


@pytest.mark.parametrize("path", ["../secret", "/etc/passwd", "a/../b", "a//b", ".", "", "a\0b", "x" * 256, "a/" * 70])
def test_no_path_leaves_the_run(path: str) -> None:
    with pytest.raises(ValidationError):
        Artifact(path=path, file=ObjectRef(digest=ONE, size=3))


def test_a_wrong_path_is_named_alone() -> None:
    body = {"run_id": "r1", "artifacts": [{"path": "../x", "file": {"digest": ONE, "size": 3}}]}
    with pytest.raises(Refused) as caught:
        decode_command("forgelog.experiments.v1.LogArtifacts", json.dumps(body).encode())
    (error,) = caught.value.errors
    assert (error.field, error.problem) == (
        "artifacts[0].path",
        "'../x' is no path in a folder: it has the name '..'",
    )
    assert error.hint == "give a path as seen from the folder, by the names of folders and a file"
    with pytest.raises(Refused, match="artifacts: is empty"):
        decode_command("forgelog.experiments.v1.LogArtifacts", b'{"run_id": "r1", "artifacts": []}')


def test_a_folder_goes_with_all_in_it_and_its_path_is_free_again() -> None:
    desk = with_files("model/a", "model/deep/b", "c")
    removed = ArtifactsRemoved(run_id="r1", paths=("model/a", "model/deep/b"))
    assert desk.send(RemoveArtifacts(run_id="r1", paths=("model",))) == [removed]
    assert len(desk.send(log("model"))) == 1
    with pytest.raises(Refused, match="the run has no 'model/a'"):
        desk.send(RemoveArtifacts(run_id="r1", paths=("model/a",)))


def test_a_run_has_a_bound_of_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MOST", 2)
    with pytest.raises(Refused, match="the run would have more than 2 files"):
        with_files("a", "b").send(log("c"))


def test_a_deleted_run_takes_no_files() -> None:
    desk = with_files("a")
    desk.send(DeleteRun(run_id="r1"))
    with pytest.raises(Refused, match="run r1 is deleted; restore it first"):
        desk.send(log("b"))
