"""A judgement follows from what trials reported: it is Optuna's, and the same when it is made again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.language.experiments import (
    Direction,
    TrialAdded,
    TrialEnded,
    TrialProposed,
    TrialReported,
    TrialRequeued,
    TrialStarted,
    TrialStatus,
    TuningCreated,
    TuningEvent,
    TuningPlan,
)
from events.language.experiments.tuning_following import TrialPruned
from events.language.experiments.tuning_pruning import Pruning
from events.streams.columns import columns
from forgelog.tuning_space import dimension
from forgelog.tuning_space import pruning as typed
from services.experiments.engine.judging import judged, outstanding
from services.experiments.engine.known import Searches
from services.experiments.engine.verify import verify
from services.experiments.points.thinning import first_of_each, intervals
from tests.unit.experiments.desk import NOON, PROJECT

STEPS = 30
RULES = ("median startup_trials=3 warmup_steps=2", "asha min_steps=2 reduction_factor=2", "hyperband max_steps=30")


def created(rule: str, direction: Direction = Direction.MINIMIZE) -> TuningCreated:
    pruning = Pruning.model_validate(typed(rule))
    plan = TuningPlan(algorithm="random", space=[dimension("x=0.0..1.0")], pruning=pruning)  # type: ignore[arg-type]
    return TuningCreated(tuning_id="t1", project=PROJECT, number=1, name="", directions=[direction], plan=plan)


class Story:
    """A tuning's events as they come, judged as the engine does."""

    def __init__(self, first: TuningCreated) -> None:
        self.searches = Searches()
        self.events: list[TuningEvent] = []
        self.take(first)

    def take(self, event: TuningEvent) -> None:
        self.events.append(event)
        self.searches.fold(event)

    def begin(self, number: int) -> None:
        self.take(TrialAdded(tuning_id="t1", number=number, status=TrialStatus.REQUESTED))
        self.take(TrialProposed(tuning_id="t1", number=number, known_events=1, algorithm_version=""))
        self.take(TrialStarted(tuning_id="t1", number=number, started_at=NOON))

    def report(self, number: int, step: int, value: float, attempt: int = 1) -> bool:
        """Whether it is given up, which the history then tells."""
        event = TrialReported(tuning_id="t1", number=number, attempt=attempt, step=step, value=str(value))
        self.take(event)
        command = judged(self.searches.by_id["t1"], event)
        if command is None:
            return False
        told = command.model_dump(include=set(TrialPruned.model_fields))
        self.take(TrialPruned(**told))
        self.end(number, TrialStatus.PRUNED, value)
        return True

    def end(self, number: int, status: TrialStatus, *values: float) -> None:
        told = [str(value) for value in values]
        self.take(TrialEnded(tuning_id="t1", number=number, status=status, objective_values=told, ended_at=NOON))


def curves(trials: int, seed: int = 3) -> Any:
    chance = np.random.default_rng(seed)
    ends = chance.random((trials, 1))
    found = ends + (1 - ends) * np.exp(-np.arange(1, STEPS + 1) / 6) + 0.05 * chance.standard_normal((trials, STEPS))
    found[trials // 2, 5] = np.nan
    return found


def told(rule: str, direction: Direction, given: Any) -> tuple[Story, list[int | None]]:
    """Of each curve, the step at which it was given up."""
    story, ends = Story(created(rule, direction)), []
    for number, curve in enumerate(given):
        story.begin(number)
        ends.append(next((s for s, value in enumerate(curve, 1) if story.report(number, s, float(value))), None))
        if ends[-1] is None:
            story.end(number, TrialStatus.COMPLETED, float(curve[-1]))
    return story, ends


def optunas(rule: str, direction: Direction, given: Any) -> Iterator[int | None]:
    pruning = Pruning.model_validate(typed(rule))
    pruners: dict[str, optuna.pruners.BasePruner] = {
        "median": optuna.pruners.MedianPruner(3, 2),
        "asha": optuna.pruners.SuccessiveHalvingPruner(2, 2),
        "hyperband": optuna.pruners.HyperbandPruner(1, 30, 3),
    }
    study = optuna.create_study(study_name="t1", direction=direction.value, pruner=pruners[pruning.rule])
    for curve in given:
        trial = study.ask()
        for step, value in enumerate(curve, 1):
            trial.report(float(value), step)
            if trial.should_prune():
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                yield step
                break
        else:
            study.tell(trial, float(curve[-1]))
            yield None


@pytest.mark.parametrize("direction", list(Direction))
@pytest.mark.parametrize("rule", RULES)
def test_a_judgement_is_that_of_optuna_s_own_study(rule: str, direction: Direction) -> None:
    given = curves(40)
    story, ends = told(rule, direction, given)
    assert ends == list(optunas(rule, direction, given))
    pruned = [end for end in ends if end is not None]
    assert 3 < len(pruned) < 40
    found = verify(story.events)
    assert (found.prunings, found.unfounded) == (len(pruned), ())


def test_a_judgement_without_reason_is_told() -> None:
    story, ends = told(RULES[1], Direction.MINIMIZE, curves(10))
    number = next(number for number, end in enumerate(ends) if end is not None)
    other = created(RULES[1], Direction.MAXIMIZE)
    found = verify([other, *story.events[1:]])
    assert f"trial {number}: was given up at step {ends[number]}, and promises well" in found.unfounded


@pytest.mark.parametrize("rule", RULES)
def test_an_engine_that_begins_anew_decides_alike(rule: str) -> None:
    """What was given up while nobody was there to do it: the same, with the same reason."""
    story, ends = told(rule, Direction.MINIMIZE, curves(20))
    number = next(number for number in range(8, 20) if ends[number] is not None)
    step = ends[number]
    assert step is not None
    cut = next(
        place for place, event in enumerate(story.events) if isinstance(event, TrialPruned) and event.number == number
    )
    later = [
        TrialReported(tuning_id="t1", number=number, step=each, value="0.0") for each in range(step + 1, STEPS + 1)
    ]
    before: list[TuningEvent] = [*story.events[:cut], *later]
    (command,) = outstanding(before, {number})
    event = story.events[cut]
    assert isinstance(event, TrialPruned)
    assert TrialPruned(**command.model_dump(include=set(TrialPruned.model_fields))) == event
    again = TrialRequeued(tuning_id="t1", number=number, attempt=2, status=TrialStatus.PROPOSED)
    assert outstanding([*before, again], {number}) == []


def test_what_a_lost_attempt_reported_does_not_count() -> None:
    story = Story(created("asha min_steps=2 reduction_factor=2"))
    for number in (0, 1):
        story.begin(number)
    assert not story.report(0, 2, 0.1)
    assert not story.report(1, 1, 0.9)
    story.take(TrialRequeued(tuning_id="t1", number=1, attempt=2, status=TrialStatus.PROPOSED))
    story.take(TrialStarted(tuning_id="t1", number=1, attempt=2, started_at=NOON))
    known = story.searches.by_id["t1"].trials[1]
    assert (known.attempt, known.reports, known.steps) == (2, {}, [])
    assert story.report(1, 3, 0.5, attempt=2)


@given(st.lists(st.integers(0, 10**7), min_size=1, max_size=200), st.integers(1, 50))
def test_intervals_are_as_large_as_asked_and_then_grow_with_the_step(steps: list[int], every: int) -> None:
    places = intervals(np.array(sorted(steps), dtype=np.int64), every).tolist()
    for step, place in zip(sorted(steps), places, strict=True):
        small = step // every
        size = 10 ** max(0, len(str(small)) - 3) if small >= 1_000 else 1
        assert place == small // size * size


def test_of_each_interval_the_first_point_counts_and_of_a_step_the_last() -> None:
    points = columns([-3, 0, 1, 1, 2, 3, 5, 8], [0, 0, 0, 1, 0, 0, 0, 0], [9.0, 0.0, 1.0, 1.5, 2.0, 3.0, 5.0, 8.0])
    steps, values = first_of_each(points, 2, -1)
    assert (steps.tolist(), values.tolist()) == ([0, 2, 5, 8], [0.0, 2.0, 5.0, 8.0])
    steps, values = first_of_each(points, 1, 0)
    assert (steps.tolist(), values.tolist()) == ([1, 2, 3, 5, 8], [1.5, 2.0, 3.0, 5.0, 8.0])
    steps, _ = first_of_each(points, 2, 2)
    assert steps.tolist() == [5, 8]
    none, _ = first_of_each(points, 2, 8)
    assert none.tolist() == []


def test_the_reports_of_a_long_trial_are_few() -> None:
    steps = np.arange(1_000_000)
    found, _ = first_of_each(columns(steps, steps, steps.astype(float)), 1, -1)
    assert len(found) == 1_000 + 3 * 900
