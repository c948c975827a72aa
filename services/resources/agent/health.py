"""What a row of a probe's answers means. Pure; `probing` asks, `serving` acts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from events.language.jobs.spec_service import Probe


class Verdict(NamedTuple):
    """What a probe has come to think of a task."""

    good: bool
    reason: str = ""
    """Why it is bad: the last answer, and how often it came."""


@dataclass(slots=True)
class Streak:
    """Equal answers in a row, and what they have led to."""

    successes_needed: int
    failures_needed: int
    good: bool | None = None
    """The present verdict; None before the first."""
    length: int = 0
    """Answers in a row that speak against the present verdict."""
    failing: bool = False
    """Whether these are failures."""

    @classmethod
    def of(cls, probe: Probe) -> Streak:
        return cls(probe.success_threshold, probe.failure_threshold)

    def after(self, problem: str) -> Verdict | None:
        """The new verdict that one more answer leads to; None if it stays. `problem`: what was wrong, or empty."""
        failing = bool(problem)
        if self.good is (not failing):
            self.length = 0
            return None
        self.length = self.length + 1 if self.failing is failing else 1
        self.failing = failing
        if self.length < (self.failures_needed if failing else self.successes_needed):
            return None
        length, self.length, self.good = self.length, 0, not failing
        times = f" ({length} times in a row)" if length > 1 else ""
        return Verdict(self.good, f"{problem}{times}" if failing else "")
