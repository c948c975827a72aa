"""Ranges of task numbers: as text, such as ``"0-3,7"``, and as sorted, disjoint, inclusive pairs: ``((0, 3), (7, 7))``.

An allocation may hold thousands of tasks of an array, mostly in a few runs; set arithmetic here costs as much as there
are ranges. Knows nothing of jobs and allocations.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Annotated

from pydantic import AfterValidator, StringConstraints

from events.language.common import MAX_ARRAY_TASKS, shown

Tasks = tuple[tuple[int, int], ...]

NONE: Tasks = ()

_FIRST = ((0, 0),)
_RANGE = re.compile(r"([0-9]{1,9})(?:-([0-9]{1,9}))?")


def parse_ranges(text: str) -> tuple[tuple[int, int], ...]:
    """``"0-3,7"`` as inclusive pairs ``((0, 3), (7, 7))``; sorted and merged. Numbers are below `MAX_ARRAY_TASKS`, so
    a range that is expanded stays small. Raises ValueError with the bad part."""
    if text == "0":
        return _FIRST  # every job that is no array
    if (parts := text.count(",") + 1) > MAX_ARRAY_TASKS:
        raise ValueError(f"has {parts} ranges; a job has at most {MAX_ARRAY_TASKS} tasks")
    pairs: list[tuple[int, int]] = []
    for part in text.split(","):
        match = _RANGE.fullmatch(part.strip())
        if match is None:
            raise ValueError(f"{shown(part)} is not a task number or range; write for example '0-3,7'")
        low = int(match[1])
        high = int(match[2]) if match[2] else low
        if high < low:
            raise ValueError(f"range {part!r} runs backwards")
        if high >= MAX_ARRAY_TASKS:
            raise ValueError(f"names task {high}; the tasks of a job are numbered from 0 to {MAX_ARRAY_TASKS - 1}")
        pairs.append((low, high))
    pairs.sort()
    merged: list[tuple[int, int]] = []
    for low, high in pairs:
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], high))
        else:
            merged.append((low, high))
    return tuple(merged)


def format_ranges(tasks: Iterable[int]) -> str:
    """Task numbers as ranges: ``[0, 1, 2, 7]`` becomes ``"0-2,7"``. Duplicates collapse."""
    if isinstance(tasks, range) and tasks.step == 1:  # as of every submitted job: all tasks there are
        return "" if not tasks else f"{tasks[0]}-{tasks[-1]}" if len(tasks) > 1 else str(tasks[0])
    parts: list[str] = []
    start = last = -2
    for number in sorted(set(tasks)):
        if number == last + 1:
            last = number
            continue
        if start >= 0:
            parts.append(str(start) if start == last else f"{start}-{last}")
        start = last = number
    if start >= 0:
        parts.append(str(start) if start == last else f"{start}-{last}")
    return ",".join(parts)


def tasks_in(ranges: str) -> Iterator[int]:
    """Every task number of a `TaskRanges`, ascending."""
    pairs = parse_ranges(ranges)
    if len(pairs) == 1:
        return iter(range(pairs[0][0], pairs[0][1] + 1))
    return (task for low, high in pairs for task in range(low, high + 1))


def count_tasks(ranges: str) -> int:
    """How many tasks a `TaskRanges` names."""
    return sum(high - low + 1 for low, high in parse_ranges(ranges))


def _ranges(value: str) -> str:
    parse_ranges(value)
    return value


TaskRanges = Annotated[str, StringConstraints(min_length=1, max_length=200_000), AfterValidator(_ranges)]
"""Task numbers of a job in compact form: ``"0-4999"``, ``"3,7-9"``. A job that is no array has the one task ``"0"``."""


# Sets of tasks, as pairs


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
