"""What `runs curves` shows: a drawing for each metric, with a line for each run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from forgelog.cli.plots import COLOURS, Line, draw, number

_RESET = "\x1b[0m"
_CODES = {"red": 31, "green": 32, "yellow": 33, "blue": 34, "magenta": 35, "cyan": 36}


def drawings(curves: Sequence[Mapping[str, Any]], axis: str, width: int, height: int, colour: bool) -> Iterator[str]:
    """The lines of text, without their ends."""
    groups: dict[tuple[str, str, str], list[Mapping[str, Any]]] = defaultdict(list)
    for curve in curves:
        groups[curve["key"], curve["model_id"], curve["dataset"]].append(curve)
    for name, group in groups.items():
        yield from _drawing(_title(*name), group, axis, width, height, colour)
        yield ""


def _title(key: str, model_id: str, dataset: str) -> str:
    more = [f"model {model_id}"] * bool(model_id) + [f"on {dataset}"] * bool(dataset)
    return f"{key} ({', '.join(more)})" if more else key


def _drawing(
    title: str, curves: Sequence[Mapping[str, Any]], axis: str, width: int, height: int, colour: bool
) -> Iterator[str]:
    yield title
    places = "times" if axis == "time" else "steps"
    made = draw([Line(curve[places], curve["values"]) for curve in curves], width, height)
    if made is None:
        yield "  nothing but NaN and infinities"
    else:
        high, low = number(made.high), number(made.low)
        room = max(len(high), len(low))
        for row, cells in enumerate(made.rows):
            label = high if row == 0 else low if row == height - 1 else ""
            text = "".join(_painted(character, of, colour) for character, of in cells)
            yield f"{label:>{room}} │{text}"
        left, right = _place(made.left, axis), _place(made.right, axis)
        yield f"{'':>{room}} └{'─' * width}"
        yield f"{'':>{room}}  {left}{right:>{max(width - len(left), len(right) + 1)}}"
    for index, curve in enumerate(curves):
        mark = _painted("──", index, colour)
        yield f"  {mark} {curve['run_id']}  {curve['points']} points, last {number(curve['values'][-1])}"


def _place(value: float, axis: str) -> str:
    if axis != "time":
        return str(int(value))
    return datetime.fromtimestamp(value / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _painted(text: str, of: int | None, colour: bool) -> str:
    if not colour or of is None:
        return text
    return f"\x1b[{_CODES[COLOURS[of % len(COLOURS)]]}m{text}{_RESET}"
