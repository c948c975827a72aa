"""What the engine knows of the tunings that it searches for: a fold of the log. Pure; knows no Optuna.

Only tunings with a plan are kept, and only until they end.
"""

from __future__ import annotations

from bisect import bisect_left, insort
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
from events.language.experiments.tuning_following import AdoptedTrial, TrialsAdopted


@dataclass(slots=True)
class Known:
    """A trial that an algorithm may learn from, or that is to be proposed."""

    number: int
    status: TrialStatus
    parameters: tuple[TrialParameter, ...] = ()
    values: tuple[str, ...] = ()
    attempt: int = 1
    reports: dict[int, float] = field(default_factory=dict)
    """Step → what its present attempt reported."""
    steps: list[int] = field(default_factory=list)
    """The steps of `reports`, in order."""
    system_attributes: dict[str, str] = field(default_factory=dict)
    ended: int = 0
    """How many events of the tuning there were when it ended."""

    def report(self, step: int, value: float) -> None:
        """It has got so far."""
        if step not in self.reports:
            insort(self.steps, step)
        self.reports[step] = value

    def begin_again(self, attempt: int) -> None:
        """What an earlier attempt reported does not count."""
        self.attempt = attempt
        self.reports.clear()
        self.steps.clear()

    def value_from(self, step: int, before: int | None = None) -> float | None:
        """What it reported at the first step that is no less; None if there is none, or none below `before`."""
        place = bisect_left(self.steps, step)
        if place == len(self.steps) or (before is not None and self.steps[place] >= before):
            return None
        return self.reports[self.steps[place]]


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
    adopted: list[AdoptedTrial] = field(default_factory=list)
    """Completed trials of other tunings."""
    history: list[TuningEvent] | None = None
    """All of them, where they are kept."""

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
        self.keeping = False
        """Whether the events of a search that gives up trials are kept."""

    def waiting(self) -> Iterator[tuple[Search, int]]:
        """Of each search, the next trial that waits for a proposal."""
        for search in list(self.by_id.values()):
            if (number := search.next()) is not None:
                yield search, number

    def fold(self, event: Message, actor: str = "") -> None:
        """Take an event of the context experiments; `actor` is its record's."""
        if isinstance(event, TuningCreated) and event.plan is not None:
            begun = Search(event.tuning_id, event.project, actor, event.plan, event.directions)
            if self.keeping and event.plan.pruning is not None:
                begun.history = []
            self.by_id[event.tuning_id] = begun
        if isinstance(event, TuningEvent) and (search := self.by_id.get(event.tuning_id)) is not None:
            search.events += 1
            if search.history is not None:
                search.history.append(event)
            if isinstance(event, TuningDeleted) or (isinstance(event, TuningStatusSet) and event.status in TUNING_ENDS):
                del self.by_id[event.tuning_id]
            elif isinstance(event, TrialsAdopted):
                search.adopted += event.trials
            elif isinstance(event, TrialEvent):
                _evolve(search.trials, event)
                if isinstance(event, TrialEnded):
                    search.trials[event.number].ended = search.events


def _evolve(trials: dict[int, Known], event: TrialEvent) -> None:
    """How an event changes a tuning's trials."""
    if isinstance(event, TrialAdded):
        trials[event.number] = Known(
            event.number,
            event.status,
            event.parameters,
            event.objective_values,
            system_attributes=dict(event.system_attributes),
        )
        for each in event.intermediate:
            trials[event.number].report(each.step, float(each.value))
        return
    trial = trials[event.number]
    match event:
        case TrialProposed():
            trial.status, trial.parameters = TrialStatus.PROPOSED, event.parameters
            trial.system_attributes.update(event.system_attributes)
        case TrialReported():
            trial.report(event.step, float(event.value))
        case TrialAttributeSet() if event.scope is Scope.SYSTEM:
            trial.system_attributes[event.name] = event.value
        case TrialRequeued():
            trial.status = event.status
            trial.begin_again(event.attempt)
        case TrialEnded():
            trial.status, trial.values = event.status, event.objective_values
        case TrialStarted():
            trial.status = TrialStatus.RUNNING
            if event.attempt != trial.attempt:
                trial.begin_again(event.attempt)
