"""What a run remembers of itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from blake3 import blake3

from events.language.experiments import (
    Process,
    RunStatus,
)
from events.language.experiments.capture import RunCapture
from events.language.experiments.models import RunInput
from events.language.jobs.spec import JobSpec
from events.writer.dumps import Names


@dataclass(slots=True)
class Run:
    """A run as its events tell it."""

    status: RunStatus | None = None
    """None until it is created."""
    project: str = ""
    name: str = ""
    process: Process | None = None
    launches: bool = False
    """Whether the platform submits its job."""
    launched: bool = False
    """Whether it has room among those that its experiment runs at a time."""
    job: JobSpec | None = None
    """What it runs, until it is launched; None: what its experiment says."""
    admitted: bool = False
    refused: bool = False
    """Whether no experiment takes it."""
    reason: str = ""
    """Why it ended so."""
    experiment_id: str = ""
    """Empty until an experiment has taken it."""
    deleted_at: datetime | None = None
    purged: bool = False
    process_ended: bool = False
    params: dict[str, str] = field(default_factory=dict)
    """Each keeps its first value."""
    tags: dict[str, int] = field(default_factory=dict)
    """Key → bytes of key and value."""
    size: int = 0
    """Bytes of all parameters, tags and inputs; see `services.experiments.run.room`."""
    artifacts: dict[str, str] = field(default_factory=dict)
    """Path → digest of the file."""
    inputs: Names = field(default_factory=set)
    """By `input_key`."""
    models: Names = field(default_factory=set)
    """The logged models that it uses and that it made, by `model_key`."""
    best_checkpoint: str = ""
    """Path of a file or folder."""
    ends: int = 0
    """How often it has ended. An end that is corrected is the same one."""
    sealed: int = 0
    """Which of its ends was sealed last."""
    capture: str = ""
    """`capture_digest` of what was said last; empty if there is none."""
    folders: dict[str, int] = field(default_factory=dict)
    """Path → how many files are in it, at any depth."""

    @property
    def deleted(self) -> bool:
        return self.deleted_at is not None


def dataset_key(each: RunInput) -> str:
    """What makes two inputs of the same content."""
    return f"{each.name}@{each.digest}"


def input_key(each: RunInput) -> str:
    """What makes two inputs the same: content and role."""
    return f"{dataset_key(each)}\n{each.role}"


def model_key(id: str, step: int | None = None) -> str:
    """What makes two mentions of a logged model the same. `step`: of a model that the run made."""
    return id if step is None else f"{id}\n{step}"


def capture_digest(capture: RunCapture) -> str:
    """Tells one capture from another."""
    return str(blake3(capture.model_dump_json().encode()).hexdigest())
