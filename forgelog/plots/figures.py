"""What is drawn: curves of metrics, and runs as lines across axes (parallel coordinates). Pure; knows no format."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

LOG_RATIO = 100
"""A positive axis whose largest number is this many times its smallest has a logarithmic scale."""

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Line:
    """A curve: values (NaN and infinities among them) at the places of an axis."""

    name: str
    xs: Sequence[float]
    ys: Sequence[float]
    points: int
    """How many points the run has of it; as many are drawn as can be told apart."""


@dataclass(frozen=True, slots=True)
class Chart:
    """The curves of one metric."""

    title: str
    by_time: bool
    """The axis has milliseconds since 1970, else steps."""
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis of parallel coordinates: each run's place on it, and what is written beside it."""

    name: str
    places: tuple[float | None, ...]
    """0 (the lower end) to 1 for each run; None where it has no value that has a place."""
    values: tuple[Any, ...]
    """Each run's own value."""
    ticks: tuple[tuple[float, str], ...]
    """Places and their labels, upwards."""


@dataclass(frozen=True, slots=True)
class Parallel:
    """Runs as lines across axes (Inselberg: "The plane with parallel coordinates", 1985)."""

    runs: tuple[str, ...]
    axes: tuple[Axis, ...]


def charts(curves: Iterable[Row], axis: str, names: Mapping[str, str]) -> list[Chart]:
    """A chart for each series, with a line for each run. `curves`: as `client.runs.curves` answers. `axis`: step or
    time; `names`: a run's id → what its line is called."""
    groups: dict[str, list[Row]] = defaultdict(list)
    for curve in curves:
        groups[series_title(curve["key"], curve["model_id"], curve["dataset"])].append(curve)
    places = "times" if axis == "time" else "steps"
    return [
        Chart(
            title,
            axis == "time",
            tuple(
                Line(names.get(curve["run_id"], curve["run_id"]), curve[places], curve["values"], curve["points"])
                for curve in group
            ),
        )
        for title, group in groups.items()
    ]


def series_title(key: str, model_id: str, dataset: str) -> str:
    """What a series of a run is called."""
    more = [f"model {model_id}"] * bool(model_id) + [f"on {dataset}"] * bool(dataset)
    return f"{key} ({', '.join(more)})" if more else key


def run_title(run: Row) -> str:
    """What a run is called: its name and its id."""
    return f"{run['name']} ({run['run_id']})" if run["name"] else str(run["run_id"])


def parallel(runs: Sequence[Row], params: Sequence[str], metrics: Sequence[str]) -> Parallel:
    """Axes for parameters, then for metrics, of runs as `client.runs.search` answers them."""
    axes = [_axis(key, [run["params"].get(key) for run in runs]) for key in params]
    axes += [_axis(key, [run["metrics"].get(key) for run in runs]) for key in metrics]
    return Parallel(tuple(run_title(run) for run in runs), tuple(axes))


def differing_params(runs: Sequence[Row]) -> list[str]:
    """Parameters that not all of the runs have with the same value, by name."""
    keys = sorted({key for run in runs for key in run["params"]})
    return [key for key in keys if len({run["params"].get(key) for run in runs}) > 1]


def metric_keys(runs: Sequence[Row]) -> list[str]:
    """The metrics of the runs: those that most of them have first, then by name."""
    counts: dict[str, int] = defaultdict(int)
    for run in runs:
        for key in run["metrics"]:
            counts[key] += 1
    return sorted(counts, key=lambda key: (-counts[key], key))


def _axis(name: str, values: Sequence[Any]) -> Axis:
    numbers = [_number(value) for value in values]
    given = [value for value in values if value is not None]
    if given and len(given) == sum(number is not None for number in numbers):
        return _number_axis(name, values, numbers)
    words = sorted({str(value) for value in given})
    places = {word: index / (len(words) - 1) if len(words) > 1 else 0.5 for index, word in enumerate(words)}
    found = tuple(None if value is None else places[str(value)] for value in values)
    return Axis(name, found, tuple(values), tuple((place, word) for word, place in places.items()))


def _number_axis(name: str, values: Sequence[Any], numbers: Sequence[float | None]) -> Axis:
    finite = [number for number in numbers if number is not None and math.isfinite(number)]
    if not finite:
        return Axis(name, (None,) * len(values), tuple(values), ())
    low, high = min(finite), max(finite)
    scale: Callable[[float], float] = math.log if low > 0 and high / low >= LOG_RATIO else lambda number: number
    places = tuple(
        None if number is None or not math.isfinite(number) else place(scale(number), scale(low), scale(high))
        for number in numbers
    )
    ticks = [(0.0, short(low)), (1.0, short(high))] if low < high else [(0.5, short(low))]
    return Axis(name, places, tuple(values), tuple(ticks))


def place(value: float, low: float, high: float) -> float:
    """Where a value is between two others, from 0 to 1; in the middle if they are the same."""
    if high == low:
        return 0.5
    # Halved first: the difference of two large numbers would be infinite.
    return (value / 2 - low / 2) / (high / 2 - low / 2)


def short(value: float) -> str:
    """A number as short as it can be read."""
    return f"{value:.4g}"


def time_text(milliseconds: float) -> str:
    """A time in UTC, with seconds."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _number(value: Any) -> float | None:
    if value is None:
        return None
    try:
        return float(value)
    except ValueError:
        return None
