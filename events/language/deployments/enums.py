"""The words of deployments: how a deployment stands, and its revisions, replicas and rollouts."""

from __future__ import annotations

from enum import StrEnum


class DeploymentStatus(StrEnum):
    """How a deployment stands. The allowed moves are in `DEPLOYMENT_MOVES`."""

    PENDING = "pending"
    """Its first revision's model is not resolved yet."""
    DEPLOYING = "deploying"
    """Its first replicas start."""
    RUNNING = "running"
    """It has the replicas that it is to have, which may be none."""
    UPDATING = "updating"
    """A rollout replaces its replicas."""
    SCALING = "scaling"
    """Replicas start or go, for their number was changed."""
    DEGRADED = "degraded"
    """It has had fewer ready replicas than it is to have for a while."""
    FAILED = "failed"
    """It has no ready replica, and none is expected to get ready."""
    TERMINATING = "terminating"
    """Its replicas are stopped."""
    TERMINATED = "terminated"
    """It has no replica any more. Its name is free."""


class RevisionStatus(StrEnum):
    """How a revision of a deployment stands."""

    CREATED = "created"
    """Its model is not resolved yet."""
    RESOLVED = "resolved"
    """It is known which version it serves; its rollout has not begun."""
    REJECTED = "rejected"
    """There is no such version, or it can't be served."""
    ROLLING_OUT = "rolling_out"
    ACTIVE = "active"
    """Its rollout is complete, and no later one's is."""
    ROLLED_BACK = "rolled_back"
    """Its rollout was given up."""
    RETIRED = "retired"
    """Another revision has taken its place, or its deployment has ended."""


class ReplicaStatus(StrEnum):
    """How a replica stands."""

    REQUESTED = "requested"
    """Its job is ordered; its process has not started, or is about to start again."""
    STARTED = "started"
    """Its process runs and was not ready yet."""
    READY = "ready"
    """It can answer requests."""
    UNREADY = "unready"
    """It was ready, and is not now."""
    DRAINING = "draining"
    """It gets no new requests, and ends those that it has."""
    RELEASED = "released"
    """Its job is to end."""
    ENDED = "ended"
    """Its job has ended."""


class RolloutStrategy(StrEnum):
    """How a revision takes another one's place."""

    ROLLING = "rolling"
    """Replica by replica; requests follow the ready ones."""
    BLUE_GREEN = "blue_green"
    """All replicas of the new revision first, then all requests at once. The old replicas stay for a while."""
    CANARY = "canary"
    """Some requests first, then more, step by step."""


class RollbackCause(StrEnum):
    """Why a rollout was given up."""

    DEADLINE = "deadline"
    """No replica got ready for too long."""
    CRASHES = "crashes"
    """Processes of its replicas ended by themselves too often."""
    REFUSED = "refused"
    """The job that a replica is was not taken."""
    CANARY = "canary"
    """Its requests failed more often, or took longer, than those of the revision in place."""
    ALERT = "alert"
    """An alert fired that says so."""
    REQUESTED = "requested"
    """Somebody undid it."""
    SUPERSEDED = "superseded"
    """A newer revision came before it was complete."""
    TERMINATED = "terminated"
    """Its deployment is to end."""
