"""DuckDB's errors in words for the person who wrote the stage."""

from __future__ import annotations

import re
from typing import Any

from forgelog.pipelines.problems import StageError

_KIND = re.compile(r"^([A-Z][A-Za-z-]*(?: [A-Z][A-Za-z-]*)*) Error: ")

_REMEDIES = {
    "Binder": "name what there is",
    "Catalog": "name what there is",
    "Parser": "write it as DuckDB's SQL",
    "Conversion": "convert by TRY_CAST, or filter such rows before",
    "Out of Range": "choose a wider type",
    "Out of Memory": "give the stage more memory (resources.memory_bytes), or more scratch space",
    "Permission": "declare what it reads as an input of the stage",
    "Invalid Input": "mend the data or the transformation",
    "Constraint": "mend the data or the transformation",
}

_CAST = "an explicit cast is required"


def explained(error: Any, field: str = "") -> StageError:
    """An error of DuckDB as one of a stage's `field`."""
    lines = [line.strip() for line in str(error).splitlines()]
    text = " ".join(line for line in _until_the_query(lines) if line)
    kind = ""
    if found := _KIND.match(text):
        kind, text = found.group(1), text[found.end() :]
    problem, remedy = _split(text)
    text = (problem[:1].lower() + problem[1:]) if not problem[:2].isupper() else problem
    if _CAST in text:
        remedy = "convert one of them by CAST, or TRY_CAST; a column's type may be given in columns of its source"
    return StageError(
        field, text[:1_000] or "failed", remedy[:1_000] or _REMEDIES.get(kind, "mend it and run it again")
    )


def _until_the_query(lines: list[str]) -> list[str]:
    """Without the lines that quote the compiled query, which the reader did not write."""
    kept = []
    for line in lines:
        if line.startswith("LINE ") and ":" in line:
            break
        kept.append(line)
    return kept


def _split(text: str) -> tuple[str, str]:
    """What is wrong, and what DuckDB suggests."""
    for mark in ("Candidate bindings:", "Candidate functions:", "Did you mean", "Possible solutions:"):
        place = text.find(mark)
        if place > 0:
            hint = text[place:].strip()
            return text[:place].strip().rstrip("."), hint[:1].lower() + hint[1:]
    return text.strip().rstrip("."), ""
