"""What `experiment.json` says, for the scripts beside it. Needs nothing but Python."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
_SAID: dict[str, Any] = json.loads((FOLDER / "experiment.json").read_text())

EXPERIMENT: str = _SAID["experiment"]
TRIAL: dict[str, Any] = json.loads(os.environ.get("FORGELOG_PARAMS", "{}"))
"""What the platform's search chose, if this is a trial's job."""


def params() -> dict[str, Any]:
    """All hyperparameters by their dotted names, such as ``basic.epochs``; those of ``custom`` by their own. A trial's
    values count before those of `experiment.json`."""
    found = {}
    for group, values in _SAID["hyperparameters"].items():
        for name, given in values.items():
            text = ",".join(map(str, given)) if isinstance(given, list) else given
            found[name if group == "custom" else f"{group}.{name}"] = text
    return {**found, **TRIAL}


def value(name: str, default: Any) -> Any:
    """A hyperparameter, as the type of its default."""
    return type(default)(params().get(name, default))
