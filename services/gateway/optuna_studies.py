"""Studies as Optuna's clients see them: tunings folded from the log's events. Pure; knows no Kafka and no gRPC.

A study's number is its tuning's, which counts within a project; a trial's id is made of both numbers, so ids rise.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from events.language.base import Message
from events.language.experiments import (
    MAX_TRIALS,
    Direction,
    Scope,
    TrialAdded,
    TrialAttributeSet,
    TrialEnded,
    TrialEvent,
    TrialParameterSet,
    TrialProposed,
    TrialReported,
    TrialRequeued,
    TrialStarted,
    TrialStatus,
    TuningAttributeSet,
    TuningCreated,
    TuningEvent,
    TuningReleased,
)
from forgelog_pb.optuna.v1 import storage_pb2 as pb

_BITS = MAX_TRIALS.bit_length() - 1

STATES = {
    TrialStatus.RUNNING: 0,
    TrialStatus.COMPLETED: 1,
    TrialStatus.PRUNED: 2,
    TrialStatus.FAILED: 3,
    TrialStatus.PROPOSED: 4,
    TrialStatus.REQUESTED: 4,
}
"""A trial's status → Optuna's number of its state."""

STATUSES = {state: status for status, state in STATES.items()}

DIRECTIONS = (Direction.MINIMIZE, Direction.MAXIMIZE)
"""By Optuna's numbers."""


def trial_id(study: int, number: int) -> int:
    """Optuna's id of a trial."""
    return study << _BITS | number


def study_and_number(id: int) -> tuple[int, int]:
    """The study and the number of a trial, by Optuna's id; of what is no id, a study that there is not."""
    return (id >> _BITS, id & (MAX_TRIALS - 1)) if id > 0 else (0, 0)


@dataclass(slots=True)
class Trial:
    """A trial of a study."""

    id: int
    number: int
    status: TrialStatus
    values: tuple[float, ...] = ()
    started_at: datetime | None = None
    ended_at: datetime | None = None
    params: dict[str, tuple[float, str]] = field(default_factory=dict)
    """Name → its value and its distribution."""
    attributes: dict[Scope, dict[str, str]] = field(default_factory=dict)
    reports: dict[int, float] = field(default_factory=dict)
    """Step → value, of the present attempt."""
    message: pb.Trial | None = None
    """As a client gets it, until it changes."""

    def shown(self) -> pb.Trial:
        """As a client gets it. Not to be changed."""
        if self.message is None:
            self.message = pb.Trial(
                trial_id=self.id,
                number=self.number,
                state=STATES[self.status],
                values=self.values,
                datetime_start=_local(self.started_at),
                datetime_complete=_local(self.ended_at),
                params=[pb.Number(key=name, value=value) for name, (value, _) in self.params.items()],
                distributions=[pb.Text(key=name, value=text) for name, (_, text) in self.params.items()],
                user_attributes=texts(self.attributes.get(Scope.USER, {})),
                system_attributes=texts(self.attributes.get(Scope.SYSTEM, {})),
                intermediate_values=[pb.StepValue(key=step, value=value) for step, value in self.reports.items()],
            )
        return self.message


@dataclass(slots=True)
class Study:
    """A tuning that is not deleted."""

    tuning_id: str
    number: int
    name: str
    directions: tuple[Direction, ...]
    attributes: dict[Scope, dict[str, str]] = field(default_factory=dict)
    trials: list[Trial] = field(default_factory=list)

    def shown(self) -> pb.Study:
        """As a client gets it."""
        return pb.Study(
            study_id=self.number,
            study_name=self.name,
            directions=self.direction_numbers(),
            user_attributes=texts(self.attributes.get(Scope.USER, {})),
            system_attributes=texts(self.attributes.get(Scope.SYSTEM, {})),
        )

    def direction_numbers(self) -> list[int]:
        return [DIRECTIONS.index(direction) for direction in self.directions]


class Studies:
    """All studies, by project."""

    def __init__(self) -> None:
        self._by_id: dict[str, Study] = {}
        self._numbers: dict[str, dict[int, Study]] = {}
        """Project → number → study."""
        self._names: dict[str, dict[str, Study]] = {}
        """Project → name → study."""
        self._released: set[str] = set()
        """Deleted tunings. The catalogue's partition and the tuning's are read in any order, so its creation may come
        after its deletion."""

    def by_number(self, project: str, number: int) -> Study | None:
        return self._numbers.get(project, {}).get(number)

    def by_name(self, project: str, name: str) -> Study | None:
        return self._names.get(project, {}).get(name)

    def of(self, project: str) -> Iterator[Study]:
        """Of a project, by number."""
        found = self._numbers.get(project, {})
        return (found[number] for number in sorted(found))

    def fold(self, event: Message) -> None:
        """Take an event of the context experiments. What is not about a study changes nothing."""
        if isinstance(event, TuningReleased):
            self._released.add(event.tuning_id)
            self._forget(event.project, event.tuning_id)
        elif isinstance(event, TuningCreated):
            self._create(event)
        elif isinstance(event, TuningEvent) and (study := self._by_id.get(event.tuning_id)) is not None:
            if isinstance(event, TuningAttributeSet):
                study.attributes.setdefault(event.scope, {})[event.name] = event.value
            elif isinstance(event, TrialAdded):
                study.trials.append(_added(study, event))
            elif isinstance(event, TrialEvent):
                trial = study.trials[event.number]
                trial.message = None
                _change(trial, event)

    def _create(self, event: TuningCreated) -> None:
        if event.tuning_id in self._released:
            return
        study = Study(event.tuning_id, event.number, event.name, event.directions)
        self._by_id[event.tuning_id] = study
        self._numbers.setdefault(event.project, {})[event.number] = study
        self._names.setdefault(event.project, {})[event.name] = study

    def _forget(self, project: str, tuning_id: str) -> None:
        study = self._by_id.pop(tuning_id, None)
        if study is None:
            return
        del self._numbers[project][study.number]
        if self._names[project].get(study.name) is study:  # else another one has the name already
            del self._names[project][study.name]


def texts(values: dict[str, str]) -> list[pb.Text]:
    """As entries."""
    return [pb.Text(key=key, value=value) for key, value in values.items()]


def _local(time: datetime | None) -> str:
    """In Optuna's form: local, and without a zone."""
    return time.astimezone().replace(tzinfo=None).isoformat(" ", "microseconds") if time is not None else ""


def _added(study: Study, event: TrialAdded) -> Trial:
    return Trial(
        id=trial_id(study.number, event.number),
        number=event.number,
        status=event.status,
        values=tuple(map(float, event.objective_values)),
        started_at=event.started_at,
        ended_at=event.ended_at,
        params={each.name: (float(each.value), each.distribution) for each in event.parameters},
        attributes={Scope.USER: dict(event.user_attributes), Scope.SYSTEM: dict(event.system_attributes)},
        reports={each.step: float(each.value) for each in event.intermediate},
    )


def _change(trial: Trial, event: TrialEvent) -> None:
    match event:
        case TrialProposed():
            trial.status = TrialStatus.PROPOSED
            trial.params = {each.name: (float(each.value), each.distribution) for each in event.parameters}
            trial.attributes.setdefault(Scope.SYSTEM, {}).update(event.system_attributes)
        case TrialStarted():
            trial.status, trial.started_at = TrialStatus.RUNNING, event.started_at
        case TrialParameterSet():
            parameter = event.parameter
            trial.params[parameter.name] = float(parameter.value), parameter.distribution
        case TrialAttributeSet():
            trial.attributes.setdefault(event.scope, {})[event.name] = event.value
        case TrialReported():
            trial.reports[event.step] = float(event.value)
        case TrialRequeued():
            trial.status = event.status
            trial.reports.clear()
        case TrialEnded():
            trial.status, trial.ended_at = event.status, event.ended_at
            trial.values = tuple(map(float, event.objective_values))
