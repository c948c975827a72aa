"""Sets of task numbers as sorted, disjoint, inclusive ranges: ``((0, 3), (7, 7))``.

An allocation may hold thousands of tasks of an array, mostly in a few runs; set arithmetic here costs as much as there
are ranges. Knows nothing of allocations.
"""

from __future__ import annotations

from collections.abc import Iterator

from events.language.common import parse_ranges

Tasks = tuple[tuple[int, int], ...]

NONE: Tasks = ()


def parse(ranges: str | None) -> Tasks:
    """A `TaskRanges`; none for None."""
    return parse_ranges(ranges) if ranges else NONE


def text(tasks: Tasks) -> str:
    """As `TaskRanges`, such as ``"0-3,7"``."""
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in tasks)


def count(tasks: Tasks) -> int:
    return sum(high - low + 1 for low, high in tasks)


def each(tasks: Tasks) -> Iterator[int]:
    for low, high in tasks:
        yield from range(low, high + 1)


def minus(tasks: Tasks, others: Tasks) -> Tasks:
    """The tasks that are not among the others."""
    left: list[tuple[int, int]] = []
    at = 0
    for low, high in tasks:
        while at < len(others) and others[at][1] < low:
            at += 1
        i = at
        while i < len(others) and others[i][0] <= high:
            if others[i][0] > low:
                left.append((low, others[i][0] - 1))
            low = max(low, others[i][1] + 1)
            i += 1
        if low <= high:
            left.append((low, high))
    return tuple(left)


def both(tasks: Tasks, others: Tasks) -> Tasks:
    """The tasks that are in both."""
    return minus(tasks, minus(tasks, others))


def union(tasks: Tasks, others: Tasks) -> Tasks:
    merged: list[tuple[int, int]] = []
    for low, high in sorted(tasks + others):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], high))
        else:
            merged.append((low, high))
    return tuple(merged)


def split(tasks: Tasks, number: int) -> tuple[Tasks, Tasks]:
    """The first `number` tasks, and the rest."""
    first: list[tuple[int, int]] = []
    for index, (low, high) in enumerate(tasks):
        if number <= 0:
            return tuple(first), tasks[index:]
        if high - low + 1 > number:
            first.append((low, low + number - 1))
            return tuple(first), ((low + number, high), *tasks[index + 1 :])
        first.append((low, high))
        number -= high - low + 1
    return tuple(first), NONE
