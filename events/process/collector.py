"""How often Python's cycle collector looks at a process's objects.

A process of the platform makes hundreds of thousands of objects while it imports, and keeps nearly all of them. Later a
writer makes many that live long, and next to no cycles. To look through them again and again takes a tenth of the time
until the process is there, and half the time of deciding and folding (measured, at the default of 700 new objects).
"""

from __future__ import annotations

import gc

_USUAL = gc.get_threshold()


def look_seldom() -> None:
    """From now on look seldom."""
    gc.set_threshold(100_000, 50, 100)


def spare_collections() -> None:
    """Look seldom, and never at what there is now."""
    _leave_out_all()
    look_seldom()


def look_as_usual() -> None:
    """Look as often as Python does by itself, to stay small; but never at what there is now."""
    _leave_out_all()
    gc.set_threshold(*_USUAL)


def _leave_out_all() -> None:
    gc.collect()
    gc.freeze()
