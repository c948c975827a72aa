"""Parallel coordinates in the terminal: an upright axis for each parameter and metric, a line for each run. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from forgelog.cli.curves import painted
from forgelog.cli.plots import Line, draw
from forgelog.cli.tables import cut, text_of, width_of
from forgelog.plots.figures import Axis, Parallel

_MOST_LISTED = 12
"""Most runs that are named below a drawing."""


def drawing(figure: Parallel, width: int, height: int, colour: bool) -> Iterator[str]:
    """The lines of text, without their ends."""
    axes = figure.axes
    segments = [
        (run, Line(xs, ys))
        for run in range(len(figure.runs))
        for xs, ys in _unbroken([axis.places[run] for axis in axes])
    ]
    right = max(len(axes) - 1, 1)
    made = draw([line for _, line in segments], width, height, (0, right, 0, 1))
    if made is None:
        yield "no run has a value that has a place on an axis"
        return
    columns = [min(width - 1, round(index * width / right)) for index in range(len(axes))]
    yield _labels([_end(axis, -1) for axis in axes], columns, width)
    for cells in made.rows:
        row = []
        for column, (character, of) in enumerate(cells):
            if column in columns and character == "\u2800":
                row.append("│")
            else:
                row.append(painted(character, None if of is None else segments[of][0], colour))
        yield "".join(row)
    yield _labels([_end(axis, 0) for axis in axes], columns, width)
    yield _labels([axis.name for axis in axes], columns, width)
    for axis in axes:
        if len(axis.ticks) > 2:
            yield f"  {text_of(axis.name)}, upwards: {', '.join(cut(text_of(label), 20) for _, label in axis.ticks)}"
    for run, name in enumerate(figure.runs[:_MOST_LISTED]):
        yield f"  {painted('──', run, colour)} {text_of(name)}"
    if len(figure.runs) > _MOST_LISTED:
        yield f"  and {len(figure.runs) - _MOST_LISTED} more runs"


def _unbroken(places: Sequence[float | None]) -> Iterator[tuple[list[float], list[float]]]:
    """The pieces of a run's line between axes on which it has no place."""
    xs: list[float] = []
    ys: list[float] = []
    for index, place in enumerate([*places, None]):
        if place is not None:
            xs.append(index)
            ys.append(place)
        elif xs:
            yield xs, ys
            xs, ys = [], []


def _end(axis: Axis, which: int) -> str:
    """The label at the lower (0) or the upper (-1) end; one that is in the middle stands below."""
    if not axis.ticks or (len(axis.ticks) == 1 and which == -1):
        return ""
    return axis.ticks[which][1]


def _labels(texts: Sequence[str], columns: Sequence[int], width: int) -> str:
    """Texts at columns: the first begins there, the last ends there, the others have it in their middle."""
    room = max(width // max(len(texts), 1) - 1, 3)
    line = ""
    for index, (text, column) in enumerate(zip(texts, columns, strict=True)):
        shown = cut(text_of(text), room)
        size = width_of(shown)
        start = column if index == 0 else column - size + 1 if index == len(texts) - 1 else column - size // 2
        line += " " * max(start - width_of(line), 1 if line else 0) + shown
    return line
