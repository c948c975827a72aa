"""Templates of pipelines: a pipeline with places left open, kept to be used again and judged by those who used it.

DefinePipelineTemplate ─► PipelineTemplateDefined, a revision
RatePipelineTemplate ─► PipelineTemplateRated; DeletePipelineTemplate ─► PipelineTemplateDeleted
UsePipelineTemplate ─► PipelineTemplateUsed
PipelineTemplateUsed ─► (the pipeline) PipelineDefined, unless it is such already, and PipelineTemplateApplied
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints, model_validator

from events.language.base import Command, Event, Model
from events.language.common import Identifier, OptionalIdentifier, ProjectName, Timestamp
from events.language.objects import ObjectRef
from events.language.pipelines.connections import DataSourceType
from events.language.pipelines.formats import Columns, FileFormat
from events.language.pipelines.parameters import Parameters
from events.language.pipelines.pipeline import (
    Note,
    PipelineName,
    PipelineSpec,
    TemplateRevision,
    VersionNumber,
    WorkerResources,
)
from events.language.pipelines.quality import MAX_RULE_COLUMNS
from events.language.pipelines.sinks import DataSink, WriteMode
from events.language.pipelines.sources import DataSource
from events.language.pipelines.stages import Description, InputName, StageId
from events.language.ratings import Comment, Stars

MAX_REQUIREMENTS = 100
"""Most sources of a template, and most sinks."""

Category = Annotated[str, StringConstraints(pattern=r"^$|^[a-z0-9][a-z0-9-]{0,62}$"), Field(examples=["ingestion"])]
"""What a template is for, in a word: 1 to 63 lower-case letters, digits and hyphens."""

_Count = Annotated[int, Field(ge=0, lt=1 << 31)]


class TemplateInput(Model):
    """An input of a stage, whether the stage has it already or not."""

    stage: StageId
    input: InputName


class RequiredSource(Model):
    """What a use of a template says where to read. What the definition has in its places is an example."""

    description: Description = ""
    type: DataSourceType | None = None
    """The kind of place that it must be; None: any."""
    format: FileFormat | None = None
    """How its rows must be written; None: in any way. A source that says no format has that one."""
    columns: Columns = Field(default=(), max_length=MAX_RULE_COLUMNS)
    """Columns that it must have. Where a use says the source's columns, they are held against these, types too; runs
    hold the rows against the names, and against those whose values may not be missing."""
    feeds: tuple[TemplateInput, ...] = Field(min_length=1, max_length=100)
    """The inputs that it becomes."""


class RequiredSink(Model):
    """What a use of a template says where to write."""

    description: Description = ""
    type: DataSourceType | None = None
    format: FileFormat | None = None
    """How the rows are to be written; None: in any way. A sink that says no format has that one."""
    mode: WriteMode | None = None
    """What must become of the rows that it has; None: anything."""
    stage: StageId
    """Whose rows it takes."""


class Parallelism(Model):
    """How much of a pipeline is worked on at a time; what is None is as the pipeline says."""

    max_active_runs: int | None = Field(default=None, ge=1, le=1_000)
    max_parallel_stages: int | None = Field(default=None, ge=1, le=1_000)
    max_workers: int | None = Field(default=None, ge=1, le=1_000)

    def said(self) -> dict[str, int]:
        """What is not None."""
        return {name: value for name, value in self if value is not None}


class TemplatePractices(Model):
    """What is recommended for the pipelines that are made of a template, and is theirs unless a use says otherwise."""

    parallelism: Parallelism = Parallelism()
    worker: WorkerResources | None = None
    """What each of the pipeline's workers has; None: as the pipeline says."""
    notes: Description = ""
    """What to heed, for people."""


class PipelineTemplateSpec(Model):
    """A template of pipelines: the values that a user gives."""

    description: Description = ""
    category: Category = ""
    definition: PipelineSpec
    """The pipeline; its parameters have the defaults that a use may replace."""
    sources: dict[InputName, RequiredSource] = Field(default_factory=dict, max_length=MAX_REQUIREMENTS)
    """What a use must bind, by the names that it does so with."""
    sinks: dict[InputName, RequiredSink] = Field(default_factory=dict, max_length=MAX_REQUIREMENTS)
    practices: TemplatePractices = TemplatePractices()

    @model_validator(mode="after")
    def _places_once(self) -> PipelineTemplateSpec:
        places = [f"{each.stage}.{each.input}" for source in self.sources.values() for each in source.feeds]
        stages = [sink.stage for sink in self.sinks.values()]
        for field, found in (("sources", places), ("sinks", stages)):
            if twice := next((each for each in found if found.count(each) > 1), ""):
                raise ValueError(f"{field} name {twice!r} twice; let one of them have it")
        return self


class PipelineTemplate(PipelineTemplateSpec):
    """A template of pipelines, as queries tell of it."""

    template_id: Identifier
    project: ProjectName
    name: PipelineName
    revision: TemplateRevision
    owner: str
    """Who defined it first."""
    uses: _Count = 0
    """How many pipelines were made of it; one that was made of it several times counts once."""
    ratings: _Count = 0
    """How many people rated it."""
    rating: Annotated[float, Field(ge=0, le=5)] = 0.0
    """The mean of their stars; 0 without any."""
    created_at: Timestamp
    updated_at: Timestamp
    """When its newest revision was defined."""
    deleted_at: Timestamp | None = None


class PipelineTemplateRating(Model):
    """What somebody thinks of a template of pipelines."""

    template_id: Identifier
    rater: str
    revision: TemplateRevision
    """The newest one then."""
    stars: Stars
    comment: str = ""
    rated_at: Timestamp


class TemplateEvent(Event):
    context: ClassVar[str] = "pipelines"
    aggregate: ClassVar[str] = "pipeline_template"
    subject_from: ClassVar[str] = "template_id"
    key_from: ClassVar[str] = "template_id"

    template_id: Identifier


class PipelineTemplateDefined(TemplateEvent):
    """It is this from here on; of a deleted one too. Pipelines that were made of it stay as they are."""

    begins: ClassVar[bool] = True

    project: ProjectName
    name: PipelineName
    revision: TemplateRevision
    spec: PipelineTemplateSpec


class PipelineTemplateRated(TemplateEvent):
    """Somebody thinks so of it, whatever they thought before."""

    rater: str
    revision: TemplateRevision
    stars: Stars
    comment: str = ""


class PipelineTemplateDeleted(TemplateEvent):
    """It is out of the lists, and no pipeline is made of it."""


class PipelineTemplateUsed(Event):
    """This pipeline is to be made of a template. The pipeline itself does so."""

    context: ClassVar[str] = "pipelines"
    aggregate: ClassVar[str] = "template_use"
    subject_from: ClassVar[str] = "use_id"
    decided_by: ClassVar[str] = "pipeline_template"
    key_from: ClassVar[str] = "template_id"
    begins: ClassVar[bool] = True

    use_id: Identifier
    template_id: Identifier
    revision: TemplateRevision
    pipeline_id: Identifier
    project: ProjectName
    name: PipelineName
    spec: PipelineSpec
    """What the pipeline becomes."""
    note: Note = ""
    first: bool
    """Whether no use of the template was for this pipeline before."""


class PipelineTemplateApplied(Event):
    """A pipeline is what a use of a template asked for."""

    context: ClassVar[str] = "pipelines"
    aggregate: ClassVar[str] = "template_use"
    subject_from: ClassVar[str] = "use_id"
    decided_by: ClassVar[str] = "pipeline"
    key_from: ClassVar[str] = "pipeline_id"
    begins: ClassVar[bool] = True

    use_id: Identifier
    pipeline_id: Identifier
    pipeline_version: VersionNumber


class TemplateCommand(Command):
    context: ClassVar[str] = "pipelines"
    aggregate: ClassVar[str] = "pipeline_template"
    subject_from: ClassVar[str] = "template_id"
    key_from: ClassVar[str] = "template_id"


class DefinePipelineTemplate(TemplateCommand):
    """Make a template of pipelines, or a new revision of it; a deleted one is back with it. A name is given once in a
    project. `template_id` follows from name and project, and may be left out."""

    assigns_id: ClassVar[bool] = True
    named_by: ClassVar[str] = "name"

    template_id: OptionalIdentifier = ""
    name: PipelineName
    spec: PipelineTemplateSpec

    def objects(self) -> Sequence[tuple[str, ObjectRef]]:
        code = self.spec.definition.code
        return [] if code is None else [("spec.definition.code", code)]


class RatePipelineTemplate(TemplateCommand):
    """Say what you think of a template: 1 to 5 stars. Each person's last word counts."""

    template_id: Identifier
    stars: Stars
    comment: Comment = ""


class DeletePipelineTemplate(TemplateCommand):
    """Take a template out of the lists; its name is free. Pipelines that were made of it stay as they are."""

    template_id: Identifier


class UsePipelineTemplate(Command):
    """Make a pipeline of a template, or a new version of the pipeline of that name. All that the template requires is
    bound, and nothing else; parameters have other defaults where some are given. It is concluded once the pipeline is
    defined."""

    context: ClassVar[str] = "pipelines"
    aggregate: ClassVar[str] = "template_use"
    subject_from: ClassVar[str] = "use_id"
    decided_by: ClassVar[str] = "pipeline_template"
    key_from: ClassVar[str] = "template_id"
    assigns_id: ClassVar[bool] = True
    id_prefix: ClassVar[str] = "tu"
    concluded_by: ClassVar[tuple[type[Event], ...]] = (PipelineTemplateApplied,)

    use_id: OptionalIdentifier = ""
    template_id: Identifier
    name: PipelineName
    """The pipeline's."""
    revision: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """The template's, if the use is meant for that one: it is refused when another is the newest. 0: the newest."""
    sources: dict[InputName, DataSource] = Field(default_factory=dict, max_length=MAX_REQUIREMENTS)
    sinks: dict[InputName, DataSink] = Field(default_factory=dict, max_length=MAX_REQUIREMENTS)
    parameters: Parameters = Field(default_factory=dict)
    """Defaults in place of the template's."""
    parallelism: Parallelism = Parallelism()
    """In place of what the template recommends."""
    worker: WorkerResources | None = None
    """In place of what the template recommends."""
    description: Description = ""
    """The pipeline's; empty: that of the template's pipeline, or the template's."""
    note: Note = ""
    """What the version is for, for people."""
