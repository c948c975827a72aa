"""Which partitions hear nothing: the broker does not answer, so the silence of others says nothing about them.

A partition reads its commands by requests that the broker answers after a few seconds at most, also without a new one
(`events.log.consumers.PATIENT`). While no answer comes, its timers wait: what they wait for may have been said, and
what they decide can't be appended. After that it is as after a pause of this process (`Decider.on_resume`). Pure.
"""

from __future__ import annotations

from collections.abc import Mapping

DEAF_AFTER = 5.0
"""Seconds without an answer."""


class Hearing:
    def __init__(self) -> None:
        self.deaf: set[int] = set()
        """Partitions that hear nothing."""
        self._answers: dict[int, tuple[int | None, float]] = {}
        """Partition → the mark of the last answer, and when it was seen first."""

    def note(self, marks: Mapping[int, int | None], now: float) -> list[int]:
        """Note the broker's last answers. Returns the partitions that hear again.

        `marks`: partition → what changes with each answer; None before the first. `now`: seconds of a steady clock."""
        for number in self._answers.keys() - marks.keys():
            del self._answers[number]
            self.deaf.discard(number)
        again = []
        for number, mark in marks.items():
            known, since = self._answers.get(number, (mark, now))
            silent = now - since > DEAF_AFTER
            if number not in self._answers or known != mark:
                self._answers[number] = mark, now
                self.deaf.discard(number)
                again += [number] * silent
            elif silent:
                self.deaf.add(number)
        return again
