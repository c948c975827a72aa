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
