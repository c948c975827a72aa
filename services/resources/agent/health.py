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
    hung: bool = False
    """Whether it neither answers nor does anything."""


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


HUNG_FAILURES = 2
"""Failures in a row that are enough of a task that is `hung`."""
_NOTHING = 0.01
"""The share of a CPU below which a task does nothing: threads that look at a clock now and then use less."""
_TICK = 0.02
"""Seconds of CPU that the kernel's counters may be wrong by."""


@dataclass(slots=True)
class Stillness:
    """Tells a task that hangs from one that is busy: for a row of probes it has given no answer, and used no CPU.

    A busy one is given more time, since it may answer again; a hung one only keeps its callers waiting."""

    failures: int = 0
    """Probes in a row without an answer."""
    since: float = 0.0
    """When the first of them began, in seconds."""
    used: float = 0.0
    """CPU seconds that the task had used then."""

    def after(self, silent: bool, begun: float, used_before: float, now: float, used_now: float | None) -> bool:
        """Whether the task hangs, after one more probe. `silent`: it got no answer at all. `used_before`, `used_now`:
        CPU seconds of the task before and after; None if it waits for a disk, so that it can't be told."""
        if not silent or used_now is None:
            self.failures = 0
            return False
        if not self.failures:
            self.since, self.used = begun, used_before
        self.failures += 1
        still = used_now - self.used <= _TICK + _NOTHING * (now - self.since)
        return still and self.failures >= HUNG_FAILURES
