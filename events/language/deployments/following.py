"""How a deployment follows an alias or an environment of its model: who follows what, and what it then means.

One aggregate decides for a whole project (`followers`): it hears the registry's events, which are by project too.
"""

from __future__ import annotations

from typing import ClassVar

from events.language.base import Command, Event
from events.language.common import Identifier, OptionalIdentifier, OptionalProject, ProjectName
from events.language.deployments.models import OptionalAlias, OptionalEnvironment
from events.language.experiments.registry.models import VersionNumber


class FollowVersion(Command):
    """From a deployment to its project's list: it is to be told when another version gets the alias, or is live in the
    environment. It follows nothing else then."""

    context: ClassVar[str] = "deployments"
    aggregate: ClassVar[str] = "deployment"
    subject_from: ClassVar[str] = "deployment_id"
    decided_by: ClassVar[str] = "followers"
    key_from: ClassVar[str] = "project"

    project: OptionalProject = ""
    """The command's own (`ce_project`)."""
    deployment_id: Identifier
    model_id: OptionalIdentifier = ""
    """Of the model; empty if there was none of its name. The alias of any model of the project is then heard of."""
    alias: OptionalAlias = ""
    environment: OptionalEnvironment = ""


class FollowingEvent(Event):
    context: ClassVar[str] = "deployments"
    aggregate: ClassVar[str] = "deployment"
    subject_from: ClassVar[str] = "deployment_id"
    decided_by: ClassVar[str] = "followers"
    key_from: ClassVar[str] = "project"

    project: ProjectName
    deployment_id: Identifier


class VersionFollowed(FollowingEvent):
    """The deployment is told from here on when another version is meant."""

    begins: ClassVar[bool] = True

    model_id: OptionalIdentifier = ""
    alias: OptionalAlias = ""
    environment: OptionalEnvironment = ""


class FollowedVersionMoved(FollowingEvent):
    """Another version has the alias, or is live in the environment: the deployment is to be renewed."""

    alias: OptionalAlias = ""
    environment: OptionalEnvironment = ""
    number: VersionNumber
    version_id: Identifier


class VersionUnfollowed(FollowingEvent):
    """The deployment is told no more: it follows nothing, or has ended."""
