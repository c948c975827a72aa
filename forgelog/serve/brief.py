"""Which calls of a model are so short that handing them to a thread and back would take longer than they do. Pure.

A library's own code that computes for a moment may do so in the loop of requests. How long it takes follows from the
size of its inputs, so calls are counted by that, in classes of powers of two. A class is brief if the shortest of some
calls in a row was: a machine that has other things to do lengthens single calls, not all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

MOST_SECONDS = 0.000_3
"""Other requests wait meanwhile."""
CALLS = 8
"""So many calls in a row are judged together."""


@dataclass(slots=True)
class _Class:
    brief: bool = False
    calls: int = 0
    least: float = float("inf")


class Brief:
    """What is known of a model's calls."""

    def __init__(self) -> None:
        self._classes: dict[int, _Class] = {}
        """Bits of the inputs' bytes → what such calls took."""

    def is_brief(self, size: int) -> bool:
        """Whether a call with inputs of so many bytes is."""
        found = self._classes.get(size.bit_length())
        return found is not None and found.brief

    def took(self, size: int, seconds: float) -> None:
        """A call is over."""
        found = self._classes.get(size.bit_length())
        if found is None:
            found = self._classes[size.bit_length()] = _Class()
        if seconds < found.least:
            found.least = seconds
        found.calls += 1
        if found.calls == CALLS:
            found.brief, found.calls, found.least = found.least <= MOST_SECONDS, 0, float("inf")
