"""What the platform has configured a program with: the parameters of its run, by the variable ``FORGELOG_CONFIG``."""

from __future__ import annotations

import json
import os
from typing import Any

from forgelog.errors import InvalidInput
from forgelog.units import quoted

CONFIG = "FORGELOG_CONFIG"


def config() -> dict[str, Any]:
    """The parameters that this job's run was begun with, by name: numbers, truth values, texts. Empty outside of a job,
    and where there are none. Raises `InvalidInput` for a variable that is no JSON object."""
    text = os.environ.get(CONFIG, "")
    if not text:
        return {}
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise InvalidInput(f"{CONFIG}: {quoted(text)} is no JSON object; leave it to the platform, or write {{}}")
    return found
