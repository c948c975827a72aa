"""`results.json`: the last run's figures for programs. A run of some suites replaces their figures and leaves the rest.

Committed, so it holds nothing of the machine but what kind it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from bench.report import Figure
from bench.servers import machine
from forgelog.embedded.process import write_atomically

PATH = Path(__file__).parent / "results.json"


def load(path: Path = PATH) -> dict[str, Any]:
    """The document; an empty one when there is none."""
    if not path.exists():
        return {"suites": {}, "peers": {}}
    document: dict[str, Any] = orjson.loads(path.read_bytes())
    return document


def store(part: str, found: dict[str, Sequence[Figure]], path: Path = PATH) -> None:
    """Put figures in, by `part` (``suites`` or ``peers``) and name, with the date and the machine they are of."""
    document = load(path)
    measured = {"date": f"{datetime.now(UTC):%Y-%m-%dT%H:%MZ}", "machine": machine()}
    for name, figures in found.items():
        document[part][name] = {**measured, "figures": [figure.data() for figure in figures]}
    write_atomically(path, orjson.dumps(document, option=orjson.OPT_INDENT_2).decode() + "\n")


def figures(part: str, path: Path = PATH) -> list[Figure]:
    """The figures of the last run of each name."""
    return [Figure.of(data) for suite in load(path)[part].values() for data in suite["figures"]]
