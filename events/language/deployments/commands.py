"""Commands of deployments. One aggregate decides all of them: the deployment."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, model_validator

from events.language.base import Command
from events.language.common import Identifier, OptionalIdentifier
from events.language.deployments.models import (
    DeploymentSpec,
    NewDeploymentName,
    Note,
    OptionalAlias,
    OptionalEnvironment,
    Reason,
    ResolvedModel,
    RevisionWeight,
    TrafficRules,
)
from events.language.deployments.routing import WHOLE, OptionalRevision, RevisionNumber
from events.language.deployments.scaling import ReplicaCount
from events.language.experiments.registry.models import VersionNumber


class DeploymentCommand(Command):
    context: ClassVar[str] = "deployments"
    aggregate: ClassVar[str] = "deployment"
    subject_from: ClassVar[str] = "deployment_id"
    key_from: ClassVar[str] = "deployment_id"


class CreateDeployment(DeploymentCommand):
    """Serve a model, or run a command, in replicas. A name is given once in a project; that of a terminated deployment
    is free. `deployment_id` follows from name and project, and may be left out."""

    assigns_id: ClassVar[bool] = True
    named_by: ClassVar[str] = "name"

    deployment_id: OptionalIdentifier = ""
    name: NewDeploymentName
    spec: DeploymentSpec
    note: Note = ""
    """What its first revision is for, for people."""


class OfDeployment(DeploymentCommand):
    deployment_id: Identifier


class UpdateDeployment(OfDeployment):
    """Make a deployment as `spec` says. What replicas are made of becomes a new revision, which is rolled out; the rest
    changes at once."""

    spec: DeploymentSpec
    """All of it: what it leaves out has its default."""
    note: Note = ""
    """What is changed and why, for people."""
    renew: bool = False
    """Make a revision of the same `spec` too, if its model has no number: an alias may mean another version now."""
    based_on: OptionalRevision = 0
    """The newest revision that the sender knows of: refused if there is a newer one. 0 for any."""


class ScaleDeployment(OfDeployment):
    """Change how many replicas there are to be."""

    replicas: ReplicaCount
    reason: Reason = ""


class TerminateDeployment(OfDeployment):
    """Stop all replicas of a deployment. Its history stays."""

    reason: Reason = ""


class ResolveRevision(OfDeployment):
    """From the platform: which version of its model a revision serves, or why there is none. Without either, it serves
    no model."""

    revision: RevisionNumber
    model: ResolvedModel | None = None
    problem: Reason = ""

    @model_validator(mode="after")
    def _either(self) -> ResolveRevision:
        if self.model is not None and self.problem:
            raise ValueError("model and problem are both given; a revision has the one or the other")
        return self


class RenewDeployment(OfDeployment):
    """From the platform: another version has the alias that a deployment follows, or is live in the environment."""

    alias: OptionalAlias = ""
    environment: OptionalEnvironment = ""
    number: VersionNumber
    version_id: Identifier


class SetTraffic(OfDeployment):
    """Say which requests go to which revision, beside what the rollout under way does by itself."""

    weights: tuple[RevisionWeight, ...] = Field(default=(), max_length=2)
    """Of a canary and of the revision in place, in basis points; one that is left out gets the rest. The rollout is
    paused, so that it stays as it was set. Without any, weights stay as they are."""
    rules: TrafficRules | None = None
    """All rules that there are from here on, and the shadow. Left out, they stay as they are."""

    @model_validator(mode="after")
    def _sums_up(self) -> SetTraffic:
        named = [each.revision for each in self.weights]
        if len(set(named)) < len(named):
            raise ValueError("weights names a revision twice; name each once")
        total = sum(each.weight for each in self.weights)
        if total > WHOLE or (len(named) == 2 and total != WHOLE):
            raise ValueError(
                f"weights are {total / 100:g} % together ({total} basis points), and all requests are 100 % ({WHOLE}); "
                "leave one out for the rest"
            )
        return self


class PauseRollout(OfDeployment):
    """Let the rollout under way take no further step until it is resumed."""

    reason: Reason = ""


class ResumeRollout(OfDeployment):
    """Go on with a rollout that is paused."""


class PromoteRollout(OfDeployment):
    """Take a rollout's next step now: of a canary the next percentage; of blue-green, give the new replicas the
    requests, then let the old ones go."""

    whole: bool = False
    """All steps that are left of a canary."""


class UndoRollout(OfDeployment):
    """Go back. A rollout under way is rolled back; else an earlier revision is rolled out again, as a new one."""

    to_revision: OptionalRevision = 0
    """Which one; 0: the one before the present one."""
    reason: Reason = ""
