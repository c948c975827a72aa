"""What `runs curves` shows: a drawing for each metric, with a line for each run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from forgelog.cli.plots import COLOURS, Line, draw
from forgelog.cli.tables import text_of
from forgelog.plots.figures import Chart, short, time_text

_RESET = "\x1b[0m"
_CODES = {"red": 31, "green": 32, "yellow": 33, "blue": 34, "magenta": 35, "cyan": 36}


def drawings(charts: Iterable[Chart], width: int, height: int, colour: bool) -> Iterator[str]:
    """The lines of text, without their ends."""
    for chart in charts:
        yield from _drawing(chart, width, height, colour)
        yield ""


def _drawing(chart: Chart, width: int, height: int, colour: bool) -> Iterator[str]:
    yield text_of(chart.title)
    made = draw([Line(line.xs, line.ys) for line in chart.lines], width, height)
    if made is None:
        yield "  nothing but NaN and infinities"
    else:
        high, low = short(made.high), short(made.low)
        room = max(len(high), len(low))
        for row, cells in enumerate(made.rows):
            label = high if row == 0 else low if row == height - 1 else ""
            text = "".join(painted(character, of, colour) for character, of in cells)
            yield f"{label:>{room}} │{text}"
        left, right = (time_text(x) if chart.by_time else str(int(x)) for x in (made.left, made.right))
        yield f"{'':>{room}} └{'─' * width}"
        yield f"{'':>{room}}  {left}{right:>{max(width - len(left), len(right) + 1)}}"
    for index, line in enumerate(chart.lines):
        yield f"  {painted('──', index, colour)} {text_of(line.name)}  {line.points} points, last {short(line.ys[-1])}"


def painted(text: str, of: int | None, colour: bool) -> str:
    """A text in the colour of a line."""
    if not colour or of is None:
        return text
    return f"\x1b[{_CODES[COLOURS[of % len(COLOURS)]]}m{text}{_RESET}"
