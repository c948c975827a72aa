"""Events of deployments. One aggregate decides all of them: the deployment, with its revisions and replicas."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints

from events.language.base import Event
from events.language.common import Attempt, Identifier, OptionalIdentifier, ProjectName, Timestamp
from events.language.deployments.enums import DeploymentStatus, RollbackCause, RolloutStrategy
from events.language.deployments.models import (
    DeploymentSpec,
    Note,
    Reason,
    ReplicaNumber,
    ResolvedModel,
    TrafficRules,
)
from events.language.deployments.routing import (
    BasisPoints,
    DeploymentName,
    OptionalRevision,
    PortName,
    PortNumber,
    RevisionNumber,
    RoutingTable,
)
from events.language.deployments.scaling import ReplicaCount
from events.language.jobs.spec import JobSpec
from events.language.network import Address

FieldPath = Annotated[str, StringConstraints(max_length=500)]
"""Of a `DeploymentSpec`, such as ``resources.cpus``."""

ChangedFields = Annotated[tuple[FieldPath, ...], Field(max_length=1_000)]


class DeploymentEvent(Event):
    context: ClassVar[str] = "deployments"
    aggregate: ClassVar[str] = "deployment"
    subject_from: ClassVar[str] = "deployment_id"
    key_from: ClassVar[str] = "deployment_id"

    deployment_id: Identifier


class DeploymentCreated(DeploymentEvent):
    """There is such a deployment from here on; or once more, since the last one of its name was terminated."""

    begins: ClassVar[bool] = True

    project: ProjectName
    name: DeploymentName


class DeploymentUpdated(DeploymentEvent):
    """What replicas are not made of is as `spec` says from here on."""

    spec: DeploymentSpec
    changed: ChangedFields
    note: Note = ""


class DeploymentScaled(DeploymentEvent):
    """It is to have so many replicas from here on."""

    replicas: ReplicaCount
    before: ReplicaCount
    reason: Reason = ""


class DeploymentStatusChanged(DeploymentEvent):
    """It stands so from here on."""

    status: DeploymentStatus
    reason: Reason = ""
    """Why it is degraded or has failed."""


class TerminationRequested(DeploymentEvent):
    """It is to end: its replicas drain."""

    revision: OptionalRevision = 0
    """The one that is in place."""
    reason: Reason = ""


class RevisionCreated(DeploymentEvent):
    """There is such a revision from here on. The one before it stays in place until this one's rollout."""

    revision: RevisionNumber
    spec: DeploymentSpec
    changed: ChangedFields = ()
    """What is different from the revision before; none of a first one."""
    note: Note = ""
    source_revision: OptionalRevision = 0
    """The earlier revision that it repeats, if it undoes later ones."""
    model_number: Annotated[int, Field(ge=0, le=1_000_000_000)] = 0
    """The version of its model that it is to serve; 0: that which its spec means now."""


class RevisionResolved(DeploymentEvent):
    """It is known what the revision serves."""

    revision: RevisionNumber
    model: ResolvedModel | None = None
    """None of one that runs a command without a model."""


class RevisionRejected(DeploymentEvent):
    """The revision will not be rolled out."""

    revision: RevisionNumber
    reason: Reason
    replicas_of: OptionalRevision = 0
    """Replicas are to be as this revision says, in place of the rejected one; 0 before there is one."""


class RolloutStarted(DeploymentEvent):
    """The revision's replicas begin to take the place of those that there are."""

    revision: RevisionNumber
    from_revision: OptionalRevision = 0
    """The revision that is in place."""
    strategy: RolloutStrategy
    """That of its spec; `rolling` where there is nothing to replace."""


class RolloutStepped(DeploymentEvent):
    """The revision is to get this share of requests, as soon as enough of its replicas are ready."""

    revision: RevisionNumber
    step: Annotated[int, Field(ge=1, le=1_000_000_000)]
    """Which step of the rollout; the first is 1."""
    weight: BasisPoints
    reason: Reason = ""


class RolloutPaused(DeploymentEvent):
    """It takes no further step."""

    revision: RevisionNumber
    reason: Reason = ""


class RolloutResumed(DeploymentEvent):
    """It goes on."""

    revision: RevisionNumber


class RolloutCompleted(DeploymentEvent):
    """The revision is in place."""

    revision: RevisionNumber
    from_revision: OptionalRevision = 0
    """The one that was."""


class RolloutRolledBack(DeploymentEvent):
    """The revision's rollout was given up: what was in place before takes all requests again."""

    revision: RevisionNumber
    to_revision: OptionalRevision = 0
    cause: RollbackCause
    reason: Reason = ""
    replicas_of: OptionalRevision = 0
    """Replicas are to be as this revision says from here on; 0 where a newer one says so."""


class TrafficRulesSet(DeploymentEvent):
    """These rules hold from here on, and no others."""

    rules: TrafficRules


class ReplicaEvent(DeploymentEvent):
    replica: ReplicaNumber


class ReplicaRequested(ReplicaEvent):
    """There is to be such a replica: its job is ordered."""

    revision: RevisionNumber
    job_id: Identifier
    spec: JobSpec
    """Of the job that it is."""


class ReplicaStarted(ReplicaEvent):
    """Its process runs."""

    attempt: Attempt
    node_id: Identifier
    address: Address = ""
    """Where it is asked: its node's address."""
    ports: dict[PortName, PortNumber] = Field(default_factory=dict, max_length=16)
    """The number of each of its ports."""


class ReplicaReady(ReplicaEvent):
    """It can answer requests."""

    attempt: Attempt


class ReplicaUnready(ReplicaEvent):
    """It can't answer requests now. Its job brings it back, if it can."""

    attempt: Attempt
    reason: Reason = ""
    exited: bool = False
    """Whether its process is gone. Its job starts another one."""
    crashed: bool = False
    """Whether its process has ended by itself."""
    revision: OptionalRevision = 0
    """Its revision, whose crashes are counted; 0 in what earlier versions recorded."""
    permanent: bool = False
    """Whether its model server says that no further try would end otherwise: the model, or what is said of it, can't be
    served."""


class ReplicaDraining(ReplicaEvent):
    """It is to go: it gets no new requests."""

    reason: Reason = ""
    until: Timestamp
    """When it goes, whatever requests it still has."""


class ReplicaReleased(ReplicaEvent):
    """Its job is to end."""

    job_id: Identifier


class ReplicaEnded(ReplicaEvent):
    """Its job has ended, or was not taken."""

    job_id: OptionalIdentifier = ""
    reason: Reason = ""
    refused: bool = False
    """Whether its job was not taken: another one would not be, either."""


class RoutingChanged(DeploymentEvent):
    """Routers are to do so from here on. It is the whole of what they know of the deployment."""

    table: RoutingTable
