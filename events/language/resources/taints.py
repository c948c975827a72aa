"""Which taints a job puts up with. Scheduling and resources must answer this alike, so it is part of the language."""

from __future__ import annotations

from collections.abc import Iterable

from events.language.jobs.spec import Toleration
from events.language.resources import Taint


def tolerates(tolerations: Iterable[Toleration], taint: Taint) -> bool:
    """Whether one of the tolerations covers the taint; what a toleration leaves out matches anything."""
    return any(
        toleration.key in (None, taint.key)
        and toleration.value in (None, taint.value)
        and toleration.effect in (None, taint.effect)
        for toleration in tolerations
    )


def show(taint: Taint) -> str:
    """As people write it: ``gpu=reserved``, or ``gpu`` when it has no value."""
    return f"{taint.key}={taint.value}" if taint.value else taint.key
