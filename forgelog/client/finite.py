"""Numbers that JSON has not: NaN and infinity. Sent as null they would mean that a field is left out. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any


def not_finite(value: Any, place: str = "") -> Iterator[tuple[str, float]]:
    """The numbers in a body that are not finite, each with its field, such as ``limits.seconds``."""
    if isinstance(value, float):
        if not math.isfinite(value):
            yield place, value
    elif isinstance(value, Mapping):
        for name, each in value.items():
            yield from not_finite(each, f"{place}.{name}" if place else str(name))
    elif isinstance(value, list | tuple):
        for number, each in enumerate(value):
            yield from not_finite(each, f"{place}[{number}]")
