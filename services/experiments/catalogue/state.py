"""What a project's catalogue remembers: its experiments, templates and tunings, and their names."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from events.language.experiments import (
    Direction,
    ExperimentStatus,
    HyperparameterConfig,
    ModelFramework,
    Visibility,
)
from events.language.experiments.launch_spec import LaunchSpec
from events.language.experiments.models import RunSources
from events.language.experiments.practices import BestPractices
from events.language.experiments.search_space import SearchSpace
from events.language.experiments.templates import TemplateSpec
from events.writer.dumps import Names

TAKING = frozenset({ExperimentStatus.DRAFT, ExperimentStatus.RUNNING})
"""Statuses in which an experiment takes runs and tunings."""


@dataclass(slots=True)
class Experiment:
    """An experiment as its events tell it."""

    name: str
    visibility: Visibility
    status: ExperimentStatus = ExperimentStatus.DRAFT
    deleted_at: datetime | None = None
    runs: int = 0
    """Number of the newest run."""
    description: str = ""
    team: str = ""
    framework: ModelFramework | None = None
    experiment_type: str = ""
    hyperparameters: HyperparameterConfig = field(default_factory=HyperparameterConfig)
    random_seed: int | None = None
    collaborators: tuple[str, ...] = ()
    tags: dict[str, str] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    practices: BestPractices = field(default_factory=BestPractices)
    sources: RunSources = field(default_factory=RunSources)
    search_space: SearchSpace = field(default_factory=SearchSpace)
    launch: LaunchSpec = field(default_factory=LaunchSpec)
    launched: dict[str, bool] = field(default_factory=dict)
    """The runs that have room now, by their ids."""

    @property
    def deleted(self) -> bool:
        return self.deleted_at is not None


FIELDS = (
    "name",
    "description",
    "team",
    "framework",
    "experiment_type",
    "hyperparameters",
    "random_seed",
    "visibility",
    "practices",
    "sources",
    "search_space",
    "launch",
)
"""What an update replaces."""

LISTS = ("collaborators", "labels")
"""What an update adds to, and takes from. (Tags are changed one by one.)"""

MOST = {"collaborators": 100, "labels": 64}
"""Of each, the most that an experiment has."""


@dataclass(slots=True)
class TuningPlace:
    """What a tuning has of its project."""

    number: int
    name: str
    directions: tuple[Direction, ...]
    deleted: bool = False


@dataclass(slots=True)
class Template:
    """A template as its events tell it."""

    name: str
    spec: TemplateSpec
    version: int = 1
    ratings: dict[str, tuple[int, str]] = field(default_factory=dict)
    """Who → stars and comment."""
    deleted: bool = False


@dataclass(slots=True)
class Catalogue:
    """Of one project."""

    experiments: dict[str, Experiment] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    """Name → id, of deleted ones too."""
    purged: Names = field(default_factory=set)
    """Ids of purged experiments, since they are not given again."""
    launching: dict[str, str] = field(default_factory=dict)
    """Run that waits to be launched, or has room → its experiment."""
    waiting: dict[str, dict[str, bool]] = field(default_factory=dict)
    """Experiment → the runs that wait, in their order."""
    tunings: dict[str, TuningPlace] = field(default_factory=dict)
    """Deleted ones too, since their numbers are not given again."""
    tuning_names: dict[str, str] = field(default_factory=dict)
    """Name → id, without deleted ones."""
    templates: dict[str, Template] = field(default_factory=dict)
    """Deleted ones too, since their ids are not given again."""
    template_names: dict[str, str] = field(default_factory=dict)
    """Name → id, without deleted ones."""


def changed(experiment: Experiment, wanted: Any) -> dict[str, Any]:
    """Of `FIELDS`, what an update or its event says and the experiment does not have yet."""
    return {
        name: value
        for name in FIELDS
        if (value := getattr(wanted, name)) is not None and value != getattr(experiment, name)
    }
