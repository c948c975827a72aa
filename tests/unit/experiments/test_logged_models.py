"""Given a logged model, when its program logs more of it or says how it ended, then these events follow."""

from __future__ import annotations

from typing import Any

import pytest

from events.language.base import Command
from events.language.common import ErrorCode
from events.language.experiments import (
    Artifact,
    CreateExperiment,
    CreateRun,
    DeleteExperiment,
    ExperimentCreated,
)
from events.language.experiments.logged_models import (
    CreateLoggedModel,
    DeleteLoggedModel,
    FinalizeLoggedModel,
    LoggedModelAdmitted,
    LoggedModelDataLogged,
    LoggedModelEnd,
    LoggedModelFilesLogged,
    LoggedModelFilesRemoved,
    LoggedModelFinalized,
    LoggedModelNotAdmitted,
    LoggedModelStatus,
    LogLoggedModelData,
    LogLoggedModelFiles,
    LogRunModels,
    RemoveLoggedModelFiles,
    RestoreLoggedModel,
    RunModel,
    RunModelsLogged,
)
from events.language.objects import ObjectRef
from services.experiments.run import decide
from tests.unit.experiments.desk import Desk, names, refusal

READY = LoggedModelStatus.READY


def with_model(**more: Any) -> Desk:
    desk = Desk()
    desk.send(CreateExperiment(experiment_id="e1", name="digits"))
    desk.send(CreateLoggedModel(model_id="m-1", experiment_id="e1", **more))
    return desk


def named(*paths: str) -> tuple[Artifact, ...]:
    return tuple(Artifact(path=path, file=ObjectRef(digest="1" * 64, size=3)) for path in paths)


def test_an_experiment_takes_a_model_and_stays_a_draft() -> None:
    desk = Desk()
    desk.send(CreateExperiment(experiment_id="e1", name="digits"))
    events = desk.send(CreateLoggedModel(experiment_id="e1", name="net", params={"depth": "3"}))
    assert names(events) == ["LoggedModelCreated", "LoggedModelEnrolled", "LoggedModelAdmitted"]
    id = events[0].subject()
    assert id.startswith("m-")
    assert events[2] == LoggedModelAdmitted(model_id=id, experiment_id="e1")


def test_a_model_of_no_experiment_is_one_of_the_default_one() -> None:
    events = Desk().send(CreateLoggedModel(model_id="m-1"))
    made = next(event for event in events if isinstance(event, ExperimentCreated))
    assert made.name == "Default"
    assert events[-1] == LoggedModelAdmitted(model_id="m-1", experiment_id=made.experiment_id)


def test_a_model_that_no_experiment_takes_has_failed() -> None:
    desk = Desk()
    desk.send(CreateExperiment(experiment_id="e1", name="digits"))
    desk.send(DeleteExperiment(experiment_id="e1"))
    for id, reason in (
        ("e1", "experiment e1 is deleted; restore it first"),
        ("e2", "there is no experiment 'e2' in project local/default"),
    ):
        model = f"m-{id}"
        events = desk.send(CreateLoggedModel(model_id=model, experiment_id=id))
        assert events[-1] == LoggedModelNotAdmitted(model_id=model, reason=reason)
        assert desk.state("logged_model", model).status is LoggedModelStatus.FAILED


def test_parameters_keep_their_first_values_and_tags_their_last() -> None:
    desk = with_model(params={"lr": "1"}, tags={"a": "1", "b": "2"})
    (event,) = desk.send(
        LogLoggedModelData(model_id="m-1", params={"lr": "1", "depth": "3"}, tags={"a": "1", "b": None, "c": "3"})
    )
    assert event == LoggedModelDataLogged(model_id="m-1", params={"depth": "3"}, tags={"b": None, "c": "3"})
    assert desk.send(LogLoggedModelData(model_id="m-1", params={"depth": "3"}, tags={"c": "3"})) == []
    refused = refusal(desk, LogLoggedModelData(model_id="m-1", params={"lr": "2"}))
    assert refused.message == "params.lr: is '2', but the logged model has it as '1' already"


def test_its_files_are_bound_to_their_paths() -> None:
    desk = with_model()
    log = LogLoggedModelFiles(model_id="m-1", artifacts=named("MLmodel", "data/model.pkl"))
    assert desk.send(log) == [LoggedModelFilesLogged(model_id="m-1", artifacts=log.artifacts)]
    assert desk.send(log) == []
    through = refusal(desk, LogLoggedModelFiles(model_id="m-1", artifacts=named("MLmodel/x")))
    assert "goes through 'MLmodel', which is a file of the logged model" in through.message
    gone = RemoveLoggedModelFiles(model_id="m-1", paths=("data",))
    assert desk.send(gone) == [LoggedModelFilesRemoved(model_id="m-1", paths=("data/model.pkl",))]
    assert refusal(desk, gone).message == "the logged model has no 'data'"


def test_how_it_ended_may_be_corrected() -> None:
    desk = with_model()
    failed = FinalizeLoggedModel(model_id="m-1", status=LoggedModelEnd.FAILED, reason="disk full")
    assert desk.send(failed) == [
        LoggedModelFinalized(model_id="m-1", status=LoggedModelStatus.FAILED, reason="disk full")
    ]
    assert desk.send(failed) == []
    assert desk.send(FinalizeLoggedModel(model_id="m-1")) == [LoggedModelFinalized(model_id="m-1", status=READY)]


def test_a_deleted_model_takes_nothing_until_it_is_restored() -> None:
    desk = with_model()
    desk.send(DeleteLoggedModel(model_id="m-1"))
    assert desk.send(DeleteLoggedModel(model_id="m-1")) == []
    late: tuple[Command, ...] = (
        FinalizeLoggedModel(model_id="m-1"),
        LogLoggedModelFiles(model_id="m-1", artifacts=named("a")),
        LogLoggedModelData(model_id="m-1", tags={"a": "1"}),
    )
    for command in late:
        assert refusal(desk, command).message == "logged model m-1 is deleted; restore it first"
    desk.send(RestoreLoggedModel(model_id="m-1"))
    assert desk.send(RestoreLoggedModel(model_id="m-1")) == []
    assert names(desk.send(late[0])) == ["LoggedModelFinalized"]


@pytest.mark.parametrize(
    ("command", "code", "problem"),
    [
        (FinalizeLoggedModel(model_id="m-2"), ErrorCode.NOT_FOUND, "there is no logged model 'm-2'"),
        (CreateLoggedModel(model_id="m-1"), ErrorCode.ALREADY_EXISTS, "there is a logged model 'm-1' already"),
        (
            CreateLoggedModel(model_id="m-3", experiment_id="e1", experiment="digits"),
            ErrorCode.INVALID_ARGUMENT,
            "experiment: goes without experiment_id, which says it",
        ),
    ],
)
def test_what_is_wrong_is_refused(command: Command, code: ErrorCode, problem: str) -> None:
    refused = refusal(with_model(), command)
    assert (refused.code, refused.message) == (code, problem)


def test_what_belongs_to_another_project_is_refused() -> None:
    desk = Desk("lab/vision")
    run = desk.send(CreateRun())[0].subject()
    assert "is no run of project lab/vision" in refusal(desk, CreateLoggedModel(source_run_id="r1")).message
    for more in ({"inputs": ("m-1",)}, {"outputs": (RunModel(model_id="m-1"),)}):
        refused = refusal(desk, LogRunModels(run_id=run, **more))
        assert "'m-1' is no logged model of project lab/vision" in refused.message


def test_a_run_says_once_which_models_it_uses_and_made() -> None:
    desk = Desk()
    desk.send(CreateRun(run_id="r1"))
    first = LogRunModels(run_id="r1", inputs=("m-1", "m-1"), outputs=(RunModel(model_id="m-2", step=1),))
    assert desk.send(first) == [RunModelsLogged(run_id="r1", inputs=("m-1",), outputs=first.outputs)]
    assert desk.send(first) == []
    more = LogRunModels(run_id="r1", outputs=(*first.outputs, RunModel(model_id="m-2", step=2)))
    assert desk.send(more) == [RunModelsLogged(run_id="r1", outputs=(RunModel(model_id="m-2", step=2),))]


def test_a_run_has_a_bound_of_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decide, "MAX_MODELS_OF_A_RUN", 1)
    desk = Desk()
    desk.send(CreateRun(run_id="r1"))
    refused = refusal(desk, LogRunModels(run_id="r1", inputs=("m-1", "m-2")))
    assert refused.code is ErrorCode.RESOURCE_EXHAUSTED
