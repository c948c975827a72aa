"""A proposal follows from the plan, the number and what is known: again, in another process, and well."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from statistics import median
from typing import Any

import pytest

from events.language.experiments import (
    Direction,
    TrialAdded,
    TrialEnded,
    TrialProposed,
    TrialStarted,
    TrialStatus,
    TuningCreated,
    TuningEvent,
    TuningPlan,
)
from events.language.experiments.tuning_following import AdoptedTrial, TrialsAdopted
from events.language.experiments.tuning_space import LEARNING
from forgelog.client.tunings import external
from forgelog.tuning_space import dimension
from services.experiments.engine.known import Searches
from services.experiments.engine.sampling import VERSION, propose
from services.experiments.engine.verify import verify
from tests.unit.experiments.desk import NOON, PROJECT

WITH_GP = pytest.param(
    "gp",
    marks=pytest.mark.skipif(
        find_spec("torch") is None, reason="PyTorch, of the extra `gp`, is too large for the tests"
    ),
)

SPACE = ("x=-5.0..5.0", "kind=near,far", "depth=1..4 when kind=far", "lr=1e-5..0.1 log")


def plan(algorithm: str, seed: int = 0, space: Sequence[str] = SPACE) -> TuningPlan:
    return TuningPlan(algorithm=algorithm, seed=seed, space=[dimension(each) for each in space])  # type: ignore[arg-type]


def created(plan: TuningPlan, directions: Sequence[Direction] = (Direction.MINIMIZE,)) -> TuningCreated:
    return TuningCreated(tuning_id="t1", project=PROJECT, number=1, name="", directions=directions, plan=plan)


def params(event: TrialProposed) -> dict[str, Any]:
    return {each.name: external(float(each.value), each.distribution) for each in event.parameters}


def searched(
    first: TuningCreated,
    objective: Callable[[dict[str, Any]], Sequence[float]],
    trials: int,
    parallel: int = 1,
    known: TrialsAdopted | None = None,
) -> list[TuningEvent]:
    """The events of a whole tuning, of which `parallel` trials are under way at a time; those told are the oldest."""
    events: list[TuningEvent] = []
    searches = Searches()
    running: list[TrialProposed] = []

    def take(event: TuningEvent) -> None:
        events.append(event)
        searches.fold(event)

    def tell() -> None:
        ended = running.pop(0)
        values = [str(value) for value in objective(params(ended))]
        take(
            TrialEnded(
                tuning_id="t1",
                number=ended.number,
                status=TrialStatus.COMPLETED,
                objective_values=values,
                ended_at=NOON,
            )
        )

    take(first)
    if known is not None:
        take(known)
    assert first.plan is not None
    for number in range(trials):
        if len(running) == parallel:
            tell()
        take(TrialAdded(tuning_id="t1", number=number, status=TrialStatus.REQUESTED))
        search = searches.by_id["t1"]
        found = propose(first.plan, first.directions, search.told(), search.under_way(), number, search.adopted)
        proposed = TrialProposed(
            tuning_id="t1",
            number=number,
            parameters=found.parameters,
            system_attributes=found.system_attributes,
            known_events=search.events,
            algorithm_version=VERSION,
        )
        take(proposed)
        take(TrialStarted(tuning_id="t1", number=number, started_at=NOON))
        running.append(proposed)
    while running:
        tell()
    return events


def adopted() -> TrialsAdopted:
    """What another tuning of a bowl has found."""
    trials = [
        AdoptedTrial(
            number=number,
            parameters={"x": str(x), "kind": "0.0", "lr": "0.01"},
            objective_values=[str((x - 2) ** 2)],
        )
        for number, x in enumerate(-5 + each / 4 for each in range(40))
    ]
    return TrialsAdopted(tuning_id="t1", source="t0", trials=trials)


def bowl(chosen: dict[str, Any]) -> list[float]:
    return [(chosen["x"] - 2) ** 2 + (chosen.get("kind") == "far") * chosen.get("depth", 0)]


def two(chosen: dict[str, Any]) -> list[float]:
    return [chosen["x"] ** 2, (chosen["x"] - 2) ** 2]


@pytest.mark.parametrize(
    "algorithm",
    ["random", "tpe", "nsga2", "cmaes", WITH_GP],
)
def test_proposals_can_be_chosen_again_also_in_another_process(algorithm: str) -> None:
    many = algorithm == "nsga2"
    directions = [Direction.MINIMIZE] * (2 if many else 1)
    events = searched(
        created(plan(algorithm), directions), two if many else bowl, trials=60 if many else 24, parallel=4
    )
    found = verify(events)
    assert (found.proposals, found.different) == (60 if many else 24, ())
    if algorithm in LEARNING:  # with other knowledge than they were chosen by
        assert len(verify([events[0], adopted(), *events[1:]]).different) > 8
    other = verify(events, seed=1)
    assert len(other.different) > other.proposals / 2
    told = json.dumps([[type(event).__name__, event.model_dump_json()] for event in events])
    code = (
        "import json, sys; from events.language import experiments as e; "
        "from services.experiments.engine.verify import verify; "
        "print(verify([getattr(e, name).model_validate_json(text) for name, text in json.load(sys.stdin)]).different)"
    )
    done = subprocess.run([sys.executable, "-c", code], input=told, capture_output=True, text=True, check=True)
    assert done.stdout == "()\n"


def test_a_dimension_is_left_out_where_its_condition_does_not_hold() -> None:
    for event in searched(created(plan("tpe")), bowl, trials=16):
        if isinstance(event, TrialProposed):
            chosen = params(event)
            assert ("depth" in chosen) == (chosen["kind"] == "far")
            assert isinstance(chosen.get("depth", 1), int)
            assert -5 <= chosen["x"] <= 5
            assert 1e-5 <= chosen["lr"] <= 0.1


def test_a_grid_is_gone_through_in_order() -> None:
    grid = plan("grid", space=["a=x,y", "b=1..3 step 2"])
    events = searched(created(grid), lambda _: [1.0], trials=4, parallel=2)
    assert [params(event) for event in events if isinstance(event, TrialProposed)] == [
        {"a": "x", "b": 1},
        {"a": "x", "b": 3},
        {"a": "y", "b": 1},
        {"a": "y", "b": 3},
    ]


def test_tpe_finds_better_values_than_chance() -> None:
    def best(algorithm: str, seed: int) -> float:
        events = searched(created(plan(algorithm, seed)), bowl, trials=40)
        return min(float(event.objective_values[0]) for event in events if isinstance(event, TrialEnded))

    seeds = range(5)
    assert median(best("tpe", seed) for seed in seeds) < median(best("random", seed) for seed in seeds)


def off(events: Sequence[TuningEvent]) -> float:
    """How far the proposals are from the bottom of the bowl."""
    return median(abs(params(event)["x"] - 2) for event in events if isinstance(event, TrialProposed))


@pytest.mark.parametrize("algorithm", ["tpe", "cmaes", WITH_GP])
def test_a_search_that_knows_another_one_s_trials_begins_where_that_was_good(algorithm: str) -> None:
    first = created(plan(algorithm))
    cold = off(searched(first, bowl, trials=8))
    events = searched(first, bowl, trials=8, known=adopted())
    assert off(events) < cold / 2
    assert verify(events).different == ()


def test_evolution_converges_and_leaves_conditions_and_choices_to_chance() -> None:
    events = searched(created(plan("cmaes", space=("x=-5.0..5.0", "y=-5.0..5.0", *SPACE[1:]))), bowl, trials=120)
    chosen = [params(event) for event in events if isinstance(event, TrialProposed)]
    assert {each["kind"] for each in chosen[-20:]} == {"near", "far"}
    assert all(("depth" in each) == (each["kind"] == "far") for each in chosen)
    early, late = (median(abs(each["x"] - 2) for each in part) for part in (chosen[:20], chosen[-20:]))
    assert late < early / 3


def test_a_trial_that_ends_late_changes_no_generation_that_is_complete() -> None:
    """The optimizer of a generation is the same whoever still runs."""
    events = searched(created(plan("cmaes", space=("x=-5.0..5.0", "y=-5.0..5.0"))), bowl, trials=60, parallel=9)
    assert verify(events).different == ()
    generations = [
        json.loads(event.system_attributes["cmaes:generation"]) for event in events if isinstance(event, TrialProposed)
    ]
    assert generations == sorted(generations)
    assert generations[-1] >= 3


@pytest.mark.parametrize(
    ("algorithm", "space", "problem"),
    [
        (
            "cmaes",
            ["kind=a,b", "depth=1..4 when kind=a", "n=3..3"],
            "space: has 0 numbers that always count, and cmaes",
        ),
        ("cmaes", [f"x{each}=0.0..1.0" for each in range(101)], "space: has 101 numbers that always count"),
    ],
)
def test_a_space_that_an_algorithm_can_not_search_is_refused(algorithm: str, space: list[str], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        plan(algorithm, space=space)
