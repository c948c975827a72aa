"""Commands with odd values that the language takes: no decider, fold or projection of any context raises, whatever they
lead to.

A decision that raises is refused as a defect. All else that raises stops a service's place at that record, so a
command's field may not be laxer than what is derived from it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from events.language.base import Command, Event
from events.language.common import CommandRejected
from events.writer.decider import Decider
from tests.golden.history import recorded
from tests.unit.writer.odd import Odd
from tests.unit.writer.odd_plays import drawn_play, recorded_play, scene_play
from tests.unit.writer.test_any_order import PLAYED
from tests.unit.writer.whole import Whole

SEEDS = st.integers(0, (1 << 32) - 1)
AS_FOUND = (Phase.explicit, Phase.generate)
"""A play with a smaller seed is no simpler one."""


HISTORIES = recorded()

Drawn = dict[type[Decider[Any]], Sequence[Command | Event | float]]


@pytest.fixture(scope="module")
def drawn() -> Drawn:
    """Inputs of every decider: the same each time, so that a seed of a play is enough to play it again."""
    return {kind: _some(inputs) for kind, inputs in PLAYED.items()}


def _some(inputs: st.SearchStrategy[Any]) -> list[Any]:
    found: list[Any] = []

    @seed(1)
    @given(st.lists(inputs, min_size=20, max_size=20))
    @settings(max_examples=12, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    def collect(drawn: list[Any]) -> None:
        found.extend(drawn)

    collect()
    return found


@given(SEEDS)
@settings(max_examples=5, deadline=None, phases=AS_FOUND)
def test_a_recorded_history_with_odd_values_stops_nothing(number: int) -> None:
    numbers = random.Random(number)
    platform = recorded_play(numbers.choice(HISTORIES), numbers)
    platform.check()
    platform.project()


@given(number=SEEDS)
@settings(max_examples=40, deadline=None, phases=AS_FOUND)
def test_commands_with_odd_values_stop_nothing(drawn: Drawn, number: int) -> None:
    platform = drawn_play(drawn, random.Random(number))
    platform.check()
    platform.project()


@given(SEEDS)
@settings(max_examples=30, deadline=None, phases=AS_FOUND)
def test_trials_with_odd_values_stop_nothing(number: int) -> None:
    """They are jobs, whose variables are made of JSON texts."""
    platform = scene_play(random.Random(number))
    platform.check()
    platform.project()


def _events(platform: Whole) -> Iterator[Event]:
    for context in platform.logs:
        for each in platform.recorded(context):
            if isinstance(each.data, Event) and not isinstance(each.data, CommandRejected):
                yield each.data


def test_without_odd_values_a_play_is_much_like_the_recording() -> None:
    """Else the plays above would show little."""
    history = HISTORIES[-1]
    numbers = random.Random(0)
    platform = recorded_play(history, numbers, Odd(numbers, 0))
    kinds = {type(event).type_name() for event in _events(platform)}
    told = {raw.type for raw in history.records if raw.topic.startswith("events.")}
    assert len(kinds & told) > 0.8 * len(told)
