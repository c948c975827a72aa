"""A field that nothing acts on is refused with its path, never ignored."""

from __future__ import annotations

from typing import Any

import pytest

from events.language.common import ErrorCode, Refused
from events.language.jobs import SubmitJob
from events.language.jobs.spec import JobSpec
from events.language.planned import planned_fields, planned_of, refuse_planned
from events.language.scheduling import ConfigureQueue, SchedulingPolicy


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
