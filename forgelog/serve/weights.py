"""Files of safetensors, for a user's class: names and arrays, and no code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from forgelog.serve.problems import NotServable
from forgelog.serve.tensors import Array


def load_weights(path: str | Path) -> dict[str, Array]:
    """Name → array of a file, or of all files ``*.safetensors`` of a folder. Raises `NotServable`."""
    try:
        from safetensors.numpy import load_file
    except ModuleNotFoundError:
        raise NotServable(
            "a file of safetensors needs safetensors, which is not installed; pip install safetensors"
        ) from None
    given = Path(path)
    files = sorted(given.glob("*.safetensors")) if given.is_dir() else [given]
    if not files:
        raise NotServable(f"{given} has no file *.safetensors")
    found: dict[str, Any] = {}
    for file in files:
        found |= load_file(str(file))
    return found
