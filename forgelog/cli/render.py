"""Shows results: tables for people, JSON and YAML for programs. Knows nothing of jobs or of the platform.

Only data goes to standard output; notes and errors go to standard error. On a terminal, a table is coloured and fitted
to the width (`forgelog.cli.tables`); in a pipe it is plain and not cut.
"""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from enum import StrEnum
from math import isfinite
from typing import IO, Any

from events.process.instants import instant
from events.process.numbers import word_of
from forgelog.cli.tables import Column, Stream, age_column, column, lines_of, text_of, width_of
from forgelog.errors import ReaderGone

__all__ = [
    "NO_BREAK",
    "Column",
    "Format",
    "age_column",
    "column",
    "is_terminal",
    "note",
    "print_table",
    "rich_table",
    "show_data",
    "show_fields",
    "show_line",
    "show_rows",
    "stream",
    "terminal_width",
    "text_of",
    "write",
]


NO_BREAK = "\u00a0"


class Format(StrEnum):
    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


def is_terminal() -> bool:
    return sys.stdout.isatty()


def show_rows(
    rows: Sequence[Mapping[str, Any]], columns: Sequence[Column], format: Format, *, empty: str = "nothing to show"
) -> None:
    """Show a list: as a table, or all data of the rows as JSON or YAML."""
    if format is not Format.TABLE:
        show_data(list(rows), format)
    elif not rows:
        note(empty)
    else:
        print_table(rows, columns)


def terminal_width() -> int | None:
    """The width of the terminal; None if standard output is not a terminal."""
    return shutil.get_terminal_size().columns if is_terminal() else None


def print_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[Column]) -> None:
    for line in lines_of(rows, columns, width=terminal_width(), colour=is_terminal()):
        write(line + "\n")


def stream(columns: Sequence[Column]) -> Stream:
    """A table on standard output whose rows come one by one."""
    return Stream(columns, width=terminal_width(), colour=is_terminal())


def rich_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[Column]) -> Any:
    """The table as a renderable of rich, for what is drawn again and again."""
    from rich.text import Text

    lines = lines_of(rows, columns, width=terminal_width(), colour=is_terminal())
    return Text.from_ansi("\n".join(lines), no_wrap=True, overflow="ignore")


def show_fields(fields: Mapping[str, object], *, title: str = "") -> None:
    """Show one item as ``name: value`` lines, without fields that have no value, nor have any in them. On a terminal,
    long values are wrapped between words."""
    shown = {name: text for name, value in fields.items() if (text := _value(_with_values(value)))}
    if title:
        write(f"{title}\n")
    width = max((len(name) for name in shown), default=0) + 3
    room = terminal_width()
    for name, text in shown.items():
        lines = [text]
        if room is not None and width_of(text) > room - width:
            lines = textwrap.wrap(text, max(room - width, 20), break_long_words=False, break_on_hyphens=False)
        write(f"{name + ':':<{width}}" + f"\n{'':<{width}}".join(lines) + "\n")


def _with_values(value: object) -> object:
    """What of a value is there: None where all in it is None or empty. An empty text counts: a label may be one."""
    if isinstance(value, Mapping):
        kept = {name: found for name, item in value.items() if (found := _with_values(item)) is not None}
        return kept or None
    return None if value in ((), []) else value


def _value(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(text_of({name: item}) for name, item in value.items() if item not in (None, (), [], {}))
    return ", ".join(text_of(item) for item in value) if isinstance(value, list | tuple) else text_of(value)


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

    write(orjson.dumps(plain(data), option=orjson.OPT_NON_STR_KEYS | orjson.OPT_UTC_Z).decode() + "\n", flush=True)


def plain(value: Any) -> Any:
    """Plain data for the encoders: dicts, lists, times as text."""
    if isinstance(value, datetime):
        return instant(value)
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
    if isinstance(value, float) and not isfinite(value):
        return word_of(value)
    return value


def write(text: str, *, flush: bool = False) -> None:
    """Write text to standard output, at once with `flush`. If the reader has closed the pipe (``| head``), end the
    command quietly."""
    try:
        sys.stdout.write(text)
        if flush:
            sys.stdout.flush()
    except BrokenPipeError:
        raise nobody_reads(sys.stdout) from None


def nobody_reads(stream: IO[str]) -> ReaderGone:
    """What ends the command whose output `stream` leads to nobody any more."""
    import os

    # The interpreter would flush again at exit, and report an error.
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return ReaderGone()


def within(text: str, indent: str = "  ") -> list[str]:
    """Indented lines of 80 columns, wrapped between words, also where there is no terminal."""
    lines = textwrap.wrap(
        text, 80, initial_indent=indent, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
    return [line.replace(NO_BREAK, " ") for line in lines]


def listed(items: Iterable[str], indent: str = "  ") -> list[str]:
    """Several on a line, as `within` has them; none is broken."""
    return within("; ".join(item.replace(" ", NO_BREAK) for item in items), indent)


def note(text: str, *, below: str | None = None) -> None:
    """Write a note for people to standard error. One of a list, with `below`: on a terminal a long one is wrapped
    between words, and its further lines begin with that. No line is broken at a no-break space, shown as a space."""
    if below is not None and sys.stderr.isatty():
        width = shutil.get_terminal_size().columns
        text = "\n".join(textwrap.wrap(text, width, subsequent_indent=below, break_on_hyphens=False)) or text
    sys.stderr.write(text.replace(NO_BREAK, " ") + "\n")


def show_done(
    outcome: Any, text: str, format: Format, unchanged: str = "nothing to change: it was like that already"
) -> None:
    """What a command has changed, in words, or that there was nothing to change."""
    if format is not Format.TABLE:
        show_data(outcome, format)
    else:
        note(unchanged if outcome.result == "unchanged" else text)
