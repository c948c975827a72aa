"""Templates of experiments: what an experiment begins with, kept to be used again and judged by those who used it.

The catalogue of a project decides on them, since it makes the experiments that are made of them.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints, model_validator

from events.language.base import Command, Event, Model
from events.language.common import (
    Identifier,
    OptionalIdentifier,
    OptionalProject,
    ProjectName,
    Timestamp,
    shown,
)
from events.language.experiments.enums import ModelFramework
from events.language.experiments.hyperparameters import HyperparameterConfig
from events.language.experiments.models import Description
from events.language.experiments.practices import BestPractices
from events.language.experiments.search_space import SearchSpace
from events.language.file_paths import FilePath
from events.language.jobs.spec import JobResources
from events.language.objects import ObjectRef
from events.language.ratings import Comment, Stars

MAX_FILES = 200
"""Most files of a template."""

TemplateName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$"), Field(examples=["classifier"])]
"""1 to 63 lower-case letters, digits and ``. _ -``, as one types it."""

TemplateVersion = Annotated[int, Field(ge=1, le=1_000_000)]
"""Counts how often a template was saved; the first is 1."""


class ScriptRole(StrEnum):
    """What a template's file is for."""

    TRAINING = "training"
    """The program of the experiment's job."""
    EVALUATION = "evaluation"
    PREPROCESSING = "preprocessing"
    OTHER = "other"


class TemplateFile(Model):
    """A file that an experiment's folder begins with."""

    path: FilePath
    file: ObjectRef
    """Its bytes, in the object store before the template is saved."""
    role: ScriptRole = ScriptRole.OTHER


class TemplateSpec(Model):
    """What an experiment that is made of a template begins with."""

    description: Description = ""
    framework: ModelFramework | None = None
    architecture: Annotated[str, Field(max_length=200)] = ""
    """The model's shape, such as ``resnet50``; an experiment's ``architecture.model_type`` where that says none."""
    experiment_type: Annotated[str, Field(max_length=100)] = ""
    hyperparameters: HyperparameterConfig = HyperparameterConfig()
    resources: JobResources | None = None
    """What a job of it needs."""
    files: tuple[TemplateFile, ...] = Field(default=(), max_length=MAX_FILES)
    practices: BestPractices = BestPractices()
    search_space: SearchSpace = SearchSpace()
    """What tunings of an experiment search where they say nothing else."""

    @model_validator(mode="after")
    def _files_fit_in_a_folder(self) -> TemplateSpec:
        paths = {file.path for file in self.files}
        if len(paths) < len(self.files):
            raise ValueError("files has a path twice; give each file a path of its own")
        for path in paths:
            above = path
            while slash := above.rpartition("/")[0]:
                if slash in paths:
                    raise ValueError(f"files has {shown(slash)} as a file and as a folder; rename one")
                above = slash
        trains = [file.path for file in self.files if file.role is ScriptRole.TRAINING]
        if len(trains) > 1:
            raise ValueError(f"files has {len(trains)} training scripts, and a job runs one; give the others no role")
        return self


class ExperimentTemplate(TemplateSpec):
    """A template, as queries tell of it."""

    template_id: Identifier
    project: ProjectName
    name: TemplateName
    version: TemplateVersion
    owner: str
    """Who saved it first."""
    uses: Annotated[int, Field(ge=0, lt=1 << 31)] = 0
    """How many experiments were made of it."""
    ratings: Annotated[int, Field(ge=0, lt=1 << 31)] = 0
    """How many people rated it."""
    rating: Annotated[float, Field(ge=0, le=5)] = 0.0
    """The mean of their stars; 0 without any."""
    created_at: Timestamp
    updated_at: Timestamp
    """When it was saved last."""
    deleted_at: Timestamp | None = None


class TemplateRating(Model):
    """What somebody thinks of a template."""

    template_id: Identifier
    rater: str
    project: ProjectName
    stars: Stars
    comment: str = ""
    rated_at: Timestamp


class TemplateEvent(Event):
    context: ClassVar[str] = "experiments"
    aggregate: ClassVar[str] = "template"
    subject_from: ClassVar[str] = "template_id"
    decided_by: ClassVar[str] = "catalogue"
    key_from: ClassVar[str] = "project"

    project: ProjectName
    template_id: Identifier


class TemplateSaved(TemplateEvent):
    """There is such a template from here on."""

    begins: ClassVar[bool] = True

    name: TemplateName
    spec: TemplateSpec


class TemplateRevised(TemplateEvent):
    """It is this from here on. Experiments that were made of it stay as they are."""

    number: TemplateVersion
    """Its version from here on."""
    spec: TemplateSpec


class TemplateRated(TemplateEvent):
    """Somebody thinks so of it, whatever they thought before."""

    rater: str
    stars: Stars
    comment: str = ""


class TemplateDeleted(TemplateEvent):
    """It is out of the lists, and its name is free."""


class TemplateCommand(Command):
    context: ClassVar[str] = "experiments"
    aggregate: ClassVar[str] = "template"
    subject_from: ClassVar[str] = "template_id"
    decided_by: ClassVar[str] = "catalogue"
    key_from: ClassVar[str] = "project"

    project: OptionalProject = ""
    """The command's own (`ce_project`): it may be left out, and no other is taken."""


class SaveTemplate(TemplateCommand):
    """Make a template. Its name is its project's once. An empty `template_id` is assigned."""

    assigns_id: ClassVar[bool] = True
    id_prefix: ClassVar[str] = "et"

    template_id: OptionalIdentifier = ""
    name: TemplateName
    spec: TemplateSpec


class ReviseTemplate(TemplateCommand):
    """Save a template anew, as its next version."""

    template_id: Identifier
    spec: TemplateSpec


class RateTemplate(TemplateCommand):
    """Say what you think of a template: 1 to 5 stars. Each person's last word counts."""

    template_id: Identifier
    stars: Stars
    comment: Comment = ""


class DeleteTemplate(TemplateCommand):
    """Take a template away; its name is free. Experiments that were made of it stay as they are."""

    template_id: Identifier
