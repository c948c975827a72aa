"""Patterns of paths in a folder, such as `results/**`: which files a job keeps. Pure.

A pattern is held against a path from the folder on, name by name, as `pathlib` does it:

    `*`  any part of a name, `?` one character, `[ab]`, `[a-z]`, `[!ab]` one of these or none of them
    `**` any number of folders, also none; it stands alone between slashes

A pattern that fits a folder fits all that lies in it. A name that begins with a dot is a name like others. Case counts.
Names are compared in time that grows with the product of the two lengths: a pattern may come from anyone, and so may
the names.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

from events.language.common import shown

MAX_PATTERN = 250
"""Most characters of a pattern."""
MAX_PATTERNS = 32

_ANY_NAMES = "**"
Reached = frozenset[tuple[int, int]]
"""How far names have come: numbers of patterns, each with how many of its parts they fit."""


def check_pattern(text: str) -> str:
    """Raises ValueError, with what to write instead."""
    if not text:
        raise ValueError("is empty; write for example results/**")
    if text.startswith("/"):
        raise ValueError(f"{shown(text)} begins with /; write it as seen from the task's working folder: results/**")
    if "\\" in text:
        raise ValueError(f"{shown(text)} has a backslash; write / between names, and [*] for a star itself")
    if "\0" in text:
        raise ValueError(f"{shown(text)} has a zero byte, which no name has")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{shown(text)} is no UTF-8") from None
    for name in text.removesuffix("/").split("/"):
        if name == "..":
            raise ValueError(f"{shown(text)} leads out of the folder by ..; only what lies in it can be kept")
        if name in ("", "."):
            raise ValueError(f"{shown(text)} has the name {shown(name)}; leave it out")
        if "**" in name and name != _ANY_NAMES:
            raise ValueError(f"{shown(text)}: ** stands alone between slashes; write {_apart(name)}")
        _parsed(name)
    return text


PathPattern = Annotated[str, StringConstraints(min_length=1, max_length=MAX_PATTERN), AfterValidator(check_pattern)]
"""1-250 characters: a path in a folder, with `*`, `?`, `[...]` and `**`."""

PathPatternList = Annotated[tuple[PathPattern, ...], Field(max_length=MAX_PATTERNS, examples=[["results/**"]])]


class Patterns:
    """Several patterns, and how far names have come in them."""

    def __init__(self, patterns: Iterable[str]) -> None:
        """Raises ValueError."""
        self._parts = [check_pattern(text).removesuffix("/").split("/") for text in patterns]
        self.start: Reached = self._closed((number, 0) for number in range(len(self._parts)))
        """Before any name: in the folder itself."""

    def enter(self, reached: Reached, name: str) -> Reached:
        """Behind one more name. Empty: no pattern fits that, nor anything in it."""
        return self._closed(
            (number, at + (at < len(parts) and parts[at] != _ANY_NAMES))
            for number, at in reached
            if at == len(parts := self._parts[number]) or parts[at] == _ANY_NAMES or _fits(parts[at], name)
        )

    def fit(self, reached: Reached) -> bool:
        """Whether one of them fits."""
        return any(at == len(self._parts[number]) for number, at in reached)

    def fit_path(self, path: str) -> bool:
        """Whether one of them fits a path, with `/` between names."""
        reached = self.start
        for name in path.split("/"):
            reached = self.enter(reached, name)
        return self.fit(reached)

    def _closed(self, reached: Iterable[tuple[int, int]]) -> Reached:
        """With what is reached by no further name: `**` may stand for none."""
        closed = set(reached)
        for number, at in tuple(closed):
            parts = self._parts[number]
            while at < len(parts) and parts[at] == _ANY_NAMES:
                at += 1
                closed.add((number, at))
        return frozenset(closed)


def _fits(pattern: str, name: str) -> bool:
    """Whether a pattern without `/` fits a name. Only the last `*` is tried again: those before it need no more than
    they have (so does fnmatch(3) of musl)."""
    parts = _parsed(pattern)
    at = part = 0
    star, again = -1, 0
    while at < len(name):
        wanted = parts[part] if part < len(parts) else None
        if wanted == "*":
            star, again = part, at
            part += 1
        elif wanted is not None and wanted != "*" and _fits_one(wanted, name[at]):
            part += 1
            at += 1
        elif star >= 0:
            again += 1
            part, at = star + 1, again
        else:
            return False
    return all(rest == "*" for rest in parts[part:])


def _fits_one(wanted: str, char: str) -> bool:
    """`wanted`: `?`, a set in brackets, or a character itself."""
    if len(wanted) == 1:
        return wanted in ("?", char)
    negated = wanted[1] == "!"
    chars = wanted[1 + negated : -1]
    at, found = 0, False
    while at < len(chars):
        if at + 2 < len(chars) and chars[at + 1] == "-":
            found = found or chars[at] <= char <= chars[at + 2]
            at += 3
        else:
            found = found or chars[at] == char
            at += 1
    return found is not negated


@lru_cache(maxsize=1024)
def _parsed(name: str) -> tuple[str, ...]:
    """The parts of a name's pattern: `*`, `?`, sets with their brackets, other characters. Raises ValueError."""
    parts, at = [], 0
    while at < len(name):
        if name[at] != "[":
            parts.append(name[at])
            at += 1
            continue
        first = at + 1 + (name[at + 1 : at + 2] == "!")
        end = name.find("]", first + 1)  # a ] that comes first is one of the set
        if end < 0:
            raise ValueError(f"{shown(name)} has a [ without its ]; write [[] for the character itself")
        parts.append(name[at : end + 1])
        at = end + 1
    return tuple(parts)


def _apart(name: str) -> str:
    """A name with `**` amid it, with the slashes that it lacks."""
    before, _, behind = name.partition(_ANY_NAMES)
    return "/".join(filter(None, (before, _ANY_NAMES, f"*{behind.lstrip('*')}" if behind.strip("*") else "")))
