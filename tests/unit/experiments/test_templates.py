"""Given a project's templates, when one is saved, rated or used, then its name, versions and what it gives hold."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from events.language import ratings
from events.language.common import ErrorCode, Refused
from events.language.experiments import (
    BasicHyperparameters,
    CreateExperiment,
    Dimension,
    DimensionKind,
    ExperimentCreated,
    HyperparameterConfig,
    ModelFramework,
    UpdateExperiment,
)
from events.language.experiments.practices import BestPractices, ValidationCheck
from events.language.experiments.search_space import SearchSpace
from events.language.experiments.templates import (
    DeleteTemplate,
    RateTemplate,
    ReviseTemplate,
    SaveTemplate,
    TemplateDeleted,
    TemplateFile,
    TemplateRated,
    TemplateRevised,
    TemplateSaved,
    TemplateSpec,
)
from events.language.objects import ObjectRef
from services.experiments.catalogue import templates
from tests.unit.experiments.desk import PROJECT, Desk

CHECK = ValidationCheck(name="good", metric="accuracy", at_least=0.5)
SPEC = TemplateSpec(
    framework=ModelFramework.PYTORCH,
    architecture="resnet50",
    experiment_type="classification",
    hyperparameters=HyperparameterConfig.model_validate(
        {"basic": {"epochs": 9, "learning_rate": 0.1}, "training": {"warmup_epochs": 2}}
    ),
    practices=BestPractices(metrics=("loss",), checks=(CHECK,)),
    search_space=SearchSpace(
        dimensions=(Dimension(name="lr", kind=DimensionKind.FLOAT, low=1e-5, high=0.1, log=True),)
    ),
)


def saved(spec: TemplateSpec = SPEC) -> Desk:
    desk = Desk()
    desk.send(SaveTemplate(template_id="et1", name="classifier", spec=spec))
    return desk


def test_a_template_is_saved_with_its_name_and_anew_as_its_next_version() -> None:
    desk = Desk()
    assert desk.send(SaveTemplate(template_id="et1", name="classifier", spec=SPEC)) == [
        TemplateSaved(project=PROJECT, template_id="et1", name="classifier", spec=SPEC)
    ]
    other = SPEC.model_copy(update={"description": "better"})
    assert desk.send(ReviseTemplate(template_id="et1", spec=other)) == [
        TemplateRevised(project=PROJECT, template_id="et1", number=2, spec=other)
    ]
    assert desk.send(ReviseTemplate(template_id="et1", spec=other)) == []


@pytest.mark.parametrize(
    ("command", "code", "problem"),
    [
        (
            SaveTemplate(name="classifier", spec=SPEC),
            ErrorCode.ALREADY_EXISTS,
            "there is a template 'classifier' already",
        ),
        (
            SaveTemplate(template_id="et1", name="b", spec=SPEC),
            ErrorCode.ALREADY_EXISTS,
            "there is a template 'et1' already",
        ),
        (
            RateTemplate(template_id="et2", stars=3),
            ErrorCode.NOT_FOUND,
            "there is no template 'et2' in this project",
        ),
        (
            CreateExperiment(name="a", template_id="et2"),
            ErrorCode.NOT_FOUND,
            "there is no template 'et2' in this project",
        ),
    ],
)
def test_what_can_not_be_is_refused(command: Any, code: ErrorCode, problem: str) -> None:
    with pytest.raises(Refused) as caught:
        saved().send(command)
    assert (caught.value.code, caught.value.message) == (code, problem)


def test_each_persons_last_word_counts() -> None:
    desk = saved()
    rated = RateTemplate(template_id="et1", stars=4, comment="quick")
    assert desk.send(rated, actor="ada") == [
        TemplateRated(project=PROJECT, template_id="et1", rater="ada", stars=4, comment="quick")
    ]
    assert desk.send(rated, actor="ada") == []
    assert len(desk.send(rated, actor="bob")) == 1
    desk.send(RateTemplate(template_id="et1", stars=5), actor="ada")
    assert desk.state("catalogue", PROJECT).templates["et1"].ratings == {"ada": (5, ""), "bob": (4, "quick")}


def test_a_template_has_so_many_ratings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ratings, "MOST_RATINGS", 1)
    desk = saved()
    desk.send(RateTemplate(template_id="et1", stars=4))
    desk.send(RateTemplate(template_id="et1", stars=5))
    with pytest.raises(Refused, match="template et1 has 1 ratings, and takes no more"):
        desk.send(RateTemplate(template_id="et1", stars=4), actor="ada")


def test_a_project_has_so_many_templates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(templates, "MOST", 1)
    desk = saved()
    with pytest.raises(Refused, match="the project has 1 templates; delete others first"):
        desk.send(SaveTemplate(name="b", spec=SPEC))
    desk.send(DeleteTemplate(template_id="et1"))
    assert len(desk.send(SaveTemplate(name="b", spec=SPEC))) == 1


def test_a_deleted_templates_name_is_free_and_nothing_is_made_of_it() -> None:
    desk = saved()
    assert desk.send(DeleteTemplate(template_id="et1")) == [TemplateDeleted(project=PROJECT, template_id="et1")]
    assert desk.send(DeleteTemplate(template_id="et1")) == []
    with pytest.raises(Refused, match="template et1 is deleted"):
        desk.send(CreateExperiment(name="a", template_id="et1"))
    with pytest.raises(Refused, match="template et1 is deleted; save another one"):
        desk.send(RateTemplate(template_id="et1", stars=1))
    assert len(desk.send(SaveTemplate(template_id="et2", name="classifier", spec=SPEC))) == 1


def test_an_experiment_has_what_its_template_gives_where_it_says_nothing() -> None:
    desk = saved()
    (made,) = desk.send(CreateExperiment(experiment_id="e1", name="a", template_id="et1"))
    assert isinstance(made, ExperimentCreated)
    assert (made.template_id, made.template_version) == ("et1", 1)
    assert (made.framework, made.experiment_type) == (ModelFramework.PYTORCH, "classification")
    assert made.hyperparameters.params() == {
        "basic.epochs": "9.0",
        "basic.learning_rate": "0.1",
        "training.warmup_epochs": "2.0",
        "architecture.model_type": "resnet50",
    }
    assert (made.practices, made.search_space) == (SPEC.practices, SPEC.search_space)
    mine = HyperparameterConfig.model_validate({"basic": {"epochs": 3}, "architecture": {"model_type": "vit"}})
    own = BestPractices(metrics=("speed",))
    (other,) = desk.send(
        CreateExperiment(name="b", template_id="et1", framework=ModelFramework.JAX, hyperparameters=mine, practices=own)
    )
    assert isinstance(other, ExperimentCreated)
    assert (other.framework, other.practices) == (ModelFramework.JAX, own)
    space = SearchSpace(dimensions=(Dimension(name="depth", kind=DimensionKind.INT, low=1, high=4),))
    (third,) = desk.send(CreateExperiment(name="c", template_id="et1", search_space=space))
    assert isinstance(third, ExperimentCreated)
    assert third.search_space == space
    assert other.hyperparameters.basic == BasicHyperparameters(epochs=3, learning_rate=0.1)
    assert other.hyperparameters.architecture.model_type == "vit"


def test_what_does_not_go_with_the_template_is_refused() -> None:
    short = HyperparameterConfig.model_validate({"basic": {"epochs": 2}})
    with pytest.raises(Refused) as caught:
        saved().send(CreateExperiment(name="a", template_id="et1", hyperparameters=short))
    assert caught.value.message == (
        "hyperparameters: with those of template classifier training.warmup_epochs is 2 and basic.epochs 2; warm up "
        "for fewer epochs"
    )


def test_an_experiments_practices_can_be_changed() -> None:
    desk = saved()
    desk.send(CreateExperiment(experiment_id="e1", name="a", template_id="et1"))
    assert desk.send(UpdateExperiment(experiment_id="e1", practices=SPEC.practices)) == []
    (updated,) = desk.send(UpdateExperiment(experiment_id="e1", practices=BestPractices()))
    assert getattr(updated, "practices", None) == BestPractices()


def _file(path: str, role: str = "other") -> dict[str, Any]:
    return TemplateFile(path=path, file=ObjectRef(digest="1" * 64, size=1), role=role).model_dump()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "fields", "problem"),
    [
        (TemplateSpec, {"files": [_file("a"), _file("a")]}, "files has a path twice"),
        (TemplateSpec, {"files": [_file("a/b"), _file("a")]}, "files has 'a' as a file and as a folder"),
        (TemplateSpec, {"files": [_file("a", "training"), _file("b", "training")]}, "files has 2 training scripts"),
        (ValidationCheck, {"name": "a", "metric": "loss"}, "says nothing of its metric"),
        (ValidationCheck, {"name": "a", "metric": "loss", "at_least": 2, "at_most": 1}, "at_least is 2 and at_most 1"),
        (BestPractices, {"checks": [CHECK, CHECK]}, "checks has 'good' twice"),
    ],
)
def test_values_fit_together(kind: Any, fields: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        kind.model_validate(fields)
