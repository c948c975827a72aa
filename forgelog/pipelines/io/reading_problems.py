"""DuckDB's errors in words for the person who wrote the stage. Pure."""

from __future__ import annotations

import re

from forgelog.pipelines.io.bringing import copied_name, scratch_of
from forgelog.pipelines.io.context import Resolved
from forgelog.pipelines.io.words import shown
from forgelog.pipelines.problems import StageError

_VIRTUAL = re.compile(r"in[0-9a-f]{16}://(\d+)/[^\s'\"]*")


def reading_problem(error: Exception, resolved: Resolved) -> StageError:
    """An error of DuckDB while it reads a source, in words for the person who wrote the stage."""
    if (own := own_problem(error)) is not None:
        return own
    said = told_url(str(error), resolved)
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    first = lines[0] if lines else type(error).__name__
    if first.startswith("Traceback"):  # of our own file system, below DuckDB
        problem = lines[-1].removeprefix("forgelog.pipelines.problems.StageError: ").removeprefix("path: ")
        return StageError("path", problem[:1_000], "run the stage again", transient=True)
    if found := _CSV_LINE.search(said):
        return _csv_problem(int(found[1]), lines, resolved)
    field, remedy = "path", "see whether the file is whole, and write it again if it is not"
    if "sniffing" in first:
        field, remedy = "format.csv", "say how the file is laid out: delimiter, quote, header, skip_lines"
    elif "onversion Error" in first or "ould not cast" in first:
        field, remedy = _type_field(resolved), "correct the value or the column's type"
    elif "JSON" in first or "json" in first:
        field, remedy = "format.json_layout", "see whether the file is JSON of that layout"
    return StageError(field, first[:1_000], remedy)


_CSV_LINE = re.compile(r"CSV Error on Line: (\d+)")


def _csv_problem(number: int, lines: list[str], resolved: Resolved) -> StageError:
    """DuckDB says where, what, some advice for those who call it, and the options of its reader."""
    file = next((line.removeprefix("file = ") for line in lines if line.startswith("file = ")), "the file")
    messages = [line for line in lines[1:] if not line.startswith(("Original Line:", "CSV Error on"))]
    what = messages[0] if messages else lines[0]
    where = f"line {number} of {shown(file)}: {what[:500]}"
    if "nicode" in what:
        remedy = "say how the file is encoded, such as latin_1 or windows_1252, or give a path without it"
        return StageError("format.csv.encoding", where, remedy)
    if "converting" in what:
        remedy = "correct the value, or give the column's type in columns; infer.sample_rows: -1 looks at all rows"
        return StageError(_type_field(resolved), where, remedy)
    return StageError("format.csv", where, "correct the line, change the options, or set max_bad_rows")


def _type_field(resolved: Resolved) -> str:
    return "columns" if resolved.source.columns else "infer"


def told_url(text: str, resolved: Resolved) -> str:
    """A text of DuckDB's with the files' names as people know them, also of those that were brought to the scratch
    folder."""
    text = _VIRTUAL.sub(lambda found: _url(resolved, int(found[1])), text)
    brought = re.escape(f"{scratch_of(resolved)}/") + r"(\d+)/([^'\"\n]*)"
    return re.sub(brought, lambda found: _told_copy(found, resolved), text)


def _told_copy(found: re.Match[str], resolved: Resolved) -> str:
    """The file of which a copy is named, and what follows the name: a name may have spaces, so it is looked for."""
    number, rest = int(found[1]), found[2]
    if number >= len(resolved.files):
        return found[0]
    url = resolved.files[number].url
    _, name, after = rest.rpartition(copied_name(url))
    return url + after.removeprefix(".parquet") if name else url


def _url(resolved: Resolved, number: int) -> str:
    return resolved.files[number].url if number < len(resolved.files) else str(number)


def own_problem(error: Exception) -> StageError | None:
    """What our own file system raised below DuckDB."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, StageError):
            return cause
        cause = cause.__cause__ or cause.__context__
    return None
