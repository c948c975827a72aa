"""What commands and events of jobs tell of tasks: starts, exits and their reasons, usage."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints, model_validator

from events.language.base import Model
from events.language.common import (
    Attempt,
    DeviceIndex,
    Identifier,
    OptionalIdentifier,
    TaskNumber,
    Timestamp,
)
from events.language.jobs.spec_service import MAX_PORTS
from events.language.network import Address, Port, PortName
from events.language.objects import ObjectRef

MAX_READINESS_REASON = 500


class ExitReason(StrEnum):
    """Why a task's process is no more."""

    EXITED = "exited"
    """It ended by itself; see `exit_code` or `signal`."""
    TIMEOUT = "timeout"
    """Stopped at its runtime limit."""
    STOPPED = "stopped"
    """Stopped on request (cancel, drain, preemption)."""
    OUT_OF_MEMORY = "out_of_memory"
    """Killed at its memory limit."""
    SPAWN_FAILED = "spawn_failed"
    """It could not be started; `message` says why."""
    LOST = "lost"
    """Its node was lost, or lost contact with the log; it is no fault of the task's."""
    UNTRACKED = "untracked"
    """What watched over it on its node is gone, so its exit status is not known; the task itself can have ended that.
    Counts as a failure; `message` says what is known."""
    UNHEALTHY = "unhealthy"
    """Stopped since it failed its startup or liveness probe too often; `message` says how. Counts as a failure."""


class TaskStart(Model):
    """A task's process is running."""

    task: TaskNumber
    attempt: Attempt
    allocation_id: Identifier
    pid: int = Field(ge=0, le=2_147_483_647)
    started_at: Timestamp
    gpus: tuple[DeviceIndex, ...] = ()
    """Indices of the GPU devices it was given."""
    address: Address = ""
    """Where a service's task is called: its node's address. Empty if its job is no service."""
    ports: dict[PortName, Port] = Field(default_factory=dict, max_length=MAX_PORTS)
    """The number of each of a service's ports."""


class TaskReadiness(Model):
    """Whether a service's task may be called, and since when."""

    task: TaskNumber
    attempt: Attempt
    ready: bool
    changed_at: Timestamp
    """By the clock of its node. Of two of one attempt, the later one counts."""
    reason: Annotated[str, Field(max_length=MAX_READINESS_REASON)] = ""
    """Why it may not be called; empty if it may."""


class TaskUsage(Model):
    """What a task's process tree used: CPU and memory from wait4(2), time and GPUs from its node's agent."""

    cpu_seconds: float = Field(default=0.0, ge=0)
    max_rss_bytes: int = Field(default=0, ge=0)
    wall_seconds: float = Field(default=0.0, ge=0)
    """From its start to its end."""
    gpu_seconds: float = Field(default=0.0, ge=0)
    """The same for each GPU that it was given, whether it used them or not."""


MAX_PRINTED_BYTES = 1 << 40
OutputDigest = Annotated[
    str,
    StringConstraints(pattern=r"^([0-9a-f]{64})?$"),
    Field(examples=["af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"]),
]
"""BLAKE3 of what was printed: 64 lower-case hexadecimal digits. Empty for no bytes."""


class OutputDigests(Model):
    """What an attempt of a task has printed, as its node's agent read it: what is stored of it is held against that."""

    stdout_bytes: int = Field(default=0, ge=0, le=MAX_PRINTED_BYTES)
    stdout_digest: OutputDigest = ""
    stderr_bytes: int = Field(default=0, ge=0, le=MAX_PRINTED_BYTES)
    stderr_digest: OutputDigest = ""


class TaskExit(Model):
    """A task's process (and all its descendants) is gone."""

    task: TaskNumber
    attempt: Attempt
    allocation_id: OptionalIdentifier = ""
    reason: ExitReason = ExitReason.EXITED
    exit_code: int | None = Field(default=None, ge=0, le=255)
    signal: int | None = Field(default=None, ge=1, le=64)
    message: Annotated[str, Field(max_length=2000)] = ""
    ended_at: Timestamp
    usage: TaskUsage = TaskUsage()
    output: OutputDigests | None = None
    """Left out where it is more than is kept, and where its node's agent could not read it all."""


MAX_OUTPUTS_MESSAGE = 1000


class TaskOutputs(Model):
    """The files of an attempt that its job keeps, or why there are none."""

    task: TaskNumber
    attempt: Attempt
    manifest: ObjectRef | None = None
    """Names the manifest, which names the files; without it there are none."""
    files: int = Field(default=0, ge=0, le=100_000)
    total_bytes: int = Field(default=0, ge=0, le=32 << 30)
    """Of all files together."""
    left_out: int = Field(default=0, ge=0)
    """Things that a pattern fits and that could not be kept."""
    message: Annotated[str, Field(max_length=MAX_OUTPUTS_MESSAGE)]
    """Why something, or all, is not kept; empty if nothing is missing."""

    @model_validator(mode="after")
    def _consistent(self) -> TaskOutputs:
        if (self.manifest is None) != (self.files == 0):
            raise ValueError("manifest: goes with files, and none without; give both or neither")
        if self.manifest is None and (self.total_bytes or not self.message):
            raise ValueError("message: says why no file is kept; without a manifest there are no bytes")
        return self
