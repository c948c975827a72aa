"""What the engine knows of the tunings that it searches for: a fold of the log. Pure; knows no Optuna.

Only tunings with a plan are kept, and only until they end.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from events.language.base import Message
from events.language.experiments import (
    TRIAL_ENDS,
    TUNING_ENDS,
    Direction,
    Scope,
    TrialAdded,
    TrialAttributeSet,
    TrialEnded,
    TrialEvent,
    TrialParameter,
    TrialProposed,
    TrialReported,
    TrialRequeued,
    TrialStarted,
    TrialStatus,
    TuningCreated,
    TuningDeleted,
    TuningEvent,
    TuningPlan,
    TuningStatusSet,
)


@dataclass(slots=True)
class Known:
    """A trial that an algorithm may learn from, or that is to be proposed."""

    number: int
    status: TrialStatus
    parameters: tuple[TrialParameter, ...] = ()
    values: tuple[str, ...] = ()
    reports: dict[int, str] = field(default_factory=dict)
    system_attributes: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Search:
    """A tuning that the engine searches for."""

    tuning_id: str
    project: str
    owner: str
    """For whom it is searched."""
    plan: TuningPlan
    directions: tuple[Direction, ...]
    trials: dict[int, Known] = field(default_factory=dict)
    events: int = 0
    """How many of its events are folded. They are in one partition, so they are all there were at some moment."""

    def next(self) -> int | None:
        """The first trial that waits for a proposal."""
        waiting = (each.number for each in self.trials.values() if each.status is TrialStatus.REQUESTED)
        return min(waiting, default=None)

    def told(self) -> list[Known]:
        """The trials that have ended, by number."""
        return [each for _, each in sorted(self.trials.items()) if each.status in TRIAL_ENDS]

    def under_way(self) -> list[Known]:
        """The trials that are proposed and have not ended, by number."""
        ways = (TrialStatus.PROPOSED, TrialStatus.RUNNING)
        return [each for _, each in sorted(self.trials.items()) if each.status in ways]


class Searches:
    """All of them."""

    def __init__(self) -> None:
        self.by_id: dict[str, Search] = {}

    def waiting(self) -> Iterator[tuple[Search, int]]:
        """Of each search, the next trial that waits for a proposal."""
        for search in list(self.by_id.values()):
            if (number := search.next()) is not None:
                yield search, number

    def fold(self, event: Message, actor: str = "") -> None:
        """Take an event of the context experiments; `actor` is its record's."""
        if isinstance(event, TuningCreated) and event.plan is not None:
            self.by_id[event.tuning_id] = Search(event.tuning_id, event.project, actor, event.plan, event.directions)
        if isinstance(event, TuningEvent) and (search := self.by_id.get(event.tuning_id)) is not None:
            search.events += 1
            if isinstance(event, TuningDeleted) or (isinstance(event, TuningStatusSet) and event.status in TUNING_ENDS):
                del self.by_id[event.tuning_id]
            elif isinstance(event, TrialEvent):
                _evolve(search.trials, event)


def _evolve(trials: dict[int, Known], event: TrialEvent) -> None:
    """How an event changes a tuning's trials."""
    if isinstance(event, TrialAdded):
        trials[event.number] = Known(
            event.number,
            event.status,
            event.parameters,
            event.objective_values,
            {each.step: each.value for each in event.intermediate},
            dict(event.system_attributes),
        )
        return
    trial = trials[event.number]
    match event:
        case TrialProposed():
            trial.status, trial.parameters = TrialStatus.PROPOSED, event.parameters
            trial.system_attributes.update(event.system_attributes)
        case TrialReported():
            trial.reports[event.step] = event.value
        case TrialAttributeSet() if event.scope is Scope.SYSTEM:
            trial.system_attributes[event.name] = event.value
        case TrialRequeued():
            trial.status = event.status
            trial.reports.clear()
        case TrialEnded():
            trial.status, trial.values = event.status, event.objective_values
        case TrialStarted():
            trial.status = TrialStatus.RUNNING
