"""How results are shown: tables for people, JSON and YAML for programs. Knows nothing of jobs or of the platform.

Data goes to standard output and nothing else does; notes and errors go to standard error. A table is coloured and
fitted to a terminal, and plain (no cut, no colour) when it goes into a pipe.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Any

from forgelog.times import ago


class Format(StrEnum):
    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


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
    "ok": "green",
    "differs": "bold red",
}
"""Colours of states, the same in every table."""


@dataclass(frozen=True, slots=True)
class Column:
    """A table's column: its title, and how a row's cell is made."""

    title: str
    cell: Callable[[Mapping[str, Any]], object]
    right: bool = False
    style: bool = False
    """Colour the cell by its own word (`STYLES`)."""


def column(title: str, key: str | None = None, *, right: bool = False, style: bool = False) -> Column:
    """A column that shows a value of the row as it is; the key is the title in lower case unless given."""
    name = key or title.lower().replace(" ", "_")
    return Column(title, lambda row: row.get(name), right, style)


def age_column(title: str, key: str, now: datetime) -> Column:
    """A column of times, shown as ``3m ago``."""

    def cell(row: Mapping[str, Any]) -> str:
        value = row.get(key)
        return ago(value, now) if isinstance(value, datetime) else ""

    return Column(title, cell, right=True)


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
        return ",".join(f"{key}={text_of(item)}" if item != "" else str(key) for key, item in value.items())
    if isinstance(value, list | tuple):
        return ",".join(text_of(item) for item in value)
    # Names come from users: what would move the cursor or break the line is shown as an escape.
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in str(value))


def is_terminal() -> bool:
    return sys.stdout.isatty()


def show_rows(
    rows: Sequence[Mapping[str, Any]], columns: Sequence[Column], format: Format, *, empty: str = "nothing to show"
) -> None:
    """A list: a table, or the rows' whole data as JSON or YAML."""
    if format is not Format.TABLE:
        show_data(list(rows), format)
    elif not rows:
        note(empty)
    else:
        print_table(rows, columns)


def print_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[Column]) -> None:
    if is_terminal():
        from rich.console import Console

        Console().print(rich_table(rows, columns))
        return
    lines = [[item.title.upper() for item in columns]]
    lines += [[text_of(item.cell(row)) for item in columns] for row in rows]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    for line in lines:
        cells = [
            text.rjust(width) if item.right else text.ljust(width)
            for text, width, item in zip(line, widths, columns, strict=True)
        ]
        write("  ".join(cells).rstrip() + "\n")


def rich_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[Column], title: str | None = None) -> Any:
    """The table for a terminal (a rich renderable)."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold", title=title, title_justify="left")
    for item in columns:
        table.add_column(item.title, justify="right" if item.right else "left", overflow="fold")
    for row in rows:
        cells = []
        for item in columns:
            text = text_of(item.cell(row))
            cells.append(Text(text, style=STYLES.get(text, "") if item.style else ""))
        table.add_row(*cells)
    return table


def show_fields(fields: Mapping[str, object], *, title: str = "") -> None:
    """One thing as ``name: value`` lines; fields without a value are left out."""
    shown = {name: text_of(value) for name, value in fields.items() if value not in (None, "", (), [], {})}
    if title:
        write(f"{title}\n")
    width = max((len(name) for name in shown), default=0)
    for name, text in shown.items():
        write(f"{name + ':':<{width + 1}}  {text}\n")


def show_data(data: Any, format: Format) -> None:
    """Data for programs. Times are RFC 3339 in UTC; keys keep their order."""
    if format is Format.JSON:
        import orjson

        options = orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS | orjson.OPT_UTC_Z
        write(orjson.dumps(plain(data), option=options).decode() + "\n")
        return
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.default_flow_style = False
    yaml.dump(plain(data), sys.stdout)


def show_line(data: Mapping[str, Any]) -> None:
    """One JSON object on one line, for streams."""
    import orjson

    write(orjson.dumps(plain(data), option=orjson.OPT_NON_STR_KEYS | orjson.OPT_UTC_Z).decode() + "\n")
    sys.stdout.flush()


def plain(value: Any) -> Any:
    """Plain data for the encoders: dicts, lists, times as text."""
    if isinstance(value, datetime):
        moment = value.astimezone(UTC)
        return moment.isoformat(timespec="microseconds" if moment.microsecond else "seconds").replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return value


def write(text: str) -> None:
    """Text to standard output. A reader that has gone away (``| head``) ends the command quietly."""
    try:
        sys.stdout.write(text)
    except BrokenPipeError:
        # The interpreter would try once more at exit, and complain.
        import os

        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None


def note(text: str) -> None:
    """A remark for people, on standard error."""
    sys.stderr.write(text + "\n")
