"""Curves in the terminal, drawn with Braille characters: each has two by four dots. Pure: text from points."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from forgelog.plots.figures import place

WIDTH, HEIGHT = 72, 12
"""Characters of a drawing, if nothing else is said."""
COLOURS = ("cyan", "yellow", "green", "magenta", "red", "blue")
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""The bit of each dot of a Braille character, by row and column (Unicode, Braille Patterns)."""
_BLANK = 0x2800


@dataclass(frozen=True, slots=True)
class Line:
    """A curve: where its points are, in the order of `xs`. Values that are not finite are left out."""

    xs: Sequence[float]
    ys: Sequence[float]


@dataclass(frozen=True, slots=True)
class Drawing:
    """Rows of characters; for each character which line it is of, or None."""

    rows: list[list[tuple[str, int | None]]]
    low: float
    high: float
    """The values at the lower and the upper edge."""
    left: float
    right: float


def draw(
    lines: Sequence[Line],
    width: int = WIDTH,
    height: int = HEIGHT,
    bounds: tuple[float, float, float, float] | None = None,
) -> Drawing | None:
    """A drawing of lines on common axes; None if they have no point that can be drawn. `bounds`: left, right, low and
    high end of the axes; as the points have them if left out, and no point is outside."""
    shown = [[(x, y) for x, y in zip(line.xs, line.ys, strict=True) if math.isfinite(y)] for line in lines]
    points = [point for line in shown for point in line]
    if not points:
        return None
    left, right, low, high = bounds or (
        min(x for x, _ in points),
        max(x for x, _ in points),
        min(y for _, y in points),
        max(y for _, y in points),
    )
    cells: dict[tuple[int, int], tuple[int, int]] = {}
    for number, line in enumerate(shown):
        dots = [(_place(x, left, right, 2 * width), 4 * height - 1 - _place(y, low, high, 4 * height)) for x, y in line]
        for x, y in _joined(dots):
            bits, of = cells.get((y // 4, x // 2), (0, number))
            cells[y // 4, x // 2] = bits | _DOTS[y % 4][x % 2], of
    rows: list[list[tuple[str, int | None]]] = []
    for row in range(height):
        found = [cells.get((row, column), (0, None)) for column in range(width)]
        rows.append([(chr(_BLANK + bits), number) for bits, number in found])
    return Drawing(rows, low, high, left, right)


def _place(value: float, low: float, high: float, dots: int) -> int:
    """Which dot a value falls on."""
    return min(dots - 1, int(place(value, low, high) * dots))


def _joined(dots: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """The dots, and those on the lines between them."""
    yield from dots[:1]
    for (x1, y1), (x2, y2) in pairwise(dots):
        steps = max(abs(x2 - x1), abs(y2 - y1))
        for step in range(1, steps + 1):
            yield x1 + round((x2 - x1) * step / steps), y1 + round((y2 - y1) * step / steps)
