"""Booleans where numbers are wanted: pydantic takes ``true`` for 1, which nobody means who writes ``cpus: true``.

Looked for beside pydantic, in what was sent and in what became of it: a validator of every number would cost each
event that is read, and booleans stand in few messages. Knows no message.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

Place = tuple[str | int, ...]


def booleans_for_numbers(sent: Any, made: Any, place: Place = ()) -> Iterator[tuple[Place, bool]]:
    """Places at which JSON data has a boolean and the model that was made of it a number, with the boolean."""
    if isinstance(sent, bool):
        if isinstance(made, int | float) and not isinstance(made, bool):
            yield place, sent
    elif isinstance(sent, dict):
        inside = made.__dict__ if isinstance(made, BaseModel) else made if isinstance(made, dict) else {}
        for key, value in sent.items():
            if key in inside:
                yield from booleans_for_numbers(value, inside[key], (*place, key))
    elif isinstance(sent, list) and isinstance(made, list | tuple) and len(sent) == len(made):
        for number, (value, one) in enumerate(zip(sent, made, strict=True)):
            yield from booleans_for_numbers(value, one, (*place, number))
