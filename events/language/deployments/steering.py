"""Commands and events by which a deployment follows its load: reports, settings, and decisions with all their numbers.

Reports are quiet: they change nothing by themselves, and the log does not have them. What is decided on them is an
event that holds all that the decision saw.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from events.language.base import Model
from events.language.common import Identifier, Timestamp
from events.language.deployments.alerts import AlertFinding, AlertSettings
from events.language.deployments.canary import CanaryJudgement
from events.language.deployments.commands import OfDeployment
from events.language.deployments.events import DeploymentEvent
from events.language.deployments.models import Reason
from events.language.deployments.scaling import AutoScalingPolicy, ScalingDecision
from events.language.deployments.traffic import ReplicaUsage, TrafficCounts


class ReportTraffic(OfDeployment):
    """From a router, each second: what it has counted since it started."""

    quiet: ClassVar[bool] = True

    router: Identifier
    counts: TrafficCounts


class ReportUsage(OfDeployment):
    """From a node's agent, every ten seconds: what the deployment's replicas there use."""

    quiet: ClassVar[bool] = True
    by_agents: ClassVar[bool] = True

    replicas: Annotated[tuple[ReplicaUsage, ...], Field(min_length=1, max_length=200)]


class ReportDemand(OfDeployment):
    """From a router, at once: requests came and no replica is ready."""

    quiet: ClassVar[bool] = True

    router: Identifier
    held: Annotated[int, Field(ge=1, le=1_000_000)]
    """How many it holds until one is."""


class SetAutoScaling(OfDeployment):
    """Let the number of replicas follow the load by another policy, or by none."""

    policy: AutoScalingPolicy | None = None
    """None: the number stays as it is."""


class SetAlerts(OfDeployment):
    """Have other alerts. Those that are left out are over."""

    settings: AlertSettings


class ScalingDecided(DeploymentEvent):
    """The number of replicas is changed, and this is why. `DeploymentScaled` follows."""

    decision: ScalingDecision
    summary: Reason
    """The decision in words."""


class MinuteLoad(Model):
    """The load of one minute."""

    minute: Timestamp
    """When it began."""
    rps: float = Field(ge=0, le=1e12)
    """Requests per second, on average."""


class LoadObserved(DeploymentEvent):
    """The load of the last minutes, of a deployment that scales: what forecasts are made of."""

    minutes: Annotated[tuple[MinuteLoad, ...], Field(max_length=10)] = ()
    """Those that were watched from begin to end."""
    standing: ScalingDecision
    """What would be decided now: it changes nothing, and says why not."""
    summary: Reason
    """That in words."""


class CanaryJudged(DeploymentEvent):
    """A look at the canary that is rolled out."""

    judgement: CanaryJudgement
    summary: Reason
    """The judgement in words."""


class AlertFired(DeploymentEvent):
    """An alert's windows breach. What the alert says is done follows."""

    name: Identifier
    finding: AlertFinding
    summary: Reason
    """The finding in words."""


class AlertResolved(DeploymentEvent):
    """An alert that fired is over."""

    name: Identifier
    value: float | None = Field(default=None, ge=-1e300, le=1e300)
    """Of the window that does not breach; None for an alert that is no longer set."""
