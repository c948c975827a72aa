"""Backfills: runs for intervals that are over."""

from __future__ import annotations

from enum import StrEnum


class BackfillRerun(StrEnum):
    """Which intervals a backfill runs."""

    MISSING = "missing"
    """Those that no run has ended for, however it ended."""
    FAILED = "failed"
    """Those too whose runs all failed or were cancelled."""
    ALL = "all"
    """All of them."""


class BackfillStatus(StrEnum):
    """How a backfill stands."""

    RUNNING = "running"
    COMPLETED = "completed"
    """All its runs have ended; some may have failed."""
    CANCELLED = "cancelled"
    """It was ended on request, or its pipeline was retired or has no schedule any more."""
