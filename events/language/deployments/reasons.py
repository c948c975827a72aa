"""Why a deployment is as it is, as a query answers it: the last decisions with their numbers and in words."""

from __future__ import annotations

from pydantic import Field

from events.language.base import Model
from events.language.common import Identifier, ProjectName, Timestamp
from events.language.deployments.canary import CanaryJudgement
from events.language.deployments.scaling import ScalingDecision


class FiringAlert(Model):
    """An alert that fires."""

    name: Identifier
    since: Timestamp
    summary: str


class DeploymentReasons(Model):
    """Why a deployment has as many replicas as it has, and why its last rollout went as it did."""

    deployment_id: Identifier
    project: ProjectName
    replicas_reason: str = ""
    """Why their number was changed last."""
    replicas_changed_at: Timestamp | None = None
    scaling: ScalingDecision | None = None
    """The last decision of its scaling policy that changed the number."""
    standing: ScalingDecision | None = None
    """What would have been decided at `observed_at`, and what keeps it from another number."""
    standing_summary: str = ""
    observed_at: Timestamp | None = None
    rollout_reason: str = ""
    """What happened to a rollout last, and why."""
    rollout_changed_at: Timestamp | None = None
    judgement: CanaryJudgement | None = None
    """The last look at a canary."""
    judgement_summary: str = ""
    judged_at: Timestamp | None = None
    crash_reason: str = ""
    """Of which replica a process ended by itself last, and how."""
    crashed_at: Timestamp | None = None
    firing: tuple[FiringAlert, ...] = Field(default=(), max_length=100)
    """Alerts that fire now."""
    updated_at: Timestamp
