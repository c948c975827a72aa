"""Given what a trial's job has logged, then its value is that of the points that count. A trial is followed from its
start to its end, each attempt anew."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from events.language.experiments import (
    CreateTuning,
    Direction,
    ProposeTrial,
    ReportTrial,
    StopTuning,
    TellTrial,
    TrialParameter,
    TuningLimits,
    TuningPlan,
)
from events.language.experiments.points import SeriesName
from events.language.experiments.tuning_pruning import Objective
from events.language.jobs import JobCompleted, JobStarted, TaskCounts
from events.log.envelope import Meta, Position, Recorded
from events.streams.arrived import at_once
from events.streams.columns import columns
from forgelog.tuning_space import dimension, objective
from services.experiments.followed_rows import FOLLOWED
from services.experiments.objective import series_of, value_of
from services.experiments.points.reading import StoredSeries
from services.experiments.points.tally import tally
from services.experiments.projections import PROJECTION
from services.experiments.tuning_rows import TRIALS
from tests.rows import HeldRows
from tests.unit.experiments.desk import NOON, PROJECT, Desk
from tests.unit.jobs import desk as jobs

NAN = float("nan")
ORIGIN = "experiments/tuning/t1"
FLOAT = '{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0, "high": 1.0, "log": false}}'


def stored(values: list[float], key: str = "loss", run: str = "r1", dataset: str = "", first: int = 1) -> StoredSeries:
    steps = np.arange(first, first + len(values))
    return StoredSeries(1, run, SeriesName(key, "", dataset), tally(at_once(columns(steps, steps, values), 0)))


@pytest.mark.parametrize(
    ("take", "direction", "values", "wanted"),
    [
        ("last", "minimize", [3.0, 1.0, 2.0], 2.0),
        ("best", "minimize", [3.0, 1.0, 2.0], 1.0),
        ("best", "maximize", [3.0, 1.0, 2.0], 3.0),
        ("min", "maximize", [3.0, 1.0, 2.0], 1.0),
        ("max", "minimize", [3.0, NAN, 2.0], 3.0),
        ("best", "minimize", [float("inf")], float("inf")),
        ("last", "minimize", [1.0, NAN], "the last value of 'loss' is NaN"),
        ("min", "minimize", [NAN, NAN], "every value of 'loss' is NaN"),
    ],
)
def test_a_value_is_that_of_the_points_that_count(take: str, direction: str, values: list[float], wanted: Any) -> None:
    given = Objective.model_validate({"metric": "loss", "take": take})
    assert value_of([stored(values)], given, Direction(direction)) == wanted


def test_without_points_there_is_no_value() -> None:
    assert value_of([], Objective(metric="loss"), Direction.MINIMIZE) == "its run logged no 'loss'"


def test_a_metric_of_several_data_sets_is_one() -> None:
    parts = [stored([1.0, 4.0], dataset="a"), stored([2.0], dataset="b", first=9)]
    assert value_of(parts, Objective(metric="loss"), Direction.MINIMIZE) == 2.0


def test_the_first_run_that_has_the_metric_counts() -> None:
    series = [stored([1.0], "loss", "r2"), stored([2.0], "acc", "r1"), stored([3.0], "loss", "r3")]
    assert [each.run for each in series_of(series, ["r1", "r2", "r3"], "loss")] == ["r2"]
    assert series_of(series, ["r1"], "loss") == []


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("loss", {"metric": "loss", "take": "last", "every": 5}),
        ("loss:best", {"metric": "loss", "take": "best", "every": 5}),
        ("val:loss", {"metric": "val:loss", "take": "last", "every": 5}),
        ("val:loss:max", {"metric": "val:loss", "take": "max", "every": 5}),
    ],
)
def test_an_objective_is_typed_with_what_counts_of_it(text: str, wanted: dict[str, Any]) -> None:
    assert objective(text, 5) == wanted


class Followed:
    """A tuning, and what its tables hold of its trials."""

    def __init__(self, **fields: Any) -> None:
        self.desk, self.rows = Desk(), HeldRows(PROJECTION)
        plan = TuningPlan(algorithm="tpe", space=[dimension("x=0.0..1.0")])  # type: ignore[arg-type]
        self.take(
            self.desk.send(CreateTuning(tuning_id="t1", name="", plan=plan, job=jobs.spec(), **fields), actor="ada")
        )
        parameter = TrialParameter(name="x", value="0.5", distribution=FLOAT)
        command = ProposeTrial(tuning_id="t1", number=0, parameters=[parameter], known_events=1, algorithm_version="")
        self.take(self.desk.send(command))

    def take(self, events: list[Any]) -> None:
        for number, event in enumerate(events):
            meta = Meta(f"e{number}", event.type_name(), event.subject(), NOON, PROJECT, "ada")
            recorded = Recorded(event, meta, event.key(), Position("events.experiments", 0, number))
            PROJECTION.project(recorded, self.rows)

    def start(self, attempt: int) -> None:
        tasks = jobs.started(0, attempt=attempt).tasks
        self.take(self.desk.hear(JobStarted(job_id="t1.0", node_id="n1", tasks=tasks), ORIGIN))

    def report(self, step: int, attempt: int = 1) -> None:
        command = ReportTrial(tuning_id="t1", number=0, attempt=attempt, step=step, value=str(step / 10))
        self.take(self.desk.send(command))

    @property
    def row(self) -> Any:
        return self.rows.get(FOLLOWED, ("t1", 0))

    @property
    def trial(self) -> Any:
        return self.rows.get(TRIALS, ("t1", 0))


def test_a_trial_is_followed_from_its_start_to_its_end_each_attempt_anew() -> None:
    given = Followed(objectives=[Objective(metric="loss")], limits=TuningLimits(trials=1))
    assert given.row is None
    given.start(1)
    assert (given.row["job_id"], given.row["attempt"], given.row["owner"]) == ("t1.0", 1, "ada")
    assert (given.row["reported"], given.row["done"]) == (None, False)
    for step in (3, 5, 4):
        given.report(step)
    assert given.row["reported"] == 5
    assert (given.trial["last_step"], given.trial["last_value"]) == (5, "0.5")
    given.start(2)
    assert (given.row["attempt"], given.row["reported"]) == (2, None)
    assert (given.trial["last_step"], given.trial["last_value"]) == (None, None)
    completed = JobCompleted(job_id="t1.0", project=PROJECT, counts=TaskCounts(total=1, completed=1), exit_code=0)
    given.take(given.desk.hear(completed, ORIGIN))
    assert given.row["done"]
    given.take(given.desk.send(TellTrial(tuning_id="t1", number=0, attempt=2, objective_values=["0.5"])))
    assert given.row is None


def test_a_trial_of_a_tuning_that_is_stopped_is_followed_no_more() -> None:
    given = Followed(objectives=[Objective(metric="loss")])
    given.start(1)
    given.take(given.desk.send(StopTuning(tuning_id="t1")))
    assert given.row is None


def test_a_trial_whose_job_tells_its_value_is_not_followed() -> None:
    given = Followed()
    given.start(1)
    given.report(1)
    assert given.row is None
