"""Numbers that JSON has none for, as protobuf's JSON writes them: the words NaN, Infinity and -Infinity."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def with_words(data: Any) -> Any:
    """Plain data in which such numbers are words. Returns the same data if there are none."""
    if isinstance(data, float):
        return data if math.isfinite(data) else word_of(data)
    if isinstance(data, Mapping):
        return {key: with_words(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        if data and type(data[0]) is float and all(map(_fine, data)):
            return data
        return [with_words(each) for each in data]
    return data


def word_of(number: float) -> str:
    """The word of a number that is not finite."""
    if math.isnan(number):
        return "NaN"
    return "Infinity" if number > 0 else "-Infinity"


def _fine(value: Any) -> bool:
    return type(value) is float and math.isfinite(value)
