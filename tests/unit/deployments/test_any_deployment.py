"""Whatever a deployment says, its life raises nothing: what can't be is refused, or its revision is rejected."""

from __future__ import annotations

from contextlib import suppress

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from events.language.common import Refused
from events.language.deployments.commands import TerminateDeployment, UpdateDeployment
from events.language.deployments.enums import DeploymentStatus, ReplicaStatus
from events.language.deployments.models import DeploymentSpec
from tests.unit.deployments.desk import ID, Desk, version
from tests.unit.language.strategies import models


def small(spec: DeploymentSpec) -> DeploymentSpec:
    """The same with few replicas, so that a test does not take long."""
    return spec.model_copy(update={"replicas": min(spec.replicas, 3), "scaling": None})


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(models(DeploymentSpec).map(small), models(DeploymentSpec).map(small), st.booleans())
def test_it_comes_and_goes(first: DeploymentSpec, second: DeploymentSpec, crashes: bool) -> None:
    desk = Desk()
    with suppress(Refused):
        desk.create(first)
    if desk.state.status is None:
        return
    _live(desk, 1, crashes)
    with suppress(Refused):
        desk.send(UpdateDeployment(deployment_id=ID, spec=second))
    _live(desk, 2, False)
    desk.send(TerminateDeployment(deployment_id=ID))
    desk.wait(4_000)
    desk.all_released()
    assert desk.status is DeploymentStatus.TERMINATED


def _live(desk: Desk, revision: int, crashes: bool) -> None:
    """The model's version is found, and processes start; some end."""
    desk.resolve(revision, version())
    for _ in range(3):
        for number, replica in list(desk.state.replicas.items()):
            if number in desk.state.replicas and replica.status is ReplicaStatus.REQUESTED:
                desk.ready(number)
            if crashes and number in desk.state.replicas and replica.status is ReplicaStatus.READY:
                desk.crash(number)
        desk.wait(20)
        desk.all_released()
