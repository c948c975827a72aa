"""Registered models and their versions: the words, the values, and what queries answer.

A model is a name that versions are published under. A version is a fixed set of files: a bundle of the object store.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import BeforeValidator, Field, StringConstraints, model_validator

from events.language.base import Model
from events.language.common import DisplayName, Identifier, OptionalIdentifier, ProjectName, Timestamp, printable, shown
from events.language.experiments.enums import ModelFramework
from events.language.experiments.hyperparameters import ParamKey
from events.language.experiments.models import Description, Tags
from events.language.objects import ObjectRef


class ModelFormat(StrEnum):
    """How a version's files are to be read."""

    ONNX = "onnx"
    TORCHSCRIPT = "torchscript"
    SAFETENSORS = "safetensors"
    SAVED_MODEL = "saved_model"
    """TensorFlow's."""
    PICKLE = "pickle"
    """Python's own: reading one runs what its author wrote, so there is a warning."""
    OTHER = "other"


class Quantization(StrEnum):
    """In which numbers a model's weights are."""

    NONE = "none"
    FP16 = "fp16"
    BF16 = "bf16"
    FP8 = "fp8"
    INT8 = "int8"
    INT4 = "int4"


class Derivation(StrEnum):
    """How a version was made of its parent."""

    FINE_TUNED = "fine_tuned"
    RETRAINED = "retrained"
    DISTILLED = "distilled"
    QUANTIZED = "quantized"
    PRUNED = "pruned"
    MERGED = "merged"
    CONVERTED = "converted"
    COPIED = "copied"
    """The same files, under another name."""


class VersionStatus(StrEnum):
    """Whether a version's files are those that were registered. The allowed moves are in `VERSION_MOVES`."""

    PENDING = "pending"
    """Nobody has looked yet."""
    VERIFIED = "verified"
    """Each file has the bytes of its digest."""
    DAMAGED = "damaged"
    """A file is missing, or has other bytes. The version gets no alias, stage or environment."""


class ModelStage(StrEnum):
    """Where a version is in its life, for clients that know stages (MLflow's)."""

    NONE = "none"
    STAGING = "staging"
    PRODUCTION = "production"
    ARCHIVED = "archived"


class ModelAccess(StrEnum):
    """Who may see a model, and who may change it."""

    PROJECT = "project"
    """All of its project."""
    PUBLIC = "public"
    """All of the platform find it; its project changes it."""
    RESTRICTED = "restricted"
    """Its owner and those who are allowed."""


class PromotionStatus(StrEnum):
    """How a request stands to set a version live. The allowed moves are in `PROMOTION_MOVES`."""

    REQUESTED = "requested"
    COMPLETED = "completed"
    REJECTED = "rejected"
    """Somebody said no."""
    REFUSED = "refused"
    """The version's files are damaged."""


def _model_name(name: object) -> object:
    if isinstance(name, str):
        printable(name)
        if found := next((sign for sign in "/:@" if sign in name), ""):
            raise ValueError(f"{shown(name)} has {shown(found)}, which stands before a version; leave it out")
    return name


_NAME_SIGNS = r"/:@\x00-\x1f\x7f"

ModelName = Annotated[
    str,
    StringConstraints(min_length=1, max_length=200, pattern=rf"^[^{_NAME_SIGNS}]*[^\s{_NAME_SIGNS}][^{_NAME_SIGNS}]*$"),
    BeforeValidator(_model_name),
]
"""1 to 200 printable characters without ``/ : @``, so that ``digits/3``, ``digits@best`` and ``digits:production`` are
clear."""

Alias = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,254}$"), Field(examples=["champion"])]
"""1 to 255 letters, digits, ``. _ -``; ``latest`` and numbers as ``v3`` mean a version by themselves and are none."""

EnvironmentName = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$"), Field(examples=["production"])
]

Card = Annotated[str, StringConstraints(max_length=100_000)]
"""Markdown."""

VersionNumber = Annotated[int, Field(ge=1, le=1_000_000_000)]
"""Which version of its name; the first is 1. No number is given twice."""

Metrics = Annotated[dict[ParamKey, float], Field(max_length=1_000)]
"""Name → value."""


class ModelMetrics(Model):
    """How well a version did, when it was registered."""

    training: Metrics = Field(default_factory=dict)
    validation: Metrics = Field(default_factory=dict)
    test: Metrics = Field(default_factory=dict)


class TensorSpec(Model):
    """A column or a tensor that a model takes or gives."""

    name: Annotated[str, Field(max_length=250)] = ""
    type: Annotated[str, Field(min_length=1, max_length=100)]
    """Such as ``float32``."""
    shape: tuple[Annotated[int, Field(ge=-1, lt=1 << 31)], ...] = Field(default=(), max_length=32)
    """-1 for any length; empty for a column of a table."""
    required: bool = True


class ModelSignature(Model):
    """What a model takes and gives."""

    inputs: tuple[TensorSpec, ...] = Field(default=(), max_length=1_000)
    outputs: tuple[TensorSpec, ...] = Field(default=(), max_length=1_000)
    params: tuple[TensorSpec, ...] = Field(default=(), max_length=1_000)


class ParentVersion(Model):
    """A version that another one was made of."""

    version_id: Identifier
    derivation: Derivation


class ModelVersionSpec(Model):
    """What a version is, as it was registered. It never changes."""

    bundle: ObjectRef
    """The manifest of its files (`events.objects.manifest`), in the object store before the version is made."""
    source_run_id: OptionalIdentifier = ""
    """The run that made it."""
    artifact_path: Annotated[str, Field(max_length=1024)] = ""
    """The file or folder of that run that it is."""
    source_uri: Annotated[str, Field(max_length=2048)] = ""
    """Where its files were taken from, as the client that published it said, such as ``models:/digits/3``."""
    logged_model_id: OptionalIdentifier = ""
    """The logged model that it was made of."""
    checkpoint_id: OptionalIdentifier = ""
    """The checkpoint that it was made of."""
    framework: ModelFramework | None = None
    architecture: Annotated[str, Field(max_length=200)] = ""
    """Such as ``resnet50``."""
    parameters: Annotated[int, Field(ge=0, lt=1 << 60)] | None = None
    """How many weights it has."""
    model_format: ModelFormat = ModelFormat.OTHER
    optimization: Annotated[str, Field(max_length=200)] = ""
    """What was done to make it fast, such as ``graph fusion``."""
    quantization: Quantization = Quantization.NONE
    signature: ModelSignature = ModelSignature()
    metrics: ModelMetrics = ModelMetrics()
    parents: tuple[ParentVersion, ...] = Field(default=(), max_length=100)


class ApprovalRule(Model):
    """Who must agree before a version is live in an environment."""

    environment: EnvironmentName
    approvals: Annotated[int, Field(ge=1, le=20)] = 1
    """How many people must agree; each counts once."""
    approvers: tuple[DisplayName, ...] = Field(default=(), max_length=100)
    """Only these count; empty: everybody who may change the model."""
    by_others: bool = False
    """Whether who asks can't agree."""

    @model_validator(mode="after")
    def _enough(self) -> ApprovalRule:
        if self.approvers and len(set(self.approvers)) < self.approvals:
            raise ValueError(
                f"{self.approvals} approvals are needed, and approvers has {len(set(self.approvers))} people; name more"
            )
        return self


class RegisteredModel(Model):
    """A name that versions are published under, as queries tell of it."""

    model_id: Identifier
    project: ProjectName
    name: ModelName
    owner: str
    """Who registered it."""
    description: Description = ""
    card: Card = ""
    access: ModelAccess
    allowed: tuple[str, ...] = ()
    """Who may change it if it is `restricted`, besides its owner."""
    approval_rules: tuple[ApprovalRule, ...] = ()
    tags: Tags = Field(default_factory=dict)
    latest: Annotated[int, Field(ge=0, le=1_000_000_000)] = 0
    """Number of the newest version; 0 before there is one."""
    aliases: dict[str, int] = Field(default_factory=dict)
    """Alias → version."""
    environments: dict[str, int] = Field(default_factory=dict)
    """Environment → the version that is live there."""
    created_at: Timestamp
    updated_at: Timestamp
    deleted_at: Timestamp | None = None


class ModelVersion(ModelVersionSpec):
    """A version of a model, as queries tell of it."""

    version_id: Identifier
    model_id: Identifier
    project: ProjectName
    name: str = ""
    """The model's, as it is now."""
    number: VersionNumber
    status: VersionStatus
    reason: str = ""
    """Why it is damaged."""
    warnings: tuple[str, ...] = ()
    """What was seen in its files that one should know."""
    files: Annotated[int, Field(ge=0, lt=1 << 31)] = 0
    size_bytes: Annotated[int, Field(ge=0, lt=1 << 63)] = 0
    """Of all files; 0 until they were looked at, as is `files`."""
    compression: str = ""
    """How its largest file is compressed, such as ``gzip``; empty if it is not."""
    stage: ModelStage = ModelStage.NONE
    aliases: tuple[str, ...] = ()
    environments: tuple[str, ...] = ()
    """Where it is live."""
    notes: Description = ""
    tags: Tags = Field(default_factory=dict)
    experiment_id: OptionalIdentifier = ""
    """Of its run."""
    job_id: OptionalIdentifier = ""
    """Of its run."""
    created_by: str
    created_at: Timestamp
    updated_at: Timestamp
    checked_at: Timestamp | None = None
    deleted_at: Timestamp | None = None


class LiveVersion(Model):
    """A time in which a version had an alias, a stage, or an environment."""

    model_id: Identifier
    period: Annotated[int, Field(ge=1, lt=1 << 31)]
    """Counts them within the model."""
    project: ProjectName
    slot: Annotated[str, Field(max_length=300)]
    """``alias:champion``, ``environment:production``, ``stage:staging``."""
    version_id: Identifier
    number: VersionNumber
    actor: str
    """Who set it."""
    reason: str = ""
    promotion_id: OptionalIdentifier = ""
    began_at: Timestamp
    ended_at: Timestamp | None = None
    """None: it still is so."""


class Promotion(Model):
    """A request to set a version live in an environment, as queries tell of it."""

    promotion_id: Identifier
    model_id: Identifier
    version_id: Identifier
    project: ProjectName
    number: VersionNumber
    environment: EnvironmentName
    status: PromotionStatus
    reason: str = ""
    """Why it is asked for."""
    outcome: str = ""
    """Why it was rejected or refused."""
    requested_by: str
    approved_by: tuple[str, ...] = ()
    requested_at: Timestamp
    ended_at: Timestamp | None = None
