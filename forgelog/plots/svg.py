"""Figures as SVG, to stand in a page of HTML. Pure. Every text is escaped; there are no scripts and no links.

A line tells what it is when the pointer rests on it (`title`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape
from itertools import pairwise

from forgelog.cli.tables import cut, text_of
from forgelog.plots.figures import Axis, Chart, Line, Parallel, place, short, time_text

WIDTH, HEIGHT = 900, 320
"""Units of a drawing; a page shows it as wide as it is itself."""
COLOURS = ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf")
"""Of lines, one after another (Tableau's ten)."""
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 20, 14, 34


def safe(text: object) -> str:
    """A user's text for HTML: what can't be printed is shown as an escape."""
    return escape(text_of(text))


def colour(index: int) -> str:
    return COLOURS[index % len(COLOURS)]


def chart(figure: Chart) -> str:
    """Curves on common axes; a sentence where no value has a place."""
    points = [(x, y) for line in figure.lines for x, y in zip(line.xs, line.ys, strict=True) if math.isfinite(y)]
    if not points:
        return "<p>nothing but NaN and infinities</p>"
    left, right = min(x for x, _ in points), max(x for x, _ in points)
    low, high = min(y for _, y in points), max(y for _, y in points)
    parts = [_open(figure.title)]
    for tick in ticks(low, high):
        y = _y(place(tick, low, high))
        parts.append(f'<line class="grid" x1="{_LEFT}" y1="{y:.1f}" x2="{WIDTH - _RIGHT}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{short(tick)}</text>')
    for tick in (left, right) if figure.by_time and left < right else ticks(left, right, whole=not figure.by_time):
        x = _x(place(tick, left, right))
        anchor = "middle" if _LEFT + 80 < x < WIDTH - 80 else "start" if x <= _LEFT + 80 else "end"
        label = time_text(tick) if figure.by_time else f"{tick:.15g}"
        parts.append(f'<line class="grid" x1="{x:.1f}" y1="{_TOP}" x2="{x:.1f}" y2="{HEIGHT - _BOTTOM}"/>')
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - _BOTTOM + 18}" text-anchor="{anchor}">{label}</text>')
    for index, line in enumerate(figure.lines):
        pieces = [[(_x(place(x, left, right)), _y(place(y, low, high))) for x, y in piece] for piece in _unbroken(line)]
        parts.append(_line(pieces, colour(index), line.name))
    return "".join([*parts, "</svg>"])


def parallel(figure: Parallel) -> str:
    """Runs as lines across axes; their colour is their place on the last one."""
    count = len(figure.axes)
    spread = (WIDTH - 160) / max(count - 1, 1)
    columns = [80 + index * spread if count > 1 else WIDTH / 2 for index in range(count)]
    parts = [_open("parallel coordinates")]
    for run, name in enumerate(figure.runs):
        places = [axis.places[run] for axis in figure.axes]
        pieces: list[list[tuple[float, float]]] = [[]]
        for x, each in zip(columns, places, strict=True):
            if each is None:
                pieces.append([])
            else:
                pieces[-1].append((x, _axis_y(each)))
        said = ", ".join(f"{axis.name} = {_value(axis, run)}" for axis in figure.axes)
        parts.append(_line(pieces, gradient(places[-1] if places else None), f"{name}: {said}"))
    for x, axis in zip(columns, figure.axes, strict=True):
        parts.append(f'<line class="axis" x1="{x:.1f}" y1="{_axis_y(0)}" x2="{x:.1f}" y2="{_axis_y(1)}"/>')
        parts.append(
            f'<text class="name" x="{x:.1f}" y="{HEIGHT - 8}" text-anchor="middle">{safe(cut(axis.name, 24))}</text>'
        )
        for each, label in _spaced(axis.ticks):
            text = safe(cut(label, 18))
            parts.append(f'<text x="{x + 5:.1f}" y="{_axis_y(each) + 4:.1f}">{text}</text>')
    return "".join([*parts, "</svg>"])


def gradient(place: float | None) -> str:
    """From blue (0) to red (1); grey for what has no place."""
    return "#999" if place is None else f"hsl({220 - 220 * place:.0f} 75% 45%)"


def ticks(low: float, high: float, *, whole: bool = False, most: int = 6) -> list[float]:
    """Round numbers in a range, at most about `most` (Heckbert: "Nice numbers for graph labels", 1990). `whole`: no
    fractions."""
    if not high > low or not math.isfinite(high - low):
        return [low] if high == low else [low, high]
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough)) if rough > 0 else 0.0
    if power == 0.0:
        return [low, high]  # the range is next to the smallest numbers that there are
    step = next(each * power for each in (1, 2, 5, 10) if each * power >= rough)
    if whole:
        step = max(1.0, math.ceil(step))
    first = math.ceil(low / step)
    return [index * step for index in range(first, math.floor(high / step) + 1)]


def _open(label: str) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{safe(label)}">'


def _x(place: float) -> float:
    return _LEFT + place * (WIDTH - _LEFT - _RIGHT)


def _y(place: float) -> float:
    return HEIGHT - _BOTTOM - place * (HEIGHT - _TOP - _BOTTOM)


def _axis_y(place: float) -> float:
    return HEIGHT - 40 - place * (HEIGHT - 60)


def _value(axis: Axis, run: int) -> str:
    value = axis.values[run]
    return "none" if value is None else cut(text_of(value), 60)


def _unbroken(line: Line) -> Iterator[list[tuple[float, float]]]:
    """The pieces of a line between values that have no place."""
    piece: list[tuple[float, float]] = []
    for x, y in zip(line.xs, line.ys, strict=True):
        if math.isfinite(y):
            piece.append((x, y))
        elif piece:
            yield piece
            piece = []
    if piece:
        yield piece


def _line(pieces: Sequence[Sequence[tuple[float, float]]], stroke: str, title: str) -> str:
    shapes = []
    for piece in pieces:
        if len(piece) == 1:
            ((x, y),) = piece
            shapes.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{stroke}"/>')
        elif piece:
            points = " ".join(f"{x:.1f},{y:.1f}" for x, y in piece)
            shapes.append(f'<polyline points="{points}"/>')
    return f'<g class="line" stroke="{stroke}"><title>{safe(title)}</title>{"".join(shapes)}</g>'


def _spaced(ticks: Sequence[tuple[float, str]]) -> list[tuple[float, str]]:
    """Labels that do not lie on each other: the ends, and of those between as many as have room."""
    room = 14 / (HEIGHT - 60)
    if all(upper - lower >= room for (lower, _), (upper, _) in pairwise(ticks)):
        return list(ticks)
    every = math.ceil(len(ticks) * room)
    return [tick for index, tick in enumerate(ticks) if index % every == 0]
