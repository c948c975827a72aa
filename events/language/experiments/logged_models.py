"""Logged models: a model that a run made, with its files, before it has a name and versions in the registry.

A logged model decides for itself, so many are logged side by side. Its project's catalogue says whether its experiment
takes it, as for runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints

from events.language.base import Command, Event, Model
from events.language.common import Identifier, OptionalDisplayName, OptionalIdentifier, ProjectName, Timestamp
from events.language.experiments.artifacts import MAX_ARTIFACTS, Artifact, objects_of
from events.language.experiments.commands import Reason, RunCommand
from events.language.experiments.events import RunEvent
from events.language.experiments.hyperparameters import MAX_ENTRIES, ParamKey, ParamValue
from events.language.experiments.models import Tags
from events.language.file_paths import FilePath
from events.language.objects import ObjectRef

MAX_MODELS = 100
"""Most models in one command about what a run uses and makes."""


class LoggedModelStatus(StrEnum):
    """Whether a logged model's files are all there. The allowed moves are in `LOGGED_MODEL_MOVES`."""

    PENDING = "pending"
    """They are on their way."""
    READY = "ready"
    """They are all there."""
    FAILED = "failed"
    """Its program gave up, or no experiment takes it."""


class LoggedModelEnd(StrEnum):
    """What becomes of a logged model; the last of `LoggedModelStatus`."""

    READY = "ready"
    FAILED = "failed"


LoggedModelName = Annotated[str, StringConstraints(max_length=250, pattern=r"^[^\x00-\x1f\x7f/:.%\"']*$")]
"""Up to 250 characters without ``/ : . % " '``, which stand before a version or a path; empty if it has none."""

_Kind = Annotated[str, Field(max_length=250)]


class LoggedModel(Model):
    """A model that was logged, as queries tell of it."""

    model_id: Identifier
    project: ProjectName
    experiment_id: OptionalIdentifier = ""
    """Empty until an experiment has taken it."""
    name: LoggedModelName = ""
    model_type: _Kind = ""
    """What its program says that it is, such as ``agent``."""
    source_run_id: OptionalIdentifier = ""
    """The run that made it."""
    status: LoggedModelStatus
    reason: str = ""
    """Why it failed."""
    owner: str
    """Who logged it."""
    params: dict[ParamKey, ParamValue] = Field(default_factory=dict)
    tags: Tags = Field(default_factory=dict)
    created_at: Timestamp
    updated_at: Timestamp
    deleted_at: Timestamp | None = None
    purged_at: Timestamp | None = None
    """When what it held was given up. Also told as of an earlier time, since that is gone then, too."""


class RunModel(Model):
    """A logged model that a run made."""

    model_id: Identifier
    step: Annotated[int, Field(ge=-(1 << 63), lt=1 << 63)] = 0
    """When in the training."""


# Events


class LoggedModelEvent(Event):
    context: ClassVar[str] = "experiments"
    aggregate: ClassVar[str] = "logged_model"
    subject_from: ClassVar[str] = "model_id"
    key_from: ClassVar[str] = "model_id"

    model_id: Identifier


class LoggedModelCreated(LoggedModelEvent):
    """A model begins, and asks its project's catalogue for its place."""

    begins: ClassVar[bool] = True

    project: ProjectName
    experiment_id: OptionalIdentifier = ""
    experiment: str = ""
    """The name of the experiment that it is to be part of; empty where the id says it."""
    name: str = ""
    model_type: str = ""
    source_run_id: OptionalIdentifier = ""
    params: dict[str, str] = Field(default_factory=dict)
    tags: dict[str, str] = Field(default_factory=dict)


class LoggedModelAdmitted(LoggedModelEvent):
    """It is one of this experiment."""

    experiment_id: Identifier


class LoggedModelNotAdmitted(LoggedModelEvent):
    """No experiment takes it, so it has failed."""

    reason: str

    def refusal(self) -> str:
        return self.reason


class LoggedModelDataLogged(LoggedModelEvent):
    """It has these parameters and tags. A tag that is null is gone."""

    params: dict[str, str] = Field(default_factory=dict)
    tags: dict[str, str | None] = Field(default_factory=dict)


class LoggedModelFilesLogged(LoggedModelEvent):
    """It has these files from here on."""

    artifacts: tuple[Artifact, ...]


class LoggedModelFilesRemoved(LoggedModelEvent):
    """It has these files no more."""

    paths: tuple[FilePath, ...]


class LoggedModelFinalized(LoggedModelEvent):
    """Its program says so; once more, if that was corrected."""

    status: LoggedModelStatus
    reason: str = ""


class LoggedModelDeleted(LoggedModelEvent):
    """It is out of the lists."""


class LoggedModelRestored(LoggedModelEvent):
    """It is in the lists again."""


class LoggedModelPlaceEvent(Event):
    """What a catalogue says to a model that asks for a place in an experiment."""

    context: ClassVar[str] = "experiments"
    aggregate: ClassVar[str] = "logged_model"
    subject_from: ClassVar[str] = "model_id"
    decided_by: ClassVar[str] = "catalogue"
    key_from: ClassVar[str] = "project"
    begins: ClassVar[bool] = True

    project: ProjectName
    model_id: Identifier


class LoggedModelEnrolled(LoggedModelPlaceEvent):
    """The experiment takes the model."""

    experiment_id: Identifier


class LoggedModelRefused(LoggedModelPlaceEvent):
    """No experiment takes the model."""

    reason: str


class RunModelsLogged(RunEvent):
    """It uses these logged models, and made those."""

    inputs: tuple[Identifier, ...] = ()
    outputs: tuple[RunModel, ...] = ()


# Commands


class CreateLoggedModel(Command):
    """Begin a model whose files come after this. An empty `model_id` is assigned. Its experiment may refuse it: then it
    has failed."""

    context: ClassVar[str] = "experiments"
    aggregate: ClassVar[str] = "logged_model"
    subject_from: ClassVar[str] = "model_id"
    key_from: ClassVar[str] = "model_id"
    assigns_id: ClassVar[bool] = True
    id_prefix: ClassVar[str] = "m-"
    concluded_by: ClassVar[tuple[type[Event], ...]] = (LoggedModelAdmitted, LoggedModelNotAdmitted)

    model_id: OptionalIdentifier = ""
    experiment_id: OptionalIdentifier = ""
    """Empty: that of the name `experiment`."""
    experiment: OptionalDisplayName = ""
    """The experiment's name, made if there is none of it; empty, with an empty id: ``Default``."""
    name: LoggedModelName = ""
    model_type: _Kind = ""
    source_run_id: OptionalIdentifier = ""
    params: dict[ParamKey, ParamValue] = Field(default_factory=dict, max_length=MAX_ENTRIES)
    tags: Tags = Field(default_factory=dict)


class LoggedModelCommand(Command):
    context: ClassVar[str] = "experiments"
    aggregate: ClassVar[str] = "logged_model"
    subject_from: ClassVar[str] = "model_id"
    key_from: ClassVar[str] = "model_id"

    model_id: Identifier


class LogLoggedModelData(LoggedModelCommand):
    """Parameters and tags of a logged model. A parameter keeps its first value; a tag without a value (null) is taken
    away."""

    params: dict[ParamKey, ParamValue] = Field(default_factory=dict, max_length=MAX_ENTRIES)
    tags: dict[ParamKey, Annotated[str, Field(max_length=8_000)] | None] = Field(
        default_factory=dict, max_length=MAX_ENTRIES
    )


class LogLoggedModelFiles(LoggedModelCommand):
    """Name files of a logged model, each by its path, as `LogArtifacts` does for runs."""

    artifacts: Annotated[tuple[Artifact, ...], Field(min_length=1, max_length=MAX_ARTIFACTS)]

    def objects(self) -> Sequence[tuple[str, ObjectRef]]:
        return objects_of(self.artifacts)


class RemoveLoggedModelFiles(LoggedModelCommand):
    """Take files out of a logged model; a folder's path takes all in it. What it had stays in the history."""

    paths: Annotated[tuple[FilePath, ...], Field(min_length=1, max_length=MAX_ARTIFACTS)]


class FinalizeLoggedModel(LoggedModelCommand):
    """Say that all files are there, or that they will not be; once more, to correct it."""

    status: LoggedModelEnd = LoggedModelEnd.READY
    reason: Reason = ""


class DeleteLoggedModel(LoggedModelCommand):
    """Take a logged model out of the lists; it can be restored."""


class RestoreLoggedModel(LoggedModelCommand):
    """Bring a deleted logged model back."""


class LogRunModels(RunCommand):
    """Say which logged models a run uses, and which it made."""

    inputs: Annotated[tuple[Identifier, ...], Field(max_length=MAX_MODELS)] = ()
    outputs: Annotated[tuple[RunModel, ...], Field(max_length=MAX_MODELS)] = ()
