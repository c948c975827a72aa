"""What a project's registry remembers: its models, their versions, and promotions that are under way."""

from __future__ import annotations

from dataclasses import dataclass, field

from events.language.experiments.registry import (
    ApprovalRule,
    ModelAccess,
    ModelStage,
    VersionStatus,
)


@dataclass(slots=True)
class Slot:
    """A version that an alias or an environment means."""

    number: int
    period: int


@dataclass(slots=True)
class Model:
    """A model as its events tell it."""

    name: str
    owner: str
    access: ModelAccess = ModelAccess.PROJECT
    allowed: tuple[str, ...] = ()
    rules: dict[str, ApprovalRule] = field(default_factory=dict)
    """By environment."""
    description: str = ""
    card: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    latest: int = 0
    """Number of the newest version."""
    names: int = 1
    """How many names it has had."""
    periods: int = 0
    """How often a version of it got an alias, a stage or an environment."""
    versions: dict[int, str] = field(default_factory=dict)
    """Number → id, without the deleted ones."""
    aliases: dict[str, Slot] = field(default_factory=dict)
    environments: dict[str, Slot] = field(default_factory=dict)
    deleted: bool = False


@dataclass(slots=True)
class Version:
    """A version as its events tell it."""

    model_id: str
    number: int
    status: VersionStatus = VersionStatus.PENDING
    reason: str = ""
    """Why it is damaged."""
    check: int = 1
    """The newest look at its files that was asked for."""
    checking: list[int] = field(default_factory=lambda: [1])
    """Looks at its files without an outcome."""
    stage: ModelStage = ModelStage.NONE
    period: int = 0
    """Since when it has its stage."""
    notes: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    deleted: bool = False


@dataclass(slots=True)
class Promotion:
    """A promotion that is under way."""

    model_id: str
    version_id: str
    number: int
    environment: str
    requested_by: str
    reason: str
    check: int
    """The look at the version's files that is waited for; 0 once they were found intact."""
    approved_by: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Registry:
    """Of one project."""

    models: dict[str, Model] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    """Name → id, without the deleted ones."""
    numbers: dict[str, int] = field(default_factory=dict)
    """Name → the highest number of a version that was published under it, by a model that is called otherwise now or is
    gone. So ``digits/3`` never means two things."""
    versions: dict[str, Version] = field(default_factory=dict)
    promotions: dict[str, Promotion] = field(default_factory=dict)
