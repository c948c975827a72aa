"""A stage of a pipeline: what it takes, what it does, and when."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints, model_validator

from events.language.base import Model
from events.language.jobs.spec import JobSpec
from events.language.pipelines.conditions import Condition
from events.language.pipelines.enums import RetryOn, RunWhen, StageCache, StageExecution
from events.language.pipelines.quality import MAX_RULES, DataQualityRule
from events.language.pipelines.sinks import DataSink
from events.language.pipelines.sources import DataSource
from events.language.pipelines.transformations import Transformation

MAX_TASKS = 10_000
"""Most tasks of a stage that is done for each of something."""


def too_many_tasks(count: int) -> tuple[str, str]:
    """What is wrong with more than `MAX_TASKS`, and what to do."""
    problem = f"there are {count:,} of them, and a stage has at most {MAX_TASKS:,} tasks"
    return problem, "let a task do several: group them in a stage before"


StageId = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?$"), Field(examples=["clean"])]
"""1 to 63 lower-case letters, digits, ``_`` and ``-``, with a letter or digit at both ends. Its pipeline has no other
stage of this id."""

OptionalStageId = Annotated[str, StringConstraints(pattern=r"^$|^[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?$")]

InputName = Annotated[str, StringConstraints(pattern=r"^[a-z_][a-z0-9_]{0,62}$"), Field(examples=["raw"])]
"""What a stage calls one of its inputs: 1 to 63 lower-case letters, digits and ``_``, no digit first. SQL and Python
know the input by it."""

OptionalInputName = Annotated[str, StringConstraints(pattern=r"^$|^[a-z_][a-z0-9_]{0,62}$")]

Description = Annotated[str, StringConstraints(max_length=4_000)]

TaskCount = Annotated[int, Field(ge=0, le=MAX_TASKS)]


class StageInput(Model):
    """One input of a stage: the output of another stage, or a source."""

    stage: OptionalStageId = ""
    """The stage whose output it is; empty: it is a source."""
    source: DataSource | None = None

    @model_validator(mode="after")
    def _one(self) -> StageInput:
        if bool(self.stage) is (self.source is not None):
            problem = "both given" if self.stage else "both left out"
            raise ValueError(f"stage and source are {problem}; give the stage that it comes from, or a source")
        return self


class ForEach(Model):
    """What a stage is done for each of, in tasks of their own. One of the fields is given."""

    count: TaskCount = 0
    """So many tasks, by number from 0 on."""
    items: tuple[Annotated[str, StringConstraints(max_length=1_000)], ...] = Field(default=(), max_length=MAX_TASKS)
    """These texts."""
    input: OptionalInputName = ""
    """The rows of this input, or the items of the list that its stage's function returned; of a source of files, its
    files."""

    @model_validator(mode="after")
    def _one(self) -> ForEach:
        given = [name for name in ("count", "items", "input") if getattr(self, name)]
        if len(given) != 1:
            found = " and ".join(given) or "none of its fields"
            raise ValueError(f"has {found}; give one of count, items and input")
        return self

    @property
    def known(self) -> int:
        """How many tasks there are, if that needs no look at data; else 0."""
        return self.count or len(self.items)


class StageRetry(Model):
    """When a stage that failed is tried again."""

    max: int = Field(default=0, ge=0, le=100)
    """How often. The first two losses of its worker do not count."""
    on: tuple[RetryOn, ...] = Field(default=(), max_length=3)
    """After which failures; after any of them when empty."""
    backoff_seconds: float = Field(default=1.0, ge=0, le=86_400)
    """Wait before the second attempt."""
    factor: float = Field(default=2.0, ge=1, le=10)
    """By which each further wait is longer than the one before."""
    max_backoff_seconds: float = Field(default=300.0, ge=0, le=86_400)
    jitter: float = Field(default=0.1, ge=0, le=1)
    """By which share a wait may be longer, so that stages that failed together do not come back together."""


class StageResources(Model):
    """What a stage needs. What is more than its pipeline's workers have makes it run in a job of its own."""

    cpus: float | None = Field(default=None, gt=0, le=4096)
    """None: as many as the workers have."""
    memory_bytes: int | None = Field(default=None, ge=64 << 20, le=1 << 50)
    gpus: int = Field(default=0, ge=0, le=1024)


class StageSpec(Model):
    """One stage. It begins when the stages that it names, by `after` or as an input, have ended."""

    id: StageId
    name: Annotated[str, StringConstraints(max_length=200)] = ""
    """For people; empty: its id."""
    description: Description = ""
    after: tuple[StageId, ...] = Field(default=(), max_length=1_000)
    """Stages that it waits for without taking their output."""
    inputs: dict[InputName, StageInput] = Field(default_factory=dict, max_length=100)
    transformations: tuple[Transformation, ...] = Field(default=(), max_length=1_000)
    """In their order; the result of the last one is the stage's. Without any it is that of its only input."""
    sink: DataSink | None = None
    """Where its rows go; None: to the stages that take its output."""
    rules: tuple[DataQualityRule, ...] = Field(default=(), max_length=MAX_RULES)
    """What its rows must be."""
    job: JobSpec | None = None
    """A job that is run in place of all that; the stage completes with it."""
    condition: Condition = ""
    """An expression of CEL, such as ``stages.load.rows > 0``: if it is false when the stage could begin, the stage is
    skipped. Empty: none."""
    run_when: RunWhen = RunWhen.ALL_OK
    skip_on_failure: bool = False
    """Whether its failure does not count: it is skipped then."""
    for_each: ForEach | None = None
    parallelism: int | None = Field(default=None, ge=1, le=1_000)
    """How many of its pipeline's workers may do its tasks at a time; None: all."""
    retry: StageRetry = StageRetry()
    timeout_seconds: float | None = Field(default=None, gt=0, le=31_536_000)
    """Longest time of an attempt, from its start on; None: any. An attempt that takes longer is stopped and has
    failed. Publishing what it wrote may take as long again; ten minutes without a limit."""
    resources: StageResources = StageResources()
    execution: StageExecution = StageExecution.SHARED
    executors: Annotated[int, Field(ge=0, le=10_000)] = 0
    """Of a Spark of the worker's own: processes on its node, between which the stage's CPUs and Spark's half of its
    memory are divided; each needs 512 MiB, and so does their driver. 0: it works in threads of one process."""
    cache: StageCache = StageCache.NONE

    def needs(self) -> tuple[str, ...]:
        """The ids of the stages that it waits for, each once, in the order in which it names them."""
        return tuple(dict.fromkeys([*self.after, *(each.stage for each in self.inputs.values() if each.stage)]))

    @model_validator(mode="after")
    def _of_a_job(self) -> StageSpec:
        if self.job is None:
            return self
        others = ("inputs", "transformations", "sink", "rules", "for_each")
        if given := [name for name in others if getattr(self, name)]:
            raise ValueError(f"job and {given[0]} are both given; a stage that is a job has no {given[0]}")
        if self.job.array is not None or self.job.depends_on or self.job.service is not None:
            raise ValueError("job is an array, depends on jobs or is a service; a stage's job is a single task")
        if self.cache is not StageCache.NONE:
            raise ValueError("cache is nothing of a stage that is a job; leave it out")
        return self

    @model_validator(mode="after")
    def _of_tasks(self) -> StageSpec:
        each = self.for_each
        if each is None:
            return self
        if self.sink is not None:
            raise ValueError("sink and for_each are both given; let another stage write what the tasks return")
        if each.input and each.input not in self.inputs:
            raise ValueError(f"for_each.input is {each.input!r}, and the stage has no such input; name one that it has")
        return self
