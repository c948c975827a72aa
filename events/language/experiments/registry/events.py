"""Events of the model registry. One aggregate decides for a whole project (`registry`): it gives a name once, and a
number never twice."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints

from events.language.base import Event
from events.language.common import (
    Identifier,
    OptionalIdentifier,
    ProjectName,
)
from events.language.experiments.registry.models import (
    Alias,
    ApprovalRule,
    EnvironmentName,
    ModelAccess,
    ModelName,
    ModelStage,
    ModelVersionSpec,
    PromotionStatus,
    VersionNumber,
)

Period = Annotated[int, Field(ge=1, lt=1 << 31)]
"""A time in which a version has an alias, a stage or an environment; counted within its model."""
OptionalPeriod = Annotated[int, Field(ge=0, lt=1 << 31)]
"""A `Period`, or 0: none."""
Check = Annotated[int, Field(ge=1, lt=1 << 31)]
"""Counts how often a version's files are looked at."""
Finding = Annotated[str, StringConstraints(max_length=500)]


class RegistryEvent(Event):
    context: ClassVar[str] = "experiments"
    decided_by: ClassVar[str] = "registry"
    key_from: ClassVar[str] = "project"

    project: ProjectName


class ModelEvent(RegistryEvent):
    aggregate: ClassVar[str] = "model"
    subject_from: ClassVar[str] = "model_id"

    model_id: Identifier


class ModelRegistered(ModelEvent):
    """There is such a model from here on."""

    begins: ClassVar[bool] = True

    name: ModelName
    owner: str
    description: str = ""
    card: str = ""
    access: ModelAccess
    allowed: tuple[str, ...] = ()
    approval_rules: tuple[ApprovalRule, ...] = ()
    tags: dict[str, str] = Field(default_factory=dict)
    latest: Annotated[int, Field(ge=0, le=1_000_000_000)] = 0
    """Numbers up to this one were given to versions of a model that had the name before."""


class ModelUpdated(ModelEvent):
    """These parts of it are so from here on; what is left out stays, and a tag that is null is gone."""

    description: str | None = None
    card: str | None = None
    access: ModelAccess | None = None
    allowed: tuple[str, ...] = ()
    """All that it has now."""
    approval_rules: tuple[ApprovalRule, ...] = ()
    """All that it has now."""
    tags: dict[str, str | None] = Field(default_factory=dict)


class ModelRenamed(ModelEvent):
    """It has this name from here on, the number-th one of its names."""

    name: ModelName
    number: Annotated[int, Field(ge=2, lt=1 << 31)]
    latest: Annotated[int, Field(ge=0, le=1_000_000_000)] = 0
    """Numbers up to this one were given to versions of the name."""


class ModelDeleted(ModelEvent):
    """It is gone with its versions; its name is free."""

    number: Annotated[int, Field(ge=1, lt=1 << 31)]
    """Of its last name."""
    ends: tuple[Period, ...] = ()
    """What its versions had until now."""


class AliasSet(ModelEvent):
    """The alias means this version from here on."""

    alias: Alias
    number: VersionNumber
    version_id: Identifier
    period: Period
    ends: OptionalPeriod = 0


class AliasRemoved(ModelEvent):
    """The alias means nothing any more."""

    alias: Alias
    ends: Period


class EnvironmentSet(ModelEvent):
    """The version is live in the environment from here on."""

    environment: EnvironmentName
    number: VersionNumber
    version_id: Identifier
    period: Period
    ends: OptionalPeriod = 0
    reason: str = ""
    promotion_id: OptionalIdentifier = ""
    actor: str
    """Who wanted it."""


class EnvironmentCleared(ModelEvent):
    """No version is live in the environment."""

    environment: EnvironmentName
    ends: Period
    reason: str = ""


class VersionEvent(RegistryEvent):
    aggregate: ClassVar[str] = "model_version"
    subject_from: ClassVar[str] = "version_id"

    version_id: Identifier
    model_id: Identifier


class ModelVersionCreated(VersionEvent):
    """There is such a version from here on; its files are yet to be looked at."""

    begins: ClassVar[bool] = True

    number: VersionNumber
    spec: ModelVersionSpec
    notes: str = ""
    tags: dict[str, str] = Field(default_factory=dict)


class ModelVersionUpdated(VersionEvent):
    """These parts of it are so from here on; what is left out stays, and a tag that is null is gone."""

    notes: str | None = None
    tags: dict[str, str | None] = Field(default_factory=dict)


class ModelVersionDeleted(VersionEvent):
    """It is out of the lists; its number is not given again."""

    ends: OptionalPeriod = 0
    """The time that it had its stage."""


class VersionCheckRequested(VersionEvent):
    """Its files are to be looked at once more."""

    check: Check


class ModelVersionChecked(VersionEvent):
    """Each of its files was read and compared with its digest."""

    check: Check
    intact: bool
    reason: str = ""
    """What is wrong with them."""
    files: Annotated[int, Field(ge=0, lt=1 << 31)] = 0
    size_bytes: Annotated[int, Field(ge=0, lt=1 << 63)] = 0
    compression: str = ""
    warnings: tuple[str, ...] = ()

    def refusal(self) -> str:
        return self.reason


class ModelStageSet(VersionEvent):
    """It is at this stage from here on."""

    number: VersionNumber
    stage: ModelStage
    period: OptionalPeriod = 0
    """0 for the stage `none`."""
    ends: OptionalPeriod = 0


class PromotionEvent(RegistryEvent):
    aggregate: ClassVar[str] = "promotion"
    subject_from: ClassVar[str] = "promotion_id"

    promotion_id: Identifier


class PromotionRequested(PromotionEvent):
    """Somebody wants the version to be live in the environment."""

    begins: ClassVar[bool] = True

    model_id: Identifier
    version_id: Identifier
    number: VersionNumber
    environment: EnvironmentName
    requested_by: str
    reason: str = ""
    check: Check
    """The look at its files that is waited for."""


class PromotionApproved(PromotionEvent):
    """Somebody agrees."""

    approver: str
    comment: str = ""


class PromotionEnded(PromotionEvent):
    """The version is live, or will not be by this request."""

    status: PromotionStatus
    reason: str = ""

    def refusal(self) -> str:
        return self.reason
