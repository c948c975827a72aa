"""DuckDB's errors in words for the person who wrote the stage. Pure."""

from __future__ import annotations

import re

from forgelog.pipelines.io.context import Resolved
from forgelog.pipelines.problems import StageError

_VIRTUAL = re.compile(r"in[0-9a-f]{16}://(\d+)/[^\s'\"]*")


def reading_problem(error: Exception, resolved: Resolved) -> StageError:
    """An error of DuckDB while it reads a source, in words for the person who wrote the stage."""
    if (own := own_problem(error)) is not None:
        return own
    said = _VIRTUAL.sub(lambda found: _url(resolved, int(found[1])), str(error))
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    first = lines[0] if lines else type(error).__name__
    field, remedy = "path", "see whether the file is whole, and write it again if it is not"
    if "nicode" in said or "utf-8" in said or "UTF-8" in said:
        field = "format.csv.encoding"
        remedy = "say how the file is encoded, such as latin-1 or windows-1252, or give a path without it"
    elif "magic bytes" in said or "too small to be a Parquet" in said:
        pass
    elif "CSV Error" in said or "sniff" in said.lower():
        field, first = "format.csv", " ".join(lines[:3])
        remedy = "correct the line, change the options, or let max_bad_rows lines be left out"
    elif "onversion" in first or "ast" in first:
        field = "columns" if resolved.source.columns else "infer"
        remedy = "correct the value or the column's type; infer.sample_rows: -1 looks at all rows for types"
    elif "JSON" in first or "json" in first:
        field, remedy = "format.json_layout", "see whether the file is JSON of that layout"
    return StageError(field, first[:1_000], remedy)


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
