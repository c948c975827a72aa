"""Who finds an experiment, and what is of it, in lists and searches. As conditions in SQL, for filters' values."""

from __future__ import annotations

_FOUND = "({0}.visibility <> 'private' or {0}.owner = {{value}} or {0}.collaborators ? {{value}})"

EXPERIMENT_FOUND = _FOUND.format("experiments")
"""Of an experiment: whether this user finds it."""

FOUND = (
    f"(experiment_id = '' or experiment_id in (select e.experiment_id from experiments e where {_FOUND.format('e')}))"
)
"""Of what has an experiment's id: whether this user finds that. What no experiment has taken is found by all.

The experiments are looked for once, not for each row.
"""
