"""Given a project's datasets, when a version is registered, then its numbers fit together and its content is new."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from events.language.common import PLATFORM_ACTOR, ErrorCode, Refused
from events.language.experiments import CreateRun
from events.language.experiments.datasets import (
    CheckDataset,
    DatasetChecked,
    DatasetCheckRequested,
    DatasetRegistered,
    DatasetSpec,
    InputsLogged,
    LogInputs,
    RegisterDataset,
    ReportDatasetChecked,
)
from events.language.experiments.models import RunInput
from events.language.objects import ObjectRef
from services.experiments.run import decide
from tests.unit.experiments.desk import PROJECT, Desk

BUNDLE = ObjectRef(digest="1" * 64, size=9)


def register(id: str, digest: str = "d1", name: str = "mnist", **fields: Any) -> RegisterDataset:
    return RegisterDataset(version_id=id, name=name, spec=DatasetSpec(digest=digest, **fields))


def managed(id: str = "ds1") -> RegisterDataset:
    return RegisterDataset(version_id=id, name="mnist", spec=DatasetSpec(bundle=BUNDLE))


def test_versions_are_numbered_by_name() -> None:
    desk = Desk()
    desk.send(register("ds1"))
    desk.send(register("ds2", name="other"))
    (third,) = desk.send(register("ds3", "d2", parents=("ds1",)))
    assert isinstance(third, DatasetRegistered)
    assert (third.number, third.made_of) == (2, ("mnist@d1",))


@pytest.mark.parametrize(
    ("command", "code", "problem"),
    [
        (register("ds1", "d2"), ErrorCode.ALREADY_EXISTS, "there is a dataset 'ds1' already"),
        (
            register("ds2"),
            ErrorCode.ALREADY_EXISTS,
            "dataset 'mnist' has this content already as version 1 (ds1)",
        ),
        (
            register("ds2", "d2", parents=("ds9",)),
            ErrorCode.INVALID_ARGUMENT,
            "spec.parents.0: there is no dataset 'ds9' in this project",
        ),
        (
            CheckDataset(version_id="ds1"),
            ErrorCode.FAILED_PRECONDITION,
            "mnist/1 is external: the platform can't look at its files; register it with its files",
        ),
        (
            register("ds2", "d\n"),
            ErrorCode.INVALID_ARGUMENT,
            "spec.digest: is not printable, or has with the name more than 900 bytes",
        ),
        (
            register("ds2", "\U0001f40c" * 100, name="\U0001f40c" * 200),
            ErrorCode.INVALID_ARGUMENT,
            "spec.digest: is not printable, or has with the name more than 900 bytes",
        ),
    ],
)
def test_what_can_not_be_is_refused(command: Any, code: ErrorCode, problem: str) -> None:
    desk = Desk()
    desk.send(register("ds1"))
    with pytest.raises(Refused) as caught:
        desk.send(command)
    assert (caught.value.code, caught.value.message) == (code, problem)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({}, "digest is empty"),
        ({"bundle": BUNDLE, "digest": "d1"}, "digest differs from that of bundle"),
        ({"bundle": BUNDLE, "size_bytes": 3}, "size_bytes of a bundle is counted"),
        ({"digest": "d1", "splits": {"train": 6, "test": 3}}, "splits sum to 9, and samples is missing"),
        ({"digest": "d1", "samples": 10, "splits": {"train": 6, "test": 3}}, "splits sum to 9, and samples is 10"),
        ({"digest": "d1", "columns": {"a": "int"}, "statistics": {"b": {}}}, "statistics has 'b'"),
        ({"digest": "d1", "columns": {"a": "int"}, "features": 2}, "features is 2, and columns has 1"),
        ({"digest": "d1", "statistics": {"a": {"least": 2, "most": 1}}}, "least is 2 and most 1"),
        (
            {"digest": "d1", "statistics": {"a": {"count": 2, "frequent": {"x": 3}}}},
            "frequent sums to 3, and count is 2",
        ),
    ],
)
def test_numbers_fit_together(fields: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        DatasetSpec.model_validate(fields)


def test_the_files_of_a_managed_one_are_looked_at() -> None:
    desk = Desk()
    desk.send(managed())
    report = ReportDatasetChecked(version_id="ds1", check=1, intact=True, files=2, size_bytes=7)
    with pytest.raises(Refused, match="the platform itself looks at a dataset's files"):
        desk.send(report)
    (checked,) = desk.send(report, actor=PLATFORM_ACTOR)
    assert checked == DatasetChecked(project=PROJECT, version_id="ds1", check=1, intact=True, files=2, size_bytes=7)
    assert desk.send(report, actor=PLATFORM_ACTOR) == []


def test_nothing_is_made_of_what_is_damaged_until_it_is_restored() -> None:
    desk = Desk()
    desk.send(managed())
    damaged = ReportDatasetChecked(version_id="ds1", check=1, intact=False, reason="a.csv: gone")
    desk.send(damaged, actor=PLATFORM_ACTOR)
    with pytest.raises(Refused, match=r"mnist/1 is damaged: a.csv: gone; restore its files and check it first"):
        desk.send(register("ds2", parents=("ds1",)))
    assert desk.send(CheckDataset(version_id="ds1")) == [
        DatasetCheckRequested(project=PROJECT, version_id="ds1", check=2)
    ]
    desk.send(ReportDatasetChecked(version_id="ds1", check=2, intact=True), actor=PLATFORM_ACTOR)
    assert len(desk.send(register("ds2", parents=("ds1",)))) == 1


def test_a_run_reads_a_dataset_once_in_a_role(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk()
    desk.send(CreateRun(run_id="r1"))
    one = RunInput(name="mnist", digest="d1", role="training")
    other = one.model_copy(update={"role": "test"})
    assert desk.send(LogInputs(run_id="r1", inputs=(one,))) == [InputsLogged(run_id="r1", inputs=(one,))]
    assert desk.send(LogInputs(run_id="r1", inputs=(one, other))) == [InputsLogged(run_id="r1", inputs=(other,))]
    assert desk.send(LogInputs(run_id="r1", inputs=(one.model_copy(update={"role": ""}),))) == []
    monkeypatch.setattr(decide, "MAX_INPUTS_OF_A_RUN", 2)
    with pytest.raises(Refused, match="the run would have more than 2 inputs"):
        desk.send(LogInputs(run_id="r1", inputs=(one.model_copy(update={"digest": "d2"}),)))
