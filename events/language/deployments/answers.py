"""Deployments, their revisions and replicas, as queries answer them; their tables have these fields as columns."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from events.language.base import Model
from events.language.common import Identifier, ProjectName, Timestamp
from events.language.deployments.enums import DeploymentStatus, ReplicaStatus, RevisionStatus, RolloutStrategy
from events.language.deployments.models import DeploymentSpec, ResolvedModel, TrafficRules
from events.language.deployments.routing import RoutingTable
from events.language.deployments.scaling import ReplicaCount

_Count = Annotated[int, Field(ge=0, lt=1 << 31)]


class Deployment(Model):
    """A deployment."""

    deployment_id: Identifier
    project: ProjectName
    name: str
    owner: str
    """Who created it."""
    status: DeploymentStatus
    reason: str = ""
    """Why it is degraded or has failed."""
    spec: DeploymentSpec
    """As it was wanted last, with the number of replicas that is wanted now."""
    revision: _Count = 0
    """The one that is in place; 0 before there is one."""
    newest_revision: _Count = 0
    wanted: ReplicaCount = 0
    """How many replicas it is to have."""
    ready: _Count = 0
    """How many are ready."""
    model: ResolvedModel | None = None
    """What the revision in place serves."""
    rollout_revision: _Count = 0
    """The one that is rolled out now; 0 if none is."""
    rollout_strategy: RolloutStrategy | None = None
    rollout_step: _Count = 0
    rollout_weight: _Count = 0
    """The share of requests, in basis points, that the step is to give the revision."""
    rollout_paused: bool = False
    rollout_reason: str = ""
    """Why the last rollout was paused or rolled back."""
    rules: TrafficRules = TrafficRules()
    """Which requests go to which revision whatever its weight."""
    routing_number: Annotated[int, Field(ge=0)] = 0
    """Of the newest routing table."""
    created_at: Timestamp
    updated_at: Timestamp
    terminated_at: Timestamp | None = None


class DeploymentRevision(Model):
    """A revision of a deployment: what it was to be then."""

    deployment_id: Identifier
    revision: _Count
    project: ProjectName
    spec: DeploymentSpec
    changed: tuple[str, ...] = ()
    """What is different from the revision before, such as ``resources.cpus``."""
    note: str = ""
    """What was changed and why, as its author wrote."""
    deployer: str
    """Who made it."""
    source_revision: _Count = 0
    """The earlier revision that it repeats; 0 if it undoes nothing."""
    status: RevisionStatus
    reason: str = ""
    """Why it was rejected or rolled back."""
    model: ResolvedModel | None = None
    """What it serves."""
    crashes: _Count = 0
    """How often processes of its replicas have ended by themselves."""
    created_at: Timestamp
    updated_at: Timestamp
    started_at: Timestamp | None = None
    """When its rollout began."""
    ended_at: Timestamp | None = None
    """When its rollout was complete or was rolled back."""


class Replica(Model):
    """A replica of a deployment."""

    deployment_id: Identifier
    replica: _Count
    project: ProjectName
    revision: _Count
    job_id: Identifier
    status: ReplicaStatus
    reason: str = ""
    """Why it is not ready, or goes."""
    attempt: _Count = 0
    """Which run of its process; 0 before the first."""
    node_id: str = ""
    address: str = ""
    ports: dict[str, int] = Field(default_factory=dict)
    """By name."""
    crashes: _Count = 0
    """How often its process has ended by itself."""
    requested_at: Timestamp
    updated_at: Timestamp
    started_at: Timestamp | None = None
    """When its process started last."""
    first_started_at: Timestamp | None = None
    """When it had a process first: it has kept what it was given since."""
    ready_at: Timestamp | None = None
    """Since when it is ready."""
    ended_at: Timestamp | None = None


class Routing(Model):
    """What routers do now for a deployment."""

    deployment_id: Identifier
    project: ProjectName
    routing: RoutingTable
    changed_at: Timestamp
