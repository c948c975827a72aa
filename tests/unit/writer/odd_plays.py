"""Plays of a whole platform with odd values: recorded histories, and inputs that were drawn."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from functools import cache
from typing import Any

from events.language.base import Command, Event
from events.language.common import Refused, utc
from events.language.experiments import (
    CreateTuning,
    ProposeTrial,
    TrialParameter,
    TuningAlgorithm,
    TuningLimits,
    TuningPlan,
)
from events.language.problems import decode_command
from events.language.resources import ReportAllocationsEnded
from events.language.scheduling import JobScheduled
from events.log.publish import Outgoing
from events.log.wire import Raw, value_of
from events.writer.decider import Decider
from forgelog.tuning_space import dimension
from tests.golden.folding import valid
from tests.golden.history import History
from tests.unit.jobs.desk import spec
from tests.unit.writer.odd import Odd, texts_of
from tests.unit.writer.platform import register
from tests.unit.writer.whole import Whole

COMMANDS = "commands."

LATER = timedelta(days=400)
"""How much time passes at the end."""

Inputs = Mapping[type[Decider[Any]], Sequence[Command | Event | float]]


@cache
def _commands(history: History) -> list[tuple[Raw, Command | None]]:
    """The recorded commands by time; None for what is none."""
    found: list[tuple[Raw, Command | None]] = []
    for raw in sorted((each for each in history.records if each.topic.startswith(COMMANDS)), key=_time):
        try:
            found.append((raw, decode_command(raw.type, raw.value or b"")))
        except Refused:
            found.append((raw, None))
    return found


def _time(raw: Raw) -> int:
    return raw.timestamp


@cache
def _names(history: History) -> list[str]:
    """Texts that may be names."""
    found = {text for _, command in _commands(history) if command for text in texts_of(command)}
    return sorted(text for text in found if 0 < len(text) < 40)


@cache
def _kinds(history: History) -> list[type[Command]]:
    return _sorted({type(command) for raw, command in _commands(history) if command and not raw.get("ce_origin")})


def _sorted(kinds: Iterable[type[Command]]) -> list[type[Command]]:
    return sorted(kinds, key=lambda kind: kind.type_name())


@cache
def _recorded_allocations(history: History) -> dict[str, tuple[str, int]]:
    """The attempt that a recorded allocation is of, and its place among those of that attempt."""
    found: dict[str, tuple[str, int]] = {}
    for stem, ids in _by_attempt(valid(history, "scheduling", markers=False)).items():
        found |= {id: (stem, place) for place, id in enumerate(ids)}
    return found


def _by_attempt(raws: Sequence[Raw]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for raw in raws:
        event = raw.decode().data
        if isinstance(event, JobScheduled):
            for each in event.placements:
                found[each.allocation_id.rpartition(".")[0]].append(each.allocation_id)
    return found


def _odd(history: History, numbers: random.Random) -> Odd:
    """Many odd values in a few kinds of commands, or a few in all."""
    odd = Odd(numbers, numbers.choice((0.02, 0.1, 0.3, 0.6)))
    if numbers.random() < 0.7:
        odd.focus(numbers.sample(_kinds(history), numbers.choice((1, 2, 4))))
    if numbers.random() < 0.5:
        odd.rename({name: odd.text(name) for name in numbers.sample(_names(history), 8)})
    return odd


def recorded_play(history: History, numbers: random.Random, odd: Odd | None = None) -> Whole:
    """The commands of a recorded history, some of them with other values. Orders that it records are sent only where
    none came about by themselves (they follow from an answer, which nobody gives here)."""
    odd = _odd(history, numbers) if odd is None else odd
    commands, allocations = _commands(history), _recorded_allocations(history)
    platform = Whole(utc(commands[0][0].timestamp / 1000))
    for raw, command in commands:
        id, context = raw.text("ce_id"), raw.topic.removeprefix(COMMANDS)
        if id in platform.sent:
            continue
        platform.until(utc(raw.timestamp / 1000))
        value = raw.value or b""
        if command is not None and not raw.get("ce_origin"):
            if isinstance(command, ReportAllocationsEnded):
                command = _of_the_play(command, allocations, platform)
            command = odd.of(command)
            value = value_of(command)
        platform.command(context, value, list(raw.headers), id, command or raw.type)
        platform.settle()
    platform.until(platform.now + LATER, 100)
    return platform


def _of_the_play(
    command: ReportAllocationsEnded, recorded: Mapping[str, tuple[str, int]], platform: Whole
) -> ReportAllocationsEnded:
    """With the allocations that the play has for the recorded ones: their numbers are others."""
    present = _by_attempt(platform.logs["scheduling"])
    ended = []
    for each in command.ended:
        stem, place = recorded.get(each.allocation_id, ("", 0))
        ids = present.get(stem, [])
        ended.append(each.model_copy(update={"allocation_id": ids[place]}) if place < len(ids) else each)
    return command.model_copy(update={"ended": tuple(ended)})


def launched_trials() -> list[Command]:
    """A tuning whose trials are jobs, with a parameter of each kind."""
    dimensions = [dimension("x=0.0..1.0"), dimension("optimizer=adam,3"), dimension("layers=1..9")]
    bounds = {"log": False, "step": None, "low": 0.0, "high": 1.0}
    values = {
        "x": ("0.5", {"name": "FloatDistribution", "attributes": bounds}),
        "optimizer": ("0", {"name": "CategoricalDistribution", "attributes": {"choices": ["adam", 3]}}),
        "layers": ("3.0", {"name": "IntDistribution", "attributes": {**bounds, "step": 1, "low": 1, "high": 9}}),
    }
    parameters = tuple(
        TrialParameter(name=name, value=value, distribution=json.dumps(distribution))
        for name, (value, distribution) in values.items()
    )
    plan = TuningPlan(algorithm=TuningAlgorithm.TPE, space=tuple(dimensions))
    made = CreateTuning(tuning_id="tuned", name="tuned", plan=plan, job=spec(), limits=TuningLimits(parallel=3))
    propose = ProposeTrial(
        tuning_id="tuned", number=0, parameters=parameters, known_events=1, algorithm_version="optuna 5.0.0"
    )
    return [made, *(propose.model_copy(update={"number": number}) for number in range(3))]


SCENES = (launched_trials,)


def scene_play(numbers: random.Random) -> Whole:
    """A scene with odd values in a few kinds of its commands."""
    commands = numbers.choice(SCENES)()
    odd = Odd(numbers)
    odd.focus(numbers.sample(_sorted({type(each) for each in commands}), numbers.choice((1, 2))))
    platform = Whole(utc(1_760_000_000))
    platform.publish(Outgoing(register(), "register", actor="node:n1"))
    for number, command in enumerate(commands):
        platform.publish(Outgoing(odd.of(command), f"scene-{number}"))
    platform.until(platform.now + LATER, 60)
    return platform


def drawn_play(inputs: Inputs, numbers: random.Random, length: int = 60) -> Whole:
    """Commands of a few deciders, some of them with other values, in any order; events come of themselves."""
    odd = Odd(numbers, numbers.choice((0.1, 0.3, 0.6)))
    platform = Whole(utc(1_760_000_000))
    platform.publish(Outgoing(register(), "register", actor="node:n1"))
    kinds = numbers.sample(list(inputs), 3)
    if numbers.random() < 0.6:
        drawn = {type(each) for kind in kinds for each in inputs[kind] if isinstance(each, Command)}
        odd.focus(numbers.sample(_sorted(drawn), min(3, len(drawn))))
    for number in range(length):
        given = numbers.choice(inputs[numbers.choice(kinds)])
        if isinstance(given, Command):
            platform.publish(Outgoing(odd.of(given), f"drawn-{number}"))
        elif isinstance(given, float):
            platform.until(platform.now + timedelta(seconds=given))
    platform.until(platform.now + LATER, 60)
    return platform
