"""The load of a day ahead of time: additive Holt-Winters with a damped trend, over the minutes of a day.

Source: Hyndman, Athanasopoulos, Forecasting: principles and practice (3rd ed.), sections 8.3 and 8.4. Pure: it is
folded from the loads in the log, so every replay comes to the same forecasts.

A forecast is the method's own, plus the quantile of its errors of the last day at a like distance: the load that is not
exceeded with that probability. The mean of those errors says whether it is of any use.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from events.language.deployments.scaling import LoadForecast

PERIOD = 1440
"""Minutes of a day, in UTC."""

LEVEL, TREND, SEASON, DAMPING = 0.25, 0.01, 0.3, 0.9
"""Smoothing (α, β, γ) and damping (φ)."""

AHEAD = 7
"""Minutes by which the forecasts look ahead whose errors are kept: five between two records of the load, and two that a
replica takes to be ready."""

LEAST_RPS = 0.1
"""A lower mean load counts as this much: what is wrong about next to nothing is of no weight."""


@dataclass(slots=True)
class DayModel:
    """What is learned of a deployment's load, minute by minute. Minutes are counted since 1970."""

    minute: int | None = None
    """The last one that was folded."""
    learned: int = 0
    """Minutes of the first day that were folded."""
    level: float = 0.0
    """While the first day is learned: its mean so far."""
    trend: float = 0.0
    seasons: list[float | None] = field(default_factory=lambda: [None] * PERIOD)
    """What each minute of the day differs from the level (on the first day: its load); None: not seen yet."""
    pending: list[tuple[int, float]] = field(default_factory=list)
    """Minute, and what was forecast for it."""
    errors: list[tuple[float, float]] = field(default_factory=list)
    """Of the last day, oldest first: the load less its forecast, and the load."""

    def fold(self, minute: int, rps: float) -> None:
        """One minute's mean load. One that is not later than the last is left out; minutes may be missing."""
        if self.minute is not None and minute <= self.minute:
            return
        passed = 1 if self.minute is None else minute - self.minute
        self.minute = minute
        if self.learned < PERIOD:
            self._learn(minute, rps)
            return
        self._compare(minute, rps)
        expected = self.level + _damped(passed) * self.trend
        season = self.seasons[minute % PERIOD]
        if season is None:
            season = rps - expected
        level = LEVEL * (rps - season) + (1 - LEVEL) * expected
        self.trend = TREND * (level - self.level) / passed + (1 - TREND) * DAMPING * self.trend
        self.level = level
        self.seasons[minute % PERIOD] = SEASON * (rps - level) + (1 - SEASON) * season
        self.pending.append((minute + AHEAD, self._expected(minute + AHEAD)))

    def forecast(self, first: int, last: int, quantile: float) -> LoadForecast | None:
        """The highest load of the minutes `first` to `last` (later than what was folded) that is not exceeded with this
        probability. None before a whole day was seen, and if the last record is a day old."""
        if self.minute is None or self.learned < PERIOD or last - self.minute >= PERIOD:
            return None
        expected = max(self._expected(minute) for minute in range(first, last + 1))
        return LoadForecast(
            rps=round(max(0.0, expected + self._error_of(quantile)), 6), error_percent=self.error_percent()
        )

    def error_percent(self) -> float | None:
        """Mean absolute error of the last day's forecasts in percent of its mean load; None before there is a day."""
        if len(self.errors) < PERIOD:
            return None
        wrong = math.fsum(abs(error) for error, _ in self.errors) / PERIOD
        mean = math.fsum(rps for _, rps in self.errors) / PERIOD
        return round(100 * wrong / max(mean, LEAST_RPS), 6)

    def _learn(self, minute: int, rps: float) -> None:
        self.learned += 1
        self.level += (rps - self.level) / self.learned
        self.seasons[minute % PERIOD] = rps
        if self.learned == PERIOD:
            self.seasons = [None if load is None else load - self.level for load in self.seasons]

    def _compare(self, minute: int, rps: float) -> None:
        while self.pending and self.pending[0][0] <= minute:
            due, expected = self.pending.pop(0)
            if due == minute:
                self.errors.append((round(rps - expected, 6), rps))
        del self.errors[:-PERIOD]

    def _expected(self, minute: int) -> float:
        assert self.minute is not None
        season = self.seasons[minute % PERIOD]
        return max(0.0, self.level + _damped(minute - self.minute) * self.trend + (season or 0.0))

    def _error_of(self, quantile: float) -> float:
        errors = sorted(error for error, _ in self.errors)
        return errors[math.floor(quantile * (len(errors) - 1))] if errors else 0.0


def _damped(steps: int) -> float:
    """φ + φ² + … of that many steps: how far a damped trend goes."""
    return DAMPING * (1 - DAMPING ** max(0, min(steps, 1000))) / (1 - DAMPING)
