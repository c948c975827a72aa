"""What commands and events of jobs tell of tasks: starts, exits and their reasons, usage."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from events.language.base import Model
from events.language.common import (
    Attempt,
    DeviceIndex,
    Identifier,
    OptionalIdentifier,
    TaskNumber,
    Timestamp,
)


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


class TaskStart(Model):
    """A task's process is running."""

    task: TaskNumber
    attempt: Attempt
    allocation_id: Identifier
    pid: int = Field(ge=0, le=2_147_483_647)
    started_at: Timestamp
    gpus: tuple[DeviceIndex, ...] = ()
    """Indices of the GPU devices it was given."""


class TaskUsage(Model):
    """What a task's process tree used, from wait4(2)."""

    cpu_seconds: float = Field(default=0.0, ge=0)
    max_rss_bytes: int = Field(default=0, ge=0)


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
