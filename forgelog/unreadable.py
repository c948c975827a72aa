"""What keeps files of a table from being read, in words for those who have them."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import IO


def named(files: Mapping[str, Path]) -> str:
    """Files of a table, by their first."""
    first = next(iter(files))
    return first if len(files) == 1 else f"{first} and {len(files) - 1} more"


def opened(file: Path) -> IO[str]:
    """A file's text; a mark of its byte order is no part of that."""
    if file.suffix == ".gz":
        return gzip.open(file, "rt", encoding="utf-8-sig", newline="")
    return file.open(encoding="utf-8-sig", newline="")


def bad_line(files: Mapping[str, Path]) -> str:
    """The first line that is no JSON, and why; empty if there is none."""
    for path, file in files.items():
        try:
            with opened(file) as lines:
                for number, line in enumerate(lines, 1):
                    if line.strip():
                        try:
                            json.loads(line)
                        except (ValueError, RecursionError) as error:
                            return f"line {number} of {path}: {error}"
        except (OSError, EOFError, UnicodeDecodeError) as error:
            return f"{path}: {error}"
    return ""


_NOISE = re.compile(r"(Original Line|Possible|LINE \d|file =|\s*\^)")


def reason_of(error: Exception) -> str:
    """The first sentences of an error of DuckDB's, without advice for its own users."""
    if "sniffing" in str(error):
        return "its lines do not have equally many fields, or a quote is not closed"
    said = str(error).split("\n\n")[0].splitlines()
    kept = [line.strip() for line in said if line.strip() and not _NOISE.match(line)]
    return " ".join(kept).partition(": ")[2][:300] or " ".join(kept)[:300]
