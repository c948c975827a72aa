"""What a deployment remembers of itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated

from pydantic import Field

from events.language.deployments.alerts import AlertType
from events.language.deployments.enums import DeploymentStatus, ReplicaStatus, RolloutStrategy
from events.language.deployments.models import DeploymentSpec, ResolvedModel, TrafficRules
from events.language.deployments.routing import WHOLE, PublicKey, RoutingTable
from services.deployments.loads import Load, Memory

MAX_REVISIONS = 20
"""Revisions whose specs are kept for an undo."""

LIVE = frozenset({ReplicaStatus.REQUESTED, ReplicaStatus.STARTED, ReplicaStatus.READY, ReplicaStatus.UNREADY})
"""A replica that is to stay, or that may."""


@dataclass(slots=True)
class Revision:
    """A revision that may be rolled out, or may come back."""

    spec: DeploymentSpec
    resolved: bool = False
    model: ResolvedModel | None = None


@dataclass(slots=True)
class Replica:
    """A replica whose job has not ended."""

    revision: int
    job_id: str
    status: ReplicaStatus = ReplicaStatus.REQUESTED
    attempt: int = 0
    address: str = ""
    ports: dict[str, int] = field(default_factory=dict)
    served: bool = False
    """Whether it was ready once: requests may be on their way to it."""
    until: datetime | None = None
    """When it is released, if it drains."""
    problem: str = ""
    """Why it was not ready last, until it is."""


@dataclass(slots=True)
class Rollout:
    """A revision on its way."""

    revision: int
    from_revision: int
    strategy: RolloutStrategy
    stepped_at: datetime
    """When it began, or stepped last."""
    behind_since: datetime | None = None
    """Since when it waits for a next replica of it to get ready."""
    step: int = 0
    weight: int = 0
    """The share of requests that it is to have, in basis points. A rolling one needs none."""
    paused: bool = False
    crashes: int = 0
    refused: bool = False
    """Whether the job of one of its replicas was not taken."""
    hopeless: bool = False
    """Whether a replica of it said, before one was ready, that no further try would end otherwise."""
    problem: str = ""
    """Why one of its replicas was not ready last."""


@dataclass(slots=True)
class Key:
    """A key of the endpoints that has not expired, or just now."""

    expires_at: datetime
    issuer: str
    public_key: PublicKey
    """Checks it."""
    revoked: bool = False


@dataclass(slots=True)
class Deployment:
    """A deployment as its events tell it."""

    status: DeploymentStatus | None = None
    """None until it is created."""
    name: str = ""
    project: str = ""
    created_at: datetime | None = None
    spec: DeploymentSpec | None = None
    """What is wanted now. Its replicas are those of the revision that is in place, or on its way there."""
    revisions: dict[int, Revision] = field(default_factory=dict)
    newest: int = 0
    """The last number of a revision."""
    stable: int = 0
    """The revision in place; 0 before there is one."""
    before: list[int] = field(default_factory=list)
    """Revisions that were in place earlier, the last one at the end."""
    unresolved: int = 0
    """The newest revision, while its model is asked for."""
    next: int = 0
    """A revision whose rollout is to begin."""
    rollout: Rollout | None = None
    replicas: dict[int, Replica] = field(default_factory=dict)
    jobs: dict[str, int] = field(default_factory=dict)
    """Job → replica."""
    last_replica: int = 0
    terminating: bool = False
    scaling: bool = False
    """Whether the number of replicas was changed and is not reached."""
    short_since: datetime | None = None
    """Since when fewer replicas are ready than wanted."""
    failures: int = 0
    """Jobs in a row that ended and were never ready."""
    retry_at: datetime | None = None
    """Before that no job is ordered in place of one that has ended."""
    trouble: str = ""
    """Why the last revision was rejected or rolled back."""
    rules: TrafficRules = field(default_factory=TrafficRules)
    keys: dict[str, Key] = field(default_factory=dict)
    """By id. Those of an earlier deployment of the name too, which are all revoked."""
    table: RoutingTable | None = None
    """The newest one."""
    memory: Memory = field(default_factory=Memory)
    """What its events tell of its load."""
    load: Annotated[Load, Field(exclude=True)] = field(default_factory=Load)
    """What is reported of it: volatile."""

    @property
    def wanted(self) -> int:
        """How many replicas there are to be."""
        return 0 if self.spec is None or self.terminating else self.spec.replicas

    def live(self, revision: int | None = None) -> Iterator[tuple[int, Replica]]:
        """Replicas that do not go; of a revision, or all."""
        for number, replica in self.replicas.items():
            if replica.status in LIVE and revision in (None, replica.revision):
                yield number, replica

    def ready(self, revision: int | None = None) -> int:
        """How many are ready."""
        return sum(replica.status is ReplicaStatus.READY for _, replica in self.live(revision))

    @property
    def unavailable(self) -> bool:
        """Whether an alert about availability fires."""
        alerts = () if self.spec is None else self.spec.alerts.alerts
        return any(alert.type is AlertType.AVAILABILITY and alert.name in self.memory.firing for alert in alerts)

    @property
    def holding(self) -> bool:
        """Whether the new replicas of a blue-green rollout have the requests, and the old ones stay for an undo."""
        rollout = self.rollout
        return rollout is not None and rollout.strategy is RolloutStrategy.BLUE_GREEN and rollout.weight == WHOLE
