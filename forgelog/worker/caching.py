"""The key of what a stage makes: equal keys, equal rows.

A DuckDB that is locked reads nothing but its inputs, so the key holds all that the rows follow from: the stage, the
engine, the code, the libraries, the parameters and what each input is now. Parameters that the stage does not name, and
the interval, count too: a function of the user's may read any of them.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import orjson
from blake3 import blake3

from events.language.pipelines.stages import StageSpec

_NOT_OF_THE_ROWS = {"name", "description", "retry", "timeout_seconds", "resources", "cache"}
"""Fields of a stage that its rows do not follow from."""


def cache_key(
    stage: StageSpec,
    parameters: Mapping[str, Any],
    inputs: Mapping[str, tuple[str, ...]],
    interval: tuple[datetime, datetime] | None,
    folder: Path | None = None,
    *,
    engine: Mapping[str, Any],
) -> str:
    """64 hexadecimal digits. `inputs`: what each is now (`Resolved.identity`). `folder`: of the pipeline's code; the
    working directory if left out. `engine`: its name and its settings."""
    whole = {
        "stage": stage.model_dump(mode="json", exclude_defaults=True, exclude=_NOT_OF_THE_ROWS),
        "parameters": dict(parameters),
        "inputs": {name: list(identity) for name, identity in inputs.items()},
        "interval": [time.isoformat() for time in interval] if interval else None,
        "engine": dict(engine),
        "code": code_digest(folder or Path.cwd()),
        "libraries": libraries(),
    }
    return blake3(orjson.dumps(whole, option=orjson.OPT_SORT_KEYS)).hexdigest()


@cache
def code_digest(folder: Path) -> str:
    """Of the Python files below a folder, which is a worker's own copy: their names and bytes."""
    digest = blake3()
    for path in sorted(folder.rglob("*.py")):
        if any(part.startswith(".") for part in path.relative_to(folder).parts) or not path.is_file():
            continue
        content = path.read_bytes()
        digest.update(f"{path.relative_to(folder)}\0{len(content)}\0".encode(errors="surrogateescape"))
        digest.update(content)
    return digest.hexdigest()


@cache
def libraries() -> str:
    """The digest of all that is installed with its versions, the engine among them."""
    found = sorted({f"{each.name}=={each.version}" for each in distributions() if each.name})
    return blake3("\n".join([sys.version, *found]).encode()).hexdigest()
