"""The statuses that things can have in this version, where an enum of the language has more words than that: those of
other things, or some that nothing sets yet. What lists may be asked for, and what shells complete."""

from __future__ import annotations

JOBS = ("pending", "queued", "scheduled", "starting", "running", "completed", "failed", "cancelled")
"""Also those of tasks."""
PIPELINES = ("draft", "active", "paused", "cancelled")
PIPELINE_RUNS = ("queued", "running", "paused", "completed", "failed", "cancelled")
