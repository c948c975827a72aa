"""A field that nothing acts on is refused with its path, never ignored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Optional

import pytest
from pydantic import Field

from events.language.base import Model
from events.language.common import ErrorCode, Refused
from events.language.jobs import SubmitJob
from events.language.jobs.spec import JobSpec
from events.language.planned import MarkMisplaced, Planned, check_marks, planned_fields, planned_of, refuse_planned
from events.language.registry import command_types, event_types
from events.language.scheduling import ConfigureQueue, SchedulingPolicy


class Leaf(Model):
    """With a field that nothing acts on."""

    name: str = ""
    later: Annotated[str, Planned("the later one")] = ""


class Tree(Model):
    """Refers to itself."""

    leaf: Leaf | None = None
    below: tuple[Tree, ...] = ()
    named: dict[str, Tree] = Field(default_factory=dict)


class Bare(Model):
    """Refers to itself by another, and neither has such a field."""

    other: Optional[Other] = None  # noqa: UP045 - the other is not defined yet


class Other(Model):
    """See `Bare`."""

    bare: Bare | None = None


class Nested(Model):
    """With containers of containers."""

    groups: dict[str, tuple[Leaf, ...]] = Field(default_factory=dict)
    rows: tuple[tuple[Leaf, ...], ...] = ()
    maps: tuple[Mapping[str, Leaf | str], ...] = ()


def submit(**spec: Any) -> SubmitJob:
    return SubmitJob(spec=JobSpec.model_validate({"metadata": {"name": "a"}, "command": "true", **spec}))


def test_a_plain_job_has_no_planned_fields() -> None:
    assert planned_fields(submit(resources={"cpus": 4, "gpus": 1, "gpu_type": "H200"})) == []


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ({"debug_mode": True}, "spec.debug_mode"),
        ({"feature_flags": {"fast": False}}, "spec.feature_flags"),
        ({"scheduling": {"timing": {"deadline": "2027-01-01T00:00:00Z"}}}, "spec.scheduling.timing.deadline"),
        ({"environment": {"container": {"image": "alpine"}}}, "spec.environment.container.image"),
        ({"resources": {"topology": {"numa": "required"}}}, "spec.resources.topology.numa"),
        ({"monitoring": {}}, "spec.monitoring"),
        ({"distributed": {"world_size": 4}}, "spec.distributed.world_size"),
        ({"security": {"run_as_user": 1000}}, "spec.security.run_as_user"),
        ({"checkpointing": {"interval_seconds": 60}}, "spec.checkpointing.interval_seconds"),
    ],
)
def test_a_planned_field_is_named_by_its_path(spec: dict[str, Any], path: str) -> None:
    assert [error.field for error in planned_fields(submit(**spec))] == [path]


def test_the_refusal_is_unimplemented_and_names_all_of_them() -> None:
    with pytest.raises(Refused, match=r"spec.debug_mode, spec.environment.user") as refusal:
        refuse_planned(submit(debug_mode=True, environment={"user": "ada"}))
    assert refusal.value.code is ErrorCode.UNIMPLEMENTED
    assert len(refusal.value.errors) == 2


def test_only_some_values_of_a_field_may_be_planned() -> None:
    assert planned_fields(ConfigureQueue(queue="a", policy=SchedulingPolicy.FIFO)) == []
    assert planned_fields(ConfigureQueue(queue="a")) == []
    (error,) = planned_fields(ConfigureQueue(queue="a", policy=SchedulingPolicy.GANG))
    assert error.field == "policy"
    assert error.problem == "'gang' is not acted on yet"


def test_every_group_of_the_specification_is_listed_for_the_reference() -> None:
    paths = {path for path, _ in planned_of(JobSpec)}
    assert {"monitoring", "checkpointing", "distributed", "security", "environment.container"} <= paths


def paths(model: Model) -> list[str]:
    return [error.field for error in planned_fields(model)]


def test_a_model_may_refer_to_itself() -> None:
    tree = Tree.model_validate({"below": [{}, {"named": {"a": {"leaf": {"later": "x"}}}}], "leaf": {"later": "y"}})
    assert sorted(paths(tree)) == ["below[1].named.a.leaf.later", "leaf.later"]
    assert [path for path, _ in planned_of(Tree)] == ["leaf.later"]
    refuse_planned(Tree.model_validate({"below": [{"leaf": {"name": "x"}}]}))


@pytest.mark.parametrize("kind", [Bare, Other])
def test_models_that_refer_to_each_other_may_have_no_such_field(kind: type[Model]) -> None:
    refuse_planned(kind())
    assert list(planned_of(kind)) == []
    assert planned_fields(Other.model_validate({"bare": {"other": {"bare": {}}}})) == []


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"groups": {"a": [{"name": "x"}, {"later": "y"}]}}, "groups.a[1].later"),
        ({"rows": [[], [{"later": "y"}]]}, "rows[1][0].later"),
        ({"maps": [{"a": "text", "b": {"later": "y"}}]}, "maps[0].b.later"),
    ],
)
def test_containers_of_containers_are_looked_into(value: dict[str, Any], path: str) -> None:
    assert paths(Nested.model_validate(value)) == [path]
    assert {path for path, _ in planned_of(Nested)} == {"groups.later", "rows.later", "maps.later"}


LATER = Planned("the later one")


@pytest.mark.parametrize(
    "annotation",
    [
        Annotated[str, LATER] | None,
        tuple[Annotated[str, LATER], ...],
        dict[str, Annotated[str, LATER] | None],
        Annotated[tuple[Annotated[Leaf, LATER], ...], LATER],
    ],
)
def test_a_mark_that_is_not_the_fields_own_is_refused_when_the_language_is_loaded(annotation: Any) -> None:
    class Odd(Model):
        """With a mark that marks no field."""

        field: annotation = None

    class Outer(Model):
        """Has it further down."""

        odd: tuple[Odd, ...] = ()

    with pytest.raises(
        MarkMisplaced, match=r"Odd.field: a mark Planned is inside .*; write Annotated\[\.\.\., Planned"
    ):
        check_marks([Tree, Outer])


def test_the_languages_own_marks_are_in_their_places() -> None:
    check_marks([*command_types().values(), *event_types().values()])
