"""What a person calls a thing, and which one is meant: its id, its name, or the beginning of its id. Pure.

The first of these that fits decides, so that an id always means itself:

1. the id;
2. the name, if one that is alive has it, or, when none is alive, one only has it;
3. the beginning of one id.

Which of several is meant is never guessed: the error lists them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from events.process.instants import instant
from forgelog.errors import InvalidInput, NotFound, Problem

LISTED = 10
"""Candidates that an error names; the rest is counted."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A thing that may be meant."""

    id: str
    name: str = ""
    alive: bool = True
    about: str = ""
    """What tells it from others, for people."""


def chosen(text: str, candidates: Sequence[Candidate], *, kind: str, listing: str, at: datetime | None = None) -> str:
    """The id of the candidate that `text` means. `kind` is what they are (``job``), `listing` the command that lists
    them, `at` the past moment at which these were all. Raises `NotFound` if it means none, `InvalidInput` with the
    candidates if it may mean several.
    """
    if any(item.id == text for item in candidates):
        return text
    named = [item for item in candidates if item.name == text]
    for meant in ([item for item in named if item.alive], named):
        if len(meant) == 1:
            return meant[0].id
        if meant:
            raise _ambiguous(f"{len(meant)} {kind}s are called {text!r}; say which by its id", meant)
    begun = [item for item in candidates if text and item.id.startswith(text)]
    if len(begun) == 1:
        return begun[0].id
    if begun:
        raise _ambiguous(f"{len(begun)} {kind}s have an id that begins with {text!r}; write more of it", begun)
    if at is not None:
        then = instant(at.replace(microsecond=0))
        raise NotFound(f"there is no {kind} {text!r} as of {then}; '{listing} --at {then}' lists those of that time")
    raise NotFound(f"there is no {kind} {text!r}; {listing!r} lists them")


def _ambiguous(problem: str, candidates: Sequence[Candidate]) -> InvalidInput:
    lines = [Problem(item.id, item.about or item.name) for item in candidates[:LISTED]]
    if more := len(candidates) - LISTED:
        lines += [Problem("", f"and {more} more")] if more > 0 else []
    return InvalidInput(problem, lines)
