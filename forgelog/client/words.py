"""Words that users type for enum values, checked before a call is made. Knows no particular enum."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from forgelog.client.plain import name_of
from forgelog.errors import InvalidInput


def enum_words(enum: Any, words: Iterable[str], what: str) -> list[Any]:
    """The names of an enum's values on the wire. Raises `InvalidInput` that lists the words there are."""
    try:
        return [name_of(enum, word) for word in several(words)]
    except ValueError as error:
        raise InvalidInput(f"{what}: {error}") from None


def several(texts: Iterable[str]) -> list[str]:
    """The texts. One alone is itself, not its letters: an id where ids are taken, say."""
    return [texts] if isinstance(texts, str) else list(texts)
