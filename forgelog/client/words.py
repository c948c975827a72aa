"""Words that users type for enum values, checked before a call is made. Knows no particular enum."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from forgelog.client.plain import name_of
from forgelog.errors import InvalidInput


def enum_words(enum: Any, words: Iterable[str], what: str, *, among: Collection[str] = ()) -> list[Any]:
    """The names of an enum's values on the wire. `among`: the words that may be asked for, where the enum has others
    too. Raises `InvalidInput` that lists the words there are."""
    found = []
    for word in several(words):
        try:
            name = name_of(enum, word)
        except ValueError as error:
            if not among:
                raise InvalidInput(f"{what}: {error}") from None
            name = ""
        if among and name not in {name_of(enum, each) for each in among}:
            raise InvalidInput(f"{what}: {word!r} is none of {', '.join(among)}")
        found.append(name)
    return found


def several(texts: Iterable[str]) -> list[str]:
    """The texts. One alone is itself, not its letters: an id where ids are taken, say."""
    return [texts] if isinstance(texts, str) else list(texts)
