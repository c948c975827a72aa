"""What a tuning remembers of itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from events.language.experiments import (
    Direction,
    EarlyStopping,
    HyperparameterConfig,
    TrialParameter,
    TrialStatus,
    TuningLimits,
    TuningStatus,
)
from events.language.jobs.spec import JobSpec
from events.writer.dumps import Names

AT_ONCE = 1_000
"""Most events of one append where what is left follows at once: an append takes 4 MiB."""


@dataclass(slots=True)
class OpenTrial:
    """A trial that has not ended."""

    status: TrialStatus
    attempt: int = 1
    parameters: tuple[TrialParameter, ...] = ()
    """Its values, until its job is ordered."""
    job_id: str = ""
    read: bool = False
    """Whether its job is complete, and its value is being read from what the job's run has logged."""


@dataclass(slots=True)
class Tuning:
    """A tuning as its events tell it. Of a trial that has ended it remembers only that it has."""

    status: TuningStatus | None = None
    """None until it is created."""
    directions: tuple[Direction, ...] = ()
    limits: TuningLimits = field(default_factory=TuningLimits)
    early_stopping: EarlyStopping | None = None
    planned: bool = False
    """Whether the platform searches: it asks for trials itself, and chooses their values."""
    adopting: Names = field(default_factory=set)
    """Other tunings whose trials its search is to know before it begins."""
    pruning: bool = False
    """Whether it gives trials up that do not promise well."""
    job: JobSpec | None = None
    """What runs each trial."""
    experiment_id: str = ""
    """The experiment that it is of."""
    experiment: str = ""
    """The name that this had then."""
    hyperparameters: HyperparameterConfig = field(default_factory=HyperparameterConfig)
    """That experiment's."""
    logged: bool = False
    """Whether the trials' values are read from what their jobs' runs log."""
    jobs: dict[str, int] = field(default_factory=dict)
    """Job → the open trial that it runs."""
    total: int | None = None
    """How many trials there will be; None: as many as are asked for."""
    deleted: bool = False
    ends_at: datetime | None = None
    """When its time is up."""
    trials: int = 0
    """How many there are, which is the number of the next one."""
    open: dict[int, OpenTrial] = field(default_factory=dict)
    distributions: dict[str, str] = field(default_factory=dict)
    """Parameter → the distribution that it was first drawn from."""
    best: str | None = None
    """The value that counts as best for the early stopping."""
    without_gain: int = 0
    """Completed trials since then."""

    @property
    def running(self) -> int:
        return sum(trial.status is TrialStatus.RUNNING for trial in self.open.values())
