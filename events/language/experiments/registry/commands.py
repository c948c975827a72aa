"""Commands of the model registry."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from events.language.base import Command, Event
from events.language.common import (
    DisplayName,
    Identifier,
    OptionalIdentifier,
    OptionalProject,
)
from events.language.experiments.commands import Reason
from events.language.experiments.hyperparameters import MAX_ENTRIES, ParamKey
from events.language.experiments.models import Description, Tags, TagValue
from events.language.experiments.registry.events import Check, Finding, ModelVersionChecked, PromotionEnded
from events.language.experiments.registry.models import (
    Alias,
    ApprovalRule,
    Card,
    EnvironmentName,
    ModelAccess,
    ModelName,
    ModelStage,
    ModelVersionSpec,
    VersionNumber,
)

Allowed = Annotated[tuple[DisplayName, ...], Field(max_length=1_000)]
Rules = Annotated[tuple[ApprovalRule, ...], Field(max_length=50)]
TagChanges = Annotated[dict[ParamKey, TagValue | None], Field(max_length=MAX_ENTRIES)]


class RegistryCommand(Command):
    context: ClassVar[str] = "experiments"
    decided_by: ClassVar[str] = "registry"
    key_from: ClassVar[str] = "project"

    project: OptionalProject = ""
    """The command's own (`ce_project`): it may be left out, and no other is taken."""


class RegisterModel(RegistryCommand):
    """Make a model. Its name is its project's once. An empty `model_id` is assigned."""

    aggregate: ClassVar[str] = "model"
    subject_from: ClassVar[str] = "model_id"
    assigns_id: ClassVar[bool] = True
    id_prefix: ClassVar[str] = "md"

    model_id: OptionalIdentifier = ""
    name: ModelName
    description: Description = ""
    card: Card = ""
    access: ModelAccess = ModelAccess.PROJECT
    allowed: Allowed = ()
    approval_rules: Rules = ()
    tags: Tags = Field(default_factory=dict)


class ModelCommand(RegistryCommand):
    aggregate: ClassVar[str] = "model"
    subject_from: ClassVar[str] = "model_id"

    model_id: Identifier


class UpdateModel(ModelCommand):
    """Change a model; what is left out stays. A tag without a value (null) is taken away."""

    description: Description | None = None
    card: Card | None = None
    access: ModelAccess | None = None
    add_allowed: Allowed = ()
    remove_allowed: Allowed = ()
    approval_rules: Rules = ()
    """Each replaces that of its environment."""
    remove_rules: Annotated[tuple[EnvironmentName, ...], Field(max_length=50)] = ()
    """Environments that need no approval any more."""
    tags: TagChanges = Field(default_factory=dict)


class RenameModel(ModelCommand):
    """Give a model another name. Its versions, aliases and history stay its own."""

    name: ModelName


class DeleteModel(ModelCommand):
    """Take a model away with its versions. It can't be while a version is live in an environment."""


class SetAlias(ModelCommand):
    """Let an alias mean a version, whatever it meant before."""

    alias: Alias
    number: VersionNumber


class RemoveAlias(ModelCommand):
    alias: Alias


class SetEnvironment(ModelCommand):
    """Set a version live in an environment, or none (`number` left out). Where approvals are asked for, request a
    promotion instead."""

    environment: EnvironmentName
    number: VersionNumber | None = None
    reason: Reason = ""


class CreateModelVersion(RegistryCommand):
    """Publish a version of a model. It gets the next number, and is `pending` until its files were looked at."""

    aggregate: ClassVar[str] = "model_version"
    subject_from: ClassVar[str] = "version_id"
    assigns_id: ClassVar[bool] = True
    id_prefix: ClassVar[str] = "mv"
    concluded_by: ClassVar[tuple[type[Event], ...]] = (ModelVersionChecked,)

    version_id: OptionalIdentifier = ""
    model_id: Identifier
    spec: ModelVersionSpec
    notes: Description = ""
    tags: Tags = Field(default_factory=dict)


class VersionCommand(RegistryCommand):
    aggregate: ClassVar[str] = "model_version"
    subject_from: ClassVar[str] = "version_id"

    version_id: Identifier


class UpdateModelVersion(VersionCommand):
    """Change what is said of a version; its files never change. A tag without a value (null) is taken away."""

    notes: Description | None = None
    tags: TagChanges = Field(default_factory=dict)


class DeleteModelVersion(VersionCommand):
    """Take a version out of the lists, with its aliases and stage. It can't be while it is live in an environment."""


class SetModelStage(VersionCommand):
    """Set a version's stage."""

    stage: ModelStage
    archive_existing: bool = False
    """Whether all other versions of that stage are `archived`."""


class CheckModelVersion(VersionCommand):
    """Have a version's files looked at once more."""


class ReportVersionChecked(VersionCommand):
    """What a version's files are like. The platform's own worker says it."""

    check: Check
    intact: bool
    reason: Finding = ""
    files: Annotated[int, Field(ge=0, lt=1 << 31)] = 0
    size_bytes: Annotated[int, Field(ge=0, lt=1 << 63)] = 0
    compression: Annotated[str, Field(max_length=20)] = ""
    warnings: tuple[Finding, ...] = Field(default=(), max_length=100)


class RequestPromotion(RegistryCommand):
    """Ask that a version be live in an environment. Its files are looked at once more, and people have to agree where
    the model says so."""

    aggregate: ClassVar[str] = "promotion"
    subject_from: ClassVar[str] = "promotion_id"
    assigns_id: ClassVar[bool] = True
    id_prefix: ClassVar[str] = "mp"
    concluded_by: ClassVar[tuple[type[Event], ...]] = (PromotionEnded,)

    promotion_id: OptionalIdentifier = ""
    model_id: Identifier
    number: VersionNumber
    environment: EnvironmentName
    reason: Reason = ""


class PromotionCommand(RegistryCommand):
    aggregate: ClassVar[str] = "promotion"
    subject_from: ClassVar[str] = "promotion_id"

    promotion_id: Identifier


class ApprovePromotion(PromotionCommand):
    """Agree to a promotion."""

    comment: Reason = ""


class RejectPromotion(PromotionCommand):
    """End a promotion; also who asked for it may."""

    reason: Annotated[str, Field(min_length=1, max_length=500)]
