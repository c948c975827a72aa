"""Text tables: the text of cells, and the columns that fit a terminal. Pure; knows no terminal and no job.

How a table is fitted to a width:

1. A column without a value in any row goes, unless it has to stay (rank 0).
2. Long texts may shrink to their column's `least` width. While the table is still too wide, the column with the
   highest rank goes.
3. The remaining width goes to the long texts, the most important column first.
4. A text that is still too long is cut and ends in ``…``, or is wrapped. Columns without a `least` are never cut: a cut
   id is useless.

Without a width (a pipe) no column is dropped and no text is cut.
"""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from forgelog.times import ago

STYLES = {
    "pending": "dim",
    "queued": "yellow",
    "scheduled": "cyan",
    "starting": "cyan",
    "running": "bold blue",
    "completed": "green",
    "failed": "bold red",
    "cancelled": "magenta",
    "ready": "green",
    "lost": "bold red",
    "not_ready": "red",
    "held": "bold red",
    "cordoned": "yellow",
    "draining": "yellow",
    "drained": "yellow",
    "bound": "cyan",
    "active": "bold blue",
    "paused": "yellow",
    "closed": "magenta",
    "ok": "green",
    "healthy": "green",
    "degraded": "yellow",
    "unhealthy": "bold red",
    "differs": "bold red",
}
"""Colours of states, the same in every table."""

_CODES = {
    "bold": "1",
    "dim": "2",
    "red": "31",
    "green": "32",
    "yellow": "33",
    "blue": "34",
    "magenta": "35",
    "cyan": "36",
}
_GAP = "  "
READABLE = 60
"""Columns that a text needs to be read with ease."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its title, and the function from a row to its cell."""

    title: str
    cell: Callable[[Mapping[str, Any]], object]
    right: bool = False
    style: bool = False
    """Colour the cell by its own word (`STYLES`)."""
    rank: int = 0
    """Columns of the highest rank are dropped first if the width is too small; rank 0 is never dropped."""
    least: int | None = None
    """Characters that a long text may be shortened to; None shows it whole."""
    wrap: bool = False
    """Wrap a long text into several lines instead of cutting it."""
    more: Callable[[Mapping[str, Any]], object] | None = None
    """A text that belongs to the cell, such as a reason: it is never cut, and stands below the row where the two don't
    fit into one line, at least `READABLE` wide if the table is."""


def column(
    title: str,
    key: str | None = None,
    *,
    right: bool = False,
    style: bool = False,
    rank: int = 0,
    least: int | None = None,
    wrap: bool = False,
) -> Column:
    """A column that shows a value of the row as it is; the key is the title in lower case unless given."""
    name = key or title.lower().replace(" ", "_")
    return Column(title, lambda row: row.get(name), right, style, rank, least, wrap)


def age_column(title: str, key: str, now: datetime, *, rank: int = 0) -> Column:
    """A column of times, shown as ``3m ago``."""

    def cell(row: Mapping[str, Any]) -> str:
        value = row.get(key)
        return ago(value, now) if isinstance(value, datetime) else ""

    return Column(title, cell, right=True, rank=rank)


def text_of(value: object) -> str:
    """A cell's text: nothing for None, words for lists and maps, one line always."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, datetime):
        return value.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, Mapping):
        return ",".join(
            f"{text_of(key)}={text_of(item)}" if item != "" else text_of(key) for key, item in value.items()
        )
    if isinstance(value, list | tuple):
        return ",".join(text_of(item) for item in value)
    # Names come from users: characters that move the cursor or break the line are shown as escapes.
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in str(value))


def clock(time: datetime, today: date) -> str:
    """A local time to the millisecond, with its date unless that is `today`."""
    local = time.astimezone()
    text = local.strftime("%H:%M:%S.%f")[:-3]
    return text if local.date() == today else f"{local:%Y-%m-%d} {text}"


def width_of(text: str) -> int:
    """Columns that a text takes in a terminal: East Asian wide characters take two, combining ones none (UAX #11)."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


def cut(text: str, width: int) -> str:
    """A text in at most `width` columns; ``…`` marks the cut."""
    if width_of(text) <= width:
        return text
    kept, used = [], 0
    for char in text:
        used += width_of(char)
        if used > width - 1:
            break
        kept.append(char)
    return "".join(kept).rstrip() + "…"


def lines_of(
    rows: Sequence[Mapping[str, Any]], columns: Sequence[Column], *, width: int | None, colour: bool = False
) -> list[str]:
    """The lines of a table, its titles first, in `width` columns at most (as far as ids allow)."""
    cells = [[_cell(item, row) for item in columns] for row in rows]
    natural = [
        max([width_of(item.title), *(width_of(_whole(line[index])) for line in cells)])
        for index, item in enumerate(columns)
    ]
    empty = [bool(rows) and not any(_whole(line[index]) for line in cells) for index in range(len(columns))]
    widths = fit(columns, natural, empty, width)
    titles = [item.title.upper() for item in columns]
    lines = [_joined(titles, columns, widths)]
    if colour:
        lines = [_coloured(line, "bold") for line in lines]
    for line in cells:
        lines += _row(line, columns, widths, colour)
    return lines


class Stream:
    """A table whose rows come one by one: a column is as wide as its widest cell so far."""

    def __init__(self, columns: Sequence[Column], *, width: int | None, colour: bool = False) -> None:
        self._columns, self._width, self._colour = columns, width, colour
        self._natural = [0] * len(columns)

    def lines(self, row: Mapping[str, Any]) -> list[str]:
        """The lines of the next row."""
        cells = [_cell(item, row) for item in self._columns]
        self._natural = [max(before, width_of(_whole(cell))) for before, cell in zip(self._natural, cells, strict=True)]
        widths = fit(self._columns, self._natural, [False] * len(cells), self._width)
        return _row(cells, self._columns, widths, self._colour)


def fit(columns: Sequence[Column], natural: Sequence[int], empty: Sequence[bool], width: int | None) -> dict[int, int]:
    """Index of each column that is shown → its width. See the module's steps."""
    shown = {index: natural[index] for index in range(len(columns))}
    if width is None:
        return shown
    shown = {index: size for index, size in shown.items() if not (empty[index] and columns[index].rank)}

    def smallest(index: int) -> int:
        least = columns[index].least
        return natural[index] if least is None else min(natural[index], max(least, width_of(columns[index].title)))

    def total(sizes: Mapping[int, int]) -> int:
        return sum(sizes.values()) + len(_GAP) * (len(sizes) - 1)

    if total(shown) <= width:
        return shown
    shown = {index: smallest(index) for index in shown}
    while total(shown) > width:
        last = max(shown, key=lambda index: (columns[index].rank, index))
        if columns[last].rank == 0:
            break
        del shown[last]
    spare = width - total(shown)
    for index in sorted(shown, key=lambda index: (columns[index].rank, index)):
        if spare > 0:
            more = min(spare, natural[index] - shown[index])
            shown[index] += more
            spare -= more
    return shown


_Cell = tuple[str, str]
"""Its text, and what belongs to it."""


def _cell(item: Column, row: Mapping[str, Any]) -> _Cell:
    return text_of(item.cell(row)), "" if item.more is None else text_of(item.more(row))


def _whole(cell: _Cell) -> str:
    return " ".join(filter(None, cell))


def _parts(item: Column, cell: _Cell, width: int) -> list[str]:
    """A cell's lines, without what belongs to it unless both fit into one."""
    if width_of(_whole(cell)) <= width:
        return [_whole(cell)]
    text, _ = cell
    return (
        (textwrap.wrap(text, width, break_on_hyphens=False) or [""]) if item.wrap and width_of(text) > width else [text]
    )


def _below(cells: Sequence[_Cell], widths: Mapping[int, int]) -> list[str]:
    """The lines of what belongs to cells and does not fit beside them: below its column, and further to the left where
    that is narrow."""
    lines, start = [], 0
    whole = sum(widths.values()) + len(_GAP) * (len(widths) - 1)
    for index, size in widths.items():
        if cells[index][1] and width_of(_whole(cells[index])) > size:
            indent = min(start, max(len(_GAP), whole - READABLE))
            lines += [
                " " * indent + line for line in textwrap.wrap(cells[index][1], whole - indent, break_on_hyphens=False)
            ]
        start += size + len(_GAP)
    return lines


def _row(cells: Sequence[_Cell], columns: Sequence[Column], widths: Mapping[int, int], colour: bool) -> list[str]:
    """A row's line; several where a cell is wrapped or has more."""
    parts = [
        _parts(item, cell, widths[index]) if index in widths else [""]
        for index, (item, cell) in enumerate(zip(columns, cells, strict=True))
    ]
    lines = []
    for number in range(max(len(part) for part in parts)):
        texts = [part[number] if number < len(part) else "" for part in parts]
        lines.append(_joined(texts, columns, widths, colour))
    return lines + _below(cells, widths)


def _joined(texts: Sequence[str], columns: Sequence[Column], widths: Mapping[int, int], colour: bool = False) -> str:
    padded = []
    for index, size in widths.items():
        item, text = columns[index], texts[index]
        short = cut(text, size) if item.least is not None else text
        fill = " " * (size - width_of(short))
        style = STYLES.get(text, "") if colour and item.style else ""
        shown = _coloured(short, style) if style else short
        padded.append(fill + shown if item.right else shown + fill)
    return _GAP.join(padded).rstrip()


def _coloured(text: str, style: str) -> str:
    """ANSI's Select Graphic Rendition (ECMA-48, 8.3.117)."""
    return f"\x1b[{';'.join(_CODES[word] for word in style.split())}m{text}\x1b[0m"
