"""What is imported, whatever it comes from: experiments, runs, models, and what was wrong with them.

A `Source` is read in one thread: it may keep open files and connections, and blocks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

MOST_PROBLEMS = 5
"""Problems of one kind that are told of one run; the rest is counted."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that is not imported, and why."""

    where: str
    problem: str

    def __str__(self) -> str:
        return f"{self.where}: {self.problem}"


class Unreadable(Exception):
    """A part of a source can't be read. The message says what is wrong and what to do, without the place."""


@dataclass(frozen=True, slots=True)
class SourceExperiment:
    key: str
    """In its source."""
    name: str
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class SourceRun:
    """A run, without what was logged to it."""

    key: str
    """Tells it from all other runs of any source of its kind, wherever it is imported from."""
    experiment: str
    """`SourceExperiment.key`."""
    name: str
    status: str
    """running, finished, failed or killed."""
    started_at: datetime | None
    ended_at: datetime | None
    deleted: bool = False
    parent: str = ""
    """Key of the run that it is part of."""
    label: str = ""
    """What it is called there, if not by its key."""

    @property
    def where(self) -> str:
        """What it is called in a trouble."""
        return f"run {self.label or self.key}"


@dataclass(frozen=True, slots=True)
class Series:
    """Points of one metric: columns of one length."""

    key: str
    dataset: str
    steps: Sequence[int]
    times: Sequence[int]
    """Milliseconds since 1970."""
    values: Sequence[float]


@dataclass(frozen=True, slots=True)
class Content:
    """What was logged to a run, but for its points."""

    params: Mapping[str, str]
    tags: Mapping[str, str]
    files: Mapping[str, Path]
    """Path in the run → file of this machine. None of them is a link out of the source."""
    troubles: Sequence[Trouble] = ()
    inputs: Sequence[Mapping[str, Any]] = ()
    """The datasets that it reads, as `LogInputs` takes them."""
    status: str = ""
    """If it says more than the run's own."""
    ended_at: datetime | None = None
    """If it says more than the run's own."""


@dataclass(frozen=True, slots=True)
class SourceVersion:
    """A version of a model."""

    key: str
    number: int
    run: str = ""
    """Key of the run that made it."""
    path: str = ""
    """Where its files are among the run's; empty for all of them."""
    files: Mapping[str, Path] = field(default_factory=dict)
    """Its files, where they are not those of its run."""
    notes: str = ""
    stage: str = "none"
    tags: Mapping[str, str] = field(default_factory=dict)
    created_at: datetime | None = None
    trouble: str = ""
    """Why it can't be imported."""


@dataclass(frozen=True, slots=True)
class SourceModel:
    name: str
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    aliases: Mapping[str, int] = field(default_factory=dict)
    """Alias → number of a version."""
    versions: Sequence[SourceVersion] = ()


@dataclass(frozen=True, slots=True)
class Contents:
    """All that a source has, in short."""

    experiments: Sequence[SourceExperiment]
    runs: Sequence[SourceRun]
    models: Sequence[SourceModel] = ()
    troubles: Sequence[Trouble] = ()
    notes: Sequence[str] = ()
    """What is left out of everything, and why; no trouble."""


class Source(Protocol):
    """Where runs come from. All methods block, and are called in one thread."""

    kind: str
    """A word, such as ``mlflow``."""

    def contents(self) -> Contents:
        """Experiments, runs, models. What can't be read is a trouble; it raises `Unreadable` only where there is
        nothing to import at all."""

    def fingerprint(self, run: SourceRun) -> str:
        """The same as long as nothing of the run, points and files among it, has changed. Raises `Unreadable`."""

    def content(self, run: SourceRun) -> Content:
        """What was logged to a run. Raises `Unreadable`."""

    def points(self, run: SourceRun, troubles: list[Trouble]) -> Iterator[Series]:
        """The points of a run, each series in pieces of at most 10,000 points. What can't be read is added to
        `troubles`, and the rest comes. Raises `Unreadable`."""

    def notes(self) -> Sequence[str]:
        """What of the runs that were read has no place here; asked for at the end. No trouble."""

    def close(self) -> None:
        """Let go of files and connections."""


class Pieces:
    """Gathers points until there are enough for a piece."""

    MOST = 10_000

    def __init__(self, key: str, dataset: str = "") -> None:
        self.key, self.dataset = key, dataset
        self._steps: list[int] = []
        self._times: list[int] = []
        self._values: list[float] = []

    def add(self, step: int, time: int, value: float) -> Series | None:
        """A piece, if it is full now."""
        self._steps.append(step)
        self._times.append(time)
        self._values.append(value)
        return self.rest() if len(self._steps) == self.MOST else None

    def rest(self) -> Series | None:
        """What has been gathered; None if there is nothing."""
        if not self._steps:
            return None
        series = Series(self.key, self.dataset, self._steps, self._times, self._values)
        self._steps, self._times, self._values = [], [], []
        return series


class Told:
    """Troubles of one place, of which only the first are told one by one."""

    def __init__(self, where: str, troubles: list[Trouble]) -> None:
        self._where, self._troubles, self._count = where, troubles, 0

    def add(self, problem: str) -> None:
        self._count += 1
        if self._count <= MOST_PROBLEMS:
            self._troubles.append(Trouble(self._where, problem))

    def end(self) -> None:
        """No more will come."""
        if self._count > MOST_PROBLEMS:
            self._troubles.append(Trouble(self._where, f"and {self._count - MOST_PROBLEMS} more like these"))
