"""An overload's figures as tables."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table

from tests.overload.load import Second
from tests.overload.rush import MIB, Result

SLICES = 6
"""Rows that the time of the rush is cut into."""

Rows = list[list[str]]


def show(result: Result, *, markdown: bool = False) -> None:
    """On the standard output."""
    write = _markdown if markdown else _table
    tally = result.tally
    print(
        f"capacity {result.capacity:.0f} submits/s; asked for {result.rate:.0f}/s for {result.seconds:.0f} s: "
        f"{sum(s.accepted for s in tally.seconds)} accepted and answered, "
        f"{sum(s.late for s in tally.seconds)} accepted and answered too late, {len(tally.refused)} refused, "
        f"{sum(s.cut for s in tally.seconds)} cut, "
        f"{sum(s.unsent for s in tally.seconds)} not sent; "
        f"those who heeded the hints: {len(result.patient)} submits, {_ms(result.patient, 0.5)} ms p50, "
        f"{_ms(result.patient, 1.0)} ms at most; all {result.jobs} jobs had run {result.drained:.0f} s later; a lone "
        f"submit takes {result.before * 1000:.1f} ms before, {result.after * 1000:.1f} ms afterwards"
    )
    write(("seconds", "sent/s", "accepted/s", "refused/s", "p50 ms", "p99 ms", "refusal p50 ms"), list(_time(result)))
    write(("process", "MiB before", *_slices(result), "most in the flood"), list(_processes(result)))
    if result.flooded:
        print(
            f"flood: {result.flooded} submits in Kafka after {result.flood_sent:.1f} s, all decided after "
            f"{result.flood_decided:.1f} s, all jobs run after {result.flood_drained:.0f} s"
        )
    for problem in result.problems:
        print(f"PROBLEM: {problem}")


def _bounds(result: Result) -> list[tuple[int, int]]:
    every = max(1, round(result.seconds / SLICES))
    starts = range(0, max(1, round(result.seconds)), every)
    return [(start, start + every) for start in starts]


def _slices(result: Result) -> list[str]:
    return [f"{start}-{end} s" for start, end in _bounds(result)]


def _time(result: Result) -> Iterable[list[str]]:
    seconds = result.tally.seconds
    parts = [(f"{start}-{end}", seconds[start:end]) for start, end in _bounds(result)]
    parts.append(("after", seconds[_bounds(result)[-1][1] :]))
    for name, part in parts:
        if part:
            yield [name, *_line(part)]


def _line(part: Sequence[Second]) -> list[str]:
    latencies = [value for second in part for value in second.latencies]
    refusals = [value for second in part for value in second.refusals]
    return [
        f"{sum(second.sent for second in part) / len(part):.0f}",
        f"{sum(second.accepted for second in part) / len(part):.0f}",
        f"{sum(second.refused for second in part) / len(part):.0f}",
        _ms(latencies, 0.5),
        _ms(latencies, 0.99),
        _ms(refusals, 0.5),
    ]


def _ms(values: list[float], part: float) -> str:
    if not values:
        return "-"
    ordered = sorted(values)
    if part == 0.5:
        return f"{statistics.median(ordered) * 1000:.1f}"
    return f"{ordered[min(len(ordered) - 1, int(len(ordered) * part))] * 1000:.0f}"


def _processes(result: Result) -> Iterable[list[str]]:
    memory = result.memory
    assert memory is not None
    began, _ = result.rushed
    for name in sorted(memory.samples):
        row = [name, f"{memory.first(name) / MIB:.0f}"]
        for start, end in _bounds(result):
            row.append(_most(memory.between(name, began + start, began + end)))
        row.append(_most(memory.between(name, result.flood_began, 1e9)) if result.flooded else "-")
        yield row


def _most(sizes: list[int]) -> str:
    return f"{max(sizes) / MIB:.0f}" if sizes else "-"


def _table(head: Sequence[str], rows: Rows) -> None:
    table = Table(*head)
    for row in rows:
        table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def _markdown(head: Sequence[str], rows: Rows) -> None:
    lines = [list(head), ["---" for _ in head], *rows]
    print("\n" + "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n")
