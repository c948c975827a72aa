"""The one place where a version says what it does on purpose otherwise than the versions whose histories are recorded.

Add a `Change` here when a test of recorded histories shows a difference that is meant. It has to say why. What it
concerns is stored somewhere in its old form too: raise the projection's `version` for rows, the decider's
`dump_version` (or the snapshots' `FORMAT`) for states.
"""

from __future__ import annotations

from tests.golden.comparing import Change

CHANGES: tuple[Change, ...] = (
    Change(
        "placed and returned tasks are counted apart",
        "A row depends on events of one context only, so that tables have a past: what resources gave back is counted "
        "in `returns` (51 tasks here), and queries subtract it.",
        "rows/scheduling/queues/default/placed_tasks",
        lambda placed: placed + 51,
        ("2026-11-26",),
    ),
)
