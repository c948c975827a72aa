"""The table of the trials whose jobs log their objectives: each from its start to its end. Pure folds.

`services.experiments.following` reads what their runs log.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel

from events.language.experiments import (
    Direction,
    TrialEnded,
    TrialEvent,
    TrialReported,
    TrialRequeued,
    TrialStarted,
)
from events.language.experiments.tuning_following import TrialJobCompleted
from events.language.experiments.tuning_pruning import Objective
from events.projections.projection import Key, Rows, Table
from events.projections.row_models import table_of


class FollowedTrialRow(BaseModel):
    """A trial that runs, or that is done and has no value yet."""

    tuning_id: str
    number: int
    attempt: int
    job_id: str
    project: str
    owner: str
    """Of the tuning."""
    directions: tuple[Direction, ...]
    objectives: tuple[Objective, ...]
    reported: int | None = None
    """The last step that is reported."""
    done: bool = False
    """Whether its job is complete."""


FOLLOWED = table_of(FollowedTrialRow, "followed_trials", key=("tuning_id", "number"))

_KINDS = (TrialStarted, TrialReported, TrialRequeued, TrialJobCompleted, TrialEnded)


def touched(event: TrialEvent) -> Iterable[tuple[Table, Key]]:
    if isinstance(event, _KINDS):
        yield FOLLOWED, (event.tuning_id, event.number)


def put(event: TrialEvent, tuning: Mapping[str, Any] | None, trial: Mapping[str, Any], rows: Rows) -> None:
    """Fold an event of a trial; `tuning`, `trial`: their rows after it. `tuning` is there for a start."""
    key = event.tuning_id, event.number
    if isinstance(event, TrialStarted):
        assert tuning is not None
        if not tuning["objectives"]:
            return
        row = FOLLOWED.first(
            tuning_id=event.tuning_id,
            number=event.number,
            attempt=event.attempt,
            job_id=trial["job_id"],
            project=tuning["project"],
            owner=tuning["owner"],
            directions=tuning["directions"],
            objectives=tuning["objectives"],
        )
        rows.put(FOLLOWED, row)
        return
    if not isinstance(event, _KINDS) or (found := rows.get(FOLLOWED, key)) is None:
        return
    match event:
        case TrialReported():
            rows.put(FOLLOWED, {**found, "reported": max(event.step, found["reported"] or 0)})
        case TrialJobCompleted():
            rows.put(FOLLOWED, {**found, "done": True})
        case _:
            rows.delete(FOLLOWED, key)
