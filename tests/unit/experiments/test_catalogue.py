"""Given a project's experiments, when one is made, changed or asked for a place, then its name and numbers hold."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from events.language.common import ErrorCode, Refused
from events.language.experiments import (
    CreateExperiment,
    CreateRun,
    CreateTuning,
    DeleteExperiment,
    ExperimentCreated,
    ExperimentDeleted,
    ExperimentRestored,
    ExperimentStatus,
    ExperimentStatusSet,
    ExperimentUpdated,
    RestoreExperiment,
    RunAdmitted,
    RunCreated,
    RunEnrolled,
    RunNotAdmitted,
    RunRefused,
    RunStatus,
    SetExperimentStatus,
    UpdateExperiment,
)
from events.language.experiments.datasets import LogInputs
from events.language.experiments.launching import LaunchRun
from events.language.experiments.logged_models import CreateLoggedModel
from events.language.experiments.models import RunInput, RunSources
from events.writer.decider import DecisionContext
from services.experiments.catalogue.decide import enrolled
from services.experiments.catalogue.state import Catalogue
from tests.unit.experiments.desk import PROJECT, Desk

S = ExperimentStatus


def names(events: object) -> list[str]:
    assert isinstance(events, list)
    return [type(event).__name__ for event in events]


def with_experiment(name: str = "digits", id: str = "e1") -> Desk:
    desk = Desk()
    desk.send(CreateExperiment(experiment_id=id, name=name, tags={"lang": "nl"}))
    return desk


def test_an_experiment_begins_as_a_draft_of_its_project() -> None:
    (event,) = Desk().send(CreateExperiment(experiment_id="e1", name="digits"))
    assert isinstance(event, ExperimentCreated)
    assert (event.project, event.name) == (PROJECT, "digits")


@pytest.mark.parametrize(
    ("command", "code", "problem"),
    [
        (
            CreateExperiment(experiment_id="e1", name="b"),
            ErrorCode.ALREADY_EXISTS,
            "there is an experiment 'e1' already",
        ),
        (CreateExperiment(name="digits"), ErrorCode.ALREADY_EXISTS, "there is an experiment 'digits' already"),
        (UpdateExperiment(experiment_id="e2"), ErrorCode.NOT_FOUND, "there is no experiment 'e2' in this project"),
        (
            SetExperimentStatus(experiment_id="e1", status=S.COMPLETED),
            ErrorCode.FAILED_PRECONDITION,
            "experiment e1 can't go from draft to completed: after draft comes archived, running",
        ),
    ],
)
def test_what_can_not_be_is_refused(command: object, code: ErrorCode, problem: str) -> None:
    with pytest.raises(Refused) as caught:
        with_experiment().send(command)  # type: ignore[arg-type]
    assert (caught.value.code, caught.value.message) == (code, problem)


def test_another_project_has_names_of_its_own_and_none_speaks_for_it() -> None:
    with pytest.raises(Refused, match=r"project: is 'lab/b', but the command is for lab/a; leave it out"):
        Desk("lab/a").send(CreateExperiment(name="digits", project="lab/b"))


def test_a_name_is_free_again_once_it_is_changed() -> None:
    desk = with_experiment()
    desk.send(UpdateExperiment(experiment_id="e1", name="numbers"))
    desk.send(CreateExperiment(experiment_id="e2", name="digits"))
    with pytest.raises(Refused, match="there is an experiment 'numbers' already"):
        desk.send(UpdateExperiment(experiment_id="e2", name="numbers"))


def test_an_update_says_what_is_new_and_nothing_else() -> None:
    desk = with_experiment()
    update = UpdateExperiment(experiment_id="e1", name="digits", team="vision", tags={"lang": None, "size": "28"})
    assert desk.send(update) == [
        ExperimentUpdated(project=PROJECT, experiment_id="e1", team="vision", tags={"lang": None, "size": "28"})
    ]
    assert desk.send(UpdateExperiment(experiment_id="e1", team="vision", tags={"lang": None})) == []


def test_collaborators_and_labels_are_added_and_taken_away() -> None:
    desk = with_experiment()
    (first,) = desk.send(UpdateExperiment(experiment_id="e1", add_collaborators=["ada", "bob"], add_labels=["cv"]))
    assert isinstance(first, ExperimentUpdated)
    assert (first.collaborators, first.labels) == (("ada", "bob"), ("cv",))
    (second,) = desk.send(UpdateExperiment(experiment_id="e1", add_collaborators=["ada"], remove_collaborators=["bob"]))
    assert isinstance(second, ExperimentUpdated)
    assert (second.collaborators, second.labels) == (("ada",), ("cv",))
    assert desk.send(UpdateExperiment(experiment_id="e1", add_labels=["cv"])) == []
    with pytest.raises(Refused, match="experiment e1 would have more than 64 labels"):
        desk.send(UpdateExperiment(experiment_id="e1", add_labels=[f"l{n}" for n in range(64)]))


def test_a_deleted_experiment_keeps_its_name_and_changes_no_more_until_it_is_restored() -> None:
    desk = with_experiment()
    assert desk.send(DeleteExperiment(experiment_id="e1")) == [ExperimentDeleted(project=PROJECT, experiment_id="e1")]
    assert desk.send(DeleteExperiment(experiment_id="e1")) == []
    with pytest.raises(Refused) as caught:
        desk.send(CreateExperiment(name="digits"))
    assert caught.value.errors[0].hint == "restore or purge the deleted experiment e1, or take another name"
    with pytest.raises(Refused, match="experiment e1 is deleted; restore it first"):
        desk.send(UpdateExperiment(experiment_id="e1", team="vision"))
    assert desk.send(RestoreExperiment(experiment_id="e1")) == [ExperimentRestored(project=PROJECT, experiment_id="e1")]
    assert desk.send(RestoreExperiment(experiment_id="e1")) == []


def test_a_run_gets_what_its_experiments_runs_read_and_go_on_from() -> None:
    mnist, other = RunInput(name="mnist", digest="d1"), RunInput(name="other", digest="d2")
    desk = Desk()
    sources = RunSources(inputs=(mnist, other), base_version_id="mv1")
    desk.send(CreateExperiment(experiment_id="e1", name="digits", sources=sources))
    events = desk.send(CreateRun(run_id="r1", experiment_id="e1"))
    (admitted,) = [each for each in events if isinstance(each, RunAdmitted)]
    assert admitted.sources == sources
    assert desk.send(LogInputs(run_id="r1", inputs=(mnist,))) == []
    desk.send(UpdateExperiment(experiment_id="e1", sources=RunSources()))
    (admitted,) = [each for each in desk.send(CreateRun(experiment_id="e1")) if isinstance(each, RunAdmitted)]
    assert admitted.sources == RunSources()


def test_an_archived_experiment_changes_no_more() -> None:
    desk = with_experiment()
    desk.send(SetExperimentStatus(experiment_id="e1", status=S.ARCHIVED))
    with pytest.raises(Refused, match="experiment e1 is archived: it changes no more"):
        desk.send(UpdateExperiment(experiment_id="e1", team="vision"))
    with pytest.raises(Refused, match="archived is final"):
        desk.send(SetExperimentStatus(experiment_id="e1", status=S.RUNNING))


def test_tags_have_a_bound_over_all_updates() -> None:
    desk = with_experiment()
    desk.send(UpdateExperiment(experiment_id="e1", tags={f"k{n}": "" for n in range(999)}))
    with pytest.raises(Refused, match="experiment e1 would have more than 1000 tags"):
        desk.send(UpdateExperiment(experiment_id="e1", tags={"one more": ""}))


def test_runs_are_numbered_in_their_experiment_and_the_first_one_starts_it() -> None:
    desk = with_experiment()
    first = desk.send(CreateRun(run_id="r1", experiment_id="e1"))
    assert names(first) == ["RunCreated", "ExperimentStatusSet", "RunEnrolled", "RunAdmitted"]
    assert first[1] == ExperimentStatusSet(project=PROJECT, experiment_id="e1", status=S.RUNNING)
    second = desk.send(CreateRun(run_id="r2", experiment="digits"))
    assert names(second) == ["RunCreated", "RunEnrolled", "RunAdmitted"]
    assert isinstance(second[1], RunEnrolled)
    assert isinstance(second[2], RunAdmitted)
    assert (second[1].number, second[2].number, second[2].experiment_id) == (2, 2, "e1")


def test_an_experiment_that_a_run_names_is_made_once() -> None:
    desk = Desk()
    first = desk.send(CreateRun(run_id="r1", experiment="digits"))
    assert names(first) == ["RunCreated", "ExperimentCreated", "ExperimentStatusSet", "RunEnrolled", "RunAdmitted"]
    assert names(desk.send(CreateRun(run_id="r2", experiment="digits"))) == ["RunCreated", "RunEnrolled", "RunAdmitted"]


def test_a_run_that_names_none_is_of_the_default_one() -> None:
    made = next(event for event in Desk().send(CreateRun(run_id="r1")) if isinstance(event, ExperimentCreated))
    assert made.name == "Default"


@pytest.mark.parametrize(
    ("before", "reason"),
    [
        ([DeleteExperiment(experiment_id="e1")], "experiment e1 is deleted; restore it first"),
        (
            [SetExperimentStatus(experiment_id="e1", status=S.ARCHIVED)],
            "experiment e1 is archived: it takes no more runs; make another experiment",
        ),
        (
            [
                SetExperimentStatus(experiment_id="e1", status=S.RUNNING),
                SetExperimentStatus(experiment_id="e1", status=S.PAUSED),
            ],
            "experiment e1 is paused; set it to running, and it takes runs again",
        ),
    ],
)
def test_an_experiment_that_takes_no_runs_fails_them(before: list[object], reason: str) -> None:
    desk = with_experiment()
    for command in before:
        desk.send(command)  # type: ignore[arg-type]
    created, refused, failed = desk.send(CreateRun(run_id="r1", experiment_id="e1"))
    assert isinstance(created, RunCreated)
    assert refused == RunRefused(project=PROJECT, run_id="r1", reason=reason)
    assert failed == RunNotAdmitted(run_id="r1", reason=reason)
    assert failed.refusal() == reason


def test_there_is_no_such_experiment() -> None:
    *_, failed = Desk().send(CreateRun(run_id="r1", experiment_id="e9"))
    assert failed == RunNotAdmitted(run_id="r1", reason=f"there is no experiment 'e9' in project {PROJECT}")


@pytest.mark.parametrize("name", ["two\nlines", "  ", "\x7f", "x" * 201])
@pytest.mark.parametrize("command", [CreateRun, LaunchRun, CreateLoggedModel, CreateTuning])
def test_a_name_that_no_experiment_can_have_is_refused_where_one_is_made_of_it(command: Any, name: str) -> None:
    with pytest.raises(ValidationError) as refused:
        command(name="n", experiment=name)
    assert [each["loc"] for each in refused.value.errors()] == [("experiment",)]
    assert command(name="n", experiment="").experiment == ""


def test_a_run_of_an_earlier_version_that_names_an_impossible_experiment_fails() -> None:
    """Its name was not looked at then: the catalogue must not stop at it."""
    run = RunCreated(
        run_id="r1", project=PROJECT, experiment="two\nlines", status=RunStatus.RUNNING, started_at=datetime.now(UTC)
    )
    context = DecisionContext(datetime.now(UTC), "c1", "ada", PROJECT, PROJECT)
    (refused,) = enrolled(Catalogue(), run, context)
    reason = "experiment: 'two\\nlines' has a control character; use printable text"
    assert refused == RunRefused(project=PROJECT, run_id="r1", reason=reason)
