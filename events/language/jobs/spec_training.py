"""What training asks for beside a process: checkpoints, and many processes as one. Parts of `JobSpec`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints, model_validator

from events.language.base import Model
from events.language.common import OptionalIdentifier


class CheckpointType(StrEnum):
    """What a checkpoint holds."""

    FULL = "full"
    """Everything."""
    INCREMENTAL = "incremental"
    """What changed since the checkpoint before."""
    DIFFERENTIAL = "differential"
    """What changed since the last full one."""
    SNAPSHOT = "snapshot"
    """The whole process image."""


class Compression(StrEnum):
    """How data is made smaller."""

    NONE = "none"
    LZ4 = "lz4"
    GZIP = "gzip"
    ZSTD = "zstd"


class StorageClass(StrEnum):
    """How quickly stored data must be at hand; slower is cheaper."""

    HOT = "hot"
    WARM = "warm"
    COLD = "cold"
    ARCHIVE = "archive"


class ResumeStrategy(StrEnum):
    """Where a new attempt goes on."""

    LATEST = "latest"
    """At the newest valid checkpoint."""
    BEST = "best"
    """At the one with the best metric."""
    SPECIFIC = "specific"
    """At `resume_from`."""
    RESTART = "restart"
    """From the beginning."""


class JobCheckpointing(Model):
    """When a job's state is saved, how many are kept, and where a new attempt goes on."""

    enabled: bool = True
    interval_seconds: float | None = Field(default=None, ge=1, le=2_592_000)
    interval_steps: int | None = Field(default=None, ge=1, le=1_000_000_000)
    """Training steps between checkpoints, as the job reports them."""
    type: CheckpointType = CheckpointType.FULL
    directory: Annotated[str, StringConstraints(max_length=4096)] = "checkpoints"
    """Where the job writes them, below its working directory unless absolute."""
    compression: Compression = Compression.ZSTD
    compression_level: int = Field(default=3, ge=1, le=22)
    storage_class: StorageClass = StorageClass.HOT
    max_checkpoints: int = Field(default=5, ge=1, le=10_000)
    """The oldest goes when there are more; the best is kept."""
    on_preemption: bool = True
    """Save before the process is stopped to make room."""
    timeout_seconds: float = Field(default=600.0, gt=0, le=86_400)
    """Longest time one may take."""
    auto_resume: bool = True
    resume_strategy: ResumeStrategy = ResumeStrategy.LATEST
    resume_from: OptionalIdentifier = ""
    """A checkpoint's id, with strategy `specific`."""

    @model_validator(mode="after")
    def _consistent(self) -> JobCheckpointing:
        if (self.resume_strategy is ResumeStrategy.SPECIFIC) != bool(self.resume_from):
            raise ValueError("resume_from and resume_strategy 'specific' go together: set both or neither")
        return self


class Backend(StrEnum):
    """What the processes of a distributed job talk through."""

    NCCL = "nccl"
    """GPUs."""
    GLOO = "gloo"
    """CPUs."""
    MPI = "mpi"


class GradientCompression(StrEnum):
    """How gradients are made smaller between processes."""

    NONE = "none"
    FP16 = "fp16"
    BF16 = "bf16"
    POWER_SGD = "power_sgd"
    """Low-rank approximation (Vogels et al. 2019)."""


class JobDistributed(Model):
    """One job of many processes that must run together and know each other."""

    world_size: int = Field(ge=1, le=100_000)
    """Processes in all."""
    processes_per_node: int = Field(default=1, ge=1, le=1024)
    rank: int | None = Field(default=None, ge=0, le=100_000)
    """This process's rank, where each is submitted as its own job; assigned when left out."""
    master_address: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.:_-]{0,253}$")] = ""
    """Host of rank 0; the node it is placed on when empty."""
    master_port: int = Field(default=29_500, ge=1, le=65_535)
    backend: Backend = Backend.NCCL
    gradient_compression: GradientCompression = GradientCompression.NONE
    elastic: bool = False
    """Processes may come and go between `min_world_size` and `max_world_size`."""
    min_world_size: int | None = Field(default=None, ge=1, le=100_000)
    max_world_size: int | None = Field(default=None, ge=1, le=100_000)
    rendezvous_timeout_seconds: float = Field(default=600.0, gt=0, le=86_400)
    """How long processes wait for each other."""

    @model_validator(mode="after")
    def _consistent(self) -> JobDistributed:
        if self.rank is not None and self.rank >= self.world_size:
            raise ValueError(f"rank {self.rank} is not below world_size {self.world_size}; ranks count from 0")
        if not self.elastic and (self.min_world_size is not None or self.max_world_size is not None):
            raise ValueError("min_world_size and max_world_size need elastic: true")
        if self.min_world_size is not None and self.min_world_size > self.world_size:
            raise ValueError("min_world_size is above world_size; world_size must lie between min and max")
        if self.max_world_size is not None and self.max_world_size < self.world_size:
            raise ValueError("max_world_size is below world_size; world_size must lie between min and max")
        if self.elastic and self.rank is not None:
            raise ValueError("rank can't be fixed in an elastic job; leave it out")
        return self
