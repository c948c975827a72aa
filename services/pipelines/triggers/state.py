"""What a pipeline remembers of its triggers: what it is told of, and what waits for a run."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Triggers:
    """A pipeline's triggers, as its events tell them."""

    subscribed: set[str] = field(default_factory=set)
    """Ids of the datasets that tell the pipeline of their versions."""
    newest: dict[str, int] = field(default_factory=dict)
    """Dataset → the newest version that the pipeline has heard of."""
    waiting: dict[str, dict[str, tuple[int, int]]] = field(default_factory=dict)
    """Trigger → dataset → the first and the last version that no run was started for."""
    runs: dict[str, str] = field(default_factory=dict)
    """Runs that triggers started and that have not ended, by id → the trigger."""
