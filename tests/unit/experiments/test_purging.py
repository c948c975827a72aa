"""Given what is deleted, it is purged once; from then on it is neither restored nor changed, and its name is free."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import NamedTuple

import pytest

from events.language.base import Command, Event
from events.language.common import PLATFORM_ACTOR, ErrorCode
from events.language.experiments import (
    Artifact,
    CreateExperiment,
    CreateRun,
    DeleteExperiment,
    DeleteRun,
    EndRun,
    ExperimentRestored,
    LogArtifacts,
    LogRunData,
    RestoreExperiment,
    RestoreRun,
    RunRefused,
    RunRestored,
    UpdateExperiment,
)
from events.language.experiments.logged_models import (
    CreateLoggedModel,
    DeleteLoggedModel,
    LogLoggedModelData,
    RestoreLoggedModel,
)
from events.language.experiments.purging import (
    ExperimentPurged,
    LoggedModelPurged,
    PurgeExperiment,
    PurgeLoggedModel,
    PurgeRun,
    RunPurged,
)
from events.language.experiments.sealing import SealedPoints, SealPoints
from events.language.objects import ObjectRef
from tests.unit.experiments.desk import NOON, PROJECT, Desk, names, refusal

LATER = NOON + timedelta(hours=1)
OF_PROJECT = {"project": PROJECT, "experiment_id": "e1"}


def desk() -> Desk:
    """An experiment with a run and a logged model, none of them deleted."""
    made = Desk()
    made.send(CreateExperiment(**OF_PROJECT, name="digits"))
    made.send(CreateRun(run_id="r1", experiment_id="e1"))
    made.send(CreateLoggedModel(model_id="m-1", experiment_id="e1"))
    return made


class Kind(NamedTuple):
    """Something that is deleted and purged."""

    delete: Command
    restore: Command
    change: Command
    purge: Callable[..., Command]
    purged: Event


KINDS = pytest.mark.parametrize(
    "kind",
    [
        Kind(
            DeleteExperiment(**OF_PROJECT),
            RestoreExperiment(**OF_PROJECT),
            UpdateExperiment(**OF_PROJECT, team="a"),
            partial(PurgeExperiment, **OF_PROJECT),
            ExperimentPurged(**OF_PROJECT),
        ),
        Kind(
            DeleteRun(run_id="r1"),
            RestoreRun(run_id="r1"),
            LogRunData(run_id="r1", tags={"a": "b"}),
            partial(PurgeRun, run_id="r1"),
            RunPurged(run_id="r1"),
        ),
        Kind(
            DeleteLoggedModel(model_id="m-1"),
            RestoreLoggedModel(model_id="m-1"),
            LogLoggedModelData(model_id="m-1", tags={"a": "b"}),
            partial(PurgeLoggedModel, model_id="m-1"),
            LoggedModelPurged(model_id="m-1"),
        ),
    ],
    ids=["experiment", "run", "logged model"],
)


@KINDS
def test_what_is_deleted_is_purged_once(kind: Kind) -> None:
    given = desk()
    given.send(kind.delete)
    assert given.send(kind.purge(deleted_before=LATER)) == [kind.purged]
    assert given.send(kind.purge()) == []
    assert given.send(kind.delete) == []
    for command in (kind.restore, kind.change):
        refused = refusal(given, command)
        assert refused.code is ErrorCode.FAILED_PRECONDITION
        assert refused.message.endswith("are gone; it can't be restored; use another one")


@KINDS
def test_what_is_not_deleted_is_not_purged(kind: Kind) -> None:
    given = desk()
    assert refusal(given, kind.purge()).message.endswith("is not deleted; delete it first")
    given.send(kind.delete)
    given.send(kind.restore)
    assert refusal(given, kind.purge(deleted_before=LATER)).code is ErrorCode.FAILED_PRECONDITION


@KINDS
def test_what_was_deleted_again_since_a_plan_is_not_purged_by_it(kind: Kind) -> None:
    given = desk()
    given.send(kind.delete)
    planned = NOON + timedelta(seconds=given._ids)
    given.send(kind.restore)
    given.send(kind.delete)
    refused = refusal(given, kind.purge(deleted_before=planned))
    assert (refused.code, refused.errors[0].field) == (ErrorCode.FAILED_PRECONDITION, "deleted_before")
    assert given.send(kind.purge(deleted_before=LATER)) == [kind.purged]


def test_a_purged_experiment_s_name_is_free_and_its_id_is_not_given_again() -> None:
    given = desk()
    given.send(DeleteExperiment(**OF_PROJECT))
    held = refusal(given, CreateExperiment(project=PROJECT, experiment_id="e2", name="digits"))
    assert held.errors[0].hint == "restore or purge the deleted experiment e1, or take another name"
    given.send(PurgeExperiment(**OF_PROJECT))
    given.send(CreateExperiment(project=PROJECT, experiment_id="e2", name="digits"))
    assert refusal(given, CreateExperiment(**OF_PROJECT, name="letters")).code is ErrorCode.ALREADY_EXISTS
    told = next(each for each in given.send(CreateRun(run_id="r2", experiment_id="e1")) if isinstance(each, RunRefused))
    assert told.reason == "experiment e1 is purged; name another one"


def test_runs_and_models_of_a_purged_experiment_go_with_it_as_the_platform_says() -> None:
    given = desk()
    for command in (PurgeRun(run_id="r1", experiment_id="e1"), PurgeLoggedModel(model_id="m-1", experiment_id="e1")):
        refused = refusal(given, command)
        assert (refused.code, refused.errors[0].field) == (ErrorCode.PERMISSION_DENIED, "experiment_id")
    assert given.send(PurgeRun(run_id="r1", experiment_id="e2"), actor=PLATFORM_ACTOR) == []
    done = given.send(PurgeRun(run_id="r1", experiment_id="e1"), actor=PLATFORM_ACTOR)
    assert done == [RunPurged(run_id="r1")]
    done = given.send(PurgeLoggedModel(model_id="m-1", experiment_id="e1"), actor=PLATFORM_ACTOR)
    assert done == [LoggedModelPurged(model_id="m-1")]


def test_the_end_of_a_purged_run_is_not_sealed_and_it_remembers_little() -> None:
    given = desk()
    file = ObjectRef(digest="1" * 64, size=3)
    given.send(LogArtifacts(run_id="r1", artifacts=(Artifact(path="a/1.pt", file=file),)))
    given.send(EndRun(run_id="r1"))
    given.send(DeleteRun(run_id="r1"))
    given.send(PurgeRun(run_id="r1"))
    sealed = SealedPoints(digest="1" * 64)
    assert given.send(SealPoints(run_id="r1", end_number=1, sealed=sealed), actor=PLATFORM_ACTOR) == []
    state = given.state("run", "r1")
    assert (state.artifacts, state.folders, state.params) == ({}, {}, {})


def test_what_is_restored_in_time_stays() -> None:
    given = desk()
    given.send(DeleteExperiment(**OF_PROJECT))
    given.send(DeleteRun(run_id="r1"))
    assert given.send(RestoreExperiment(**OF_PROJECT)) == [ExperimentRestored(**OF_PROJECT)]
    assert given.send(RestoreRun(run_id="r1")) == [RunRestored(run_id="r1")]
    assert names(given.send(CreateRun(run_id="r2", experiment_id="e1")))[-1] == "RunAdmitted"
