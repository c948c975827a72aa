"""The words of pipelines: how a pipeline, a run and a stage stand."""

from __future__ import annotations

from enum import StrEnum


class PipelineStatus(StrEnum):
    """How a pipeline or one of its runs stands. The allowed moves are in `PIPELINE_MOVES` and `RUN_MOVES`."""

    DRAFT = "draft"
    """A pipeline that is defined and was never activated: it runs when it is asked to, not by itself."""
    ACTIVE = "active"
    """A pipeline that runs by its schedule and triggers too."""
    PAUSED = "paused"
    """Nothing new is started: of a pipeline no run, of a run no stage. What runs goes on."""
    QUEUED = "queued"
    """A run that waits for its turn."""
    RUNNING = "running"
    """A run whose stages are worked on."""
    COMPLETED = "completed"
    """A run that has ended; every stage has completed or was skipped."""
    FAILED = "failed"
    """A run that has ended, with a stage that failed. It may be retried."""
    CANCELLED = "cancelled"
    """A run that was ended on request; a pipeline that is retired."""


class StageStatus(StrEnum):
    """How a stage of a run stands. The allowed moves are in `STAGE_MOVES`."""

    PENDING = "pending"
    """It waits for the stages before it, or for a place."""
    RUNNING = "running"
    """A worker has it."""
    COMPLETED = "completed"
    FAILED = "failed"
    SKIPPED = "skipped"
    """It was not needed, its condition did not hold, or its failure does not count."""
    RETRYING = "retrying"
    """An attempt has failed; another one follows."""


class RunTrigger(StrEnum):
    """What a run comes from."""

    MANUAL = "manual"
    """Somebody asked for it."""
    API = "api"
    """A program asked for it."""
    SCHEDULE = "schedule"
    BACKFILL = "backfill"
    """An interval that is done afterwards."""
    EVENT = "event"
    """One of the pipeline's triggers: a topic, a dataset or files."""


class RunWhen(StrEnum):
    """How the stages before it must have ended for a stage to run."""

    ALL_OK = "all_ok"
    """All have completed; one that was skipped by its condition, or whose failure does not count, is no obstacle."""
    ANY_OK = "any_ok"
    """One has completed, as soon as it has."""
    ALL_DONE = "all_done"
    """All have ended, in whatever way."""
    ANY_FAILED = "any_failed"
    """One has failed, or was skipped because of a failure; as soon as it is so."""


class StageExecution(StrEnum):
    """Where a stage runs."""

    SHARED = "shared"
    """In a worker of its pipeline, which is kept for the next stage."""
    OWN = "own"
    """In a job of its own."""


class StageCache(StrEnum):
    """Whether a stage is done again if nothing has changed."""

    NONE = "none"
    CONTENT = "content"
    """What an earlier run made of the same inputs, parameters and code is taken."""


class StagePhase(StrEnum):
    """What a worker is to do of a stage."""

    RESOLVE = "resolve"
    """Find out what its inputs are now: whether it was done before, and what it is done for each of."""
    RUN = "run"
    """All but publishing what it writes."""
    PUBLISH = "publish"
    """Put what is committed into its place."""


class StageOutcome(StrEnum):
    """How a worker's attempt at a stage ended."""

    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    """It was stopped, as it was told to."""


class RetryOn(StrEnum):
    """Failures after which a stage is tried again."""

    ERROR = "error"
    """An error of its work, too little memory, or the end of its process."""
    TIMEOUT = "timeout"
    LOST = "lost"
    """Its worker or its node is gone."""


class StopReason(StrEnum):
    """Why an attempt is stopped."""

    CANCELLED = "cancelled"
    TIMEOUT = "timeout"
    FAIL_FAST = "fail_fast"
    """Another stage of the run has failed."""
    SILENT = "silent"
    """Its worker has said nothing for too long, and another one takes over."""


class SkipReason(StrEnum):
    """Why a stage is skipped."""

    CONDITION = "condition"
    """Its condition does not hold."""
    NOT_NEEDED = "not_needed"
    """The stages before it have ended otherwise than `run_when` asks for."""
    FAILURE = "failure"
    """It has failed, and its failure does not count (`skip_on_failure`)."""
    FAIL_FAST = "fail_fast"
    """Another stage has failed, and the run ends with that."""
    CANCELLED = "cancelled"
    """Its run was cancelled."""


class PipelineEngine(StrEnum):
    """What computes transformations."""

    DUCKDB = "duckdb"
    SPARK = "spark"
