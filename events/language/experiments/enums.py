"""The words of experiments: statuses, frameworks, who may see what."""

from __future__ import annotations

from enum import StrEnum


class ModelFramework(StrEnum):
    """The library that a model is made with."""

    PYTORCH = "pytorch"
    TENSORFLOW = "tensorflow"
    JAX = "jax"
    HUGGINGFACE = "huggingface"
    CUSTOM = "custom"
    """None of these, such as scikit-learn or XGBoost."""


class ExperimentStatus(StrEnum):
    """How an experiment stands. The allowed moves are in `EXPERIMENT_MOVES`."""

    DRAFT = "draft"
    """Made, and without runs."""
    RUNNING = "running"
    """It takes runs."""
    PAUSED = "paused"
    """It takes no new runs for now; those that run go on."""
    COMPLETED = "completed"
    """It has its result."""
    FAILED = "failed"
    """It was given up."""
    ARCHIVED = "archived"
    """Kept to be read; it changes no more."""


class RunStatus(StrEnum):
    """How a run stands. The allowed moves are in `RUN_MOVES`."""

    SCHEDULED = "scheduled"
    """Its job waits, or its program has not begun."""
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    """Its program failed, or the experiment does not take it."""
    KILLED = "killed"
    """It was stopped from outside."""


class RunEnd(StrEnum):
    """How a run ends; the last of `RunStatus`."""

    FINISHED = "finished"
    FAILED = "failed"
    KILLED = "killed"


ENDED = tuple(RunStatus(each) for each in RunEnd)
"""The statuses of runs that have ended."""


class Visibility(StrEnum):
    """Who finds an experiment in lists."""

    PRIVATE = "private"
    """Its owner and its collaborators."""
    PROJECT = "project"
    """All of its project."""
    PUBLIC = "public"
    """All of the platform."""


class MixedPrecision(StrEnum):
    """In which numbers a model is trained."""

    NONE = "none"
    FP16 = "fp16"
    BF16 = "bf16"
    FP8 = "fp8"


class DistributedStrategy(StrEnum):
    """How training is spread over devices."""

    NONE = "none"
    DATA_PARALLEL = "data_parallel"
    """A copy of the model on each device (PyTorch DDP, tf.distribute mirrored)."""
    FULLY_SHARDED = "fully_sharded"
    """Parameters, gradients and optimizer states divided between devices (FSDP, ZeRO)."""
    TENSOR_PARALLEL = "tensor_parallel"
    PIPELINE_PARALLEL = "pipeline_parallel"
