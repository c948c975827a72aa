"""Commands about a pipeline's time: backfills. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from events.language.base import Event
from events.language.common import ErrorCode, Refused, absent, invalid
from events.language.pipelines.clock import backfilling
from events.language.pipelines.clock.ticks import ScheduleError
from events.language.pipelines.parameters import bound
from events.language.pipelines.schedule_messages import (
    BackfillCancelled,
    BackfillStarted,
    CancelBackfill,
    StartBackfill,
)
from events.process.instants import instant
from events.writer.decider import DecisionContext
from services.pipelines.pipeline.state import Pipeline
from services.pipelines.refusals import forbidden

MOST_BACKFILLS = 100
"""Most backfills of a pipeline that have not ended."""


def started(state: Pipeline, command: StartBackfill, context: DecisionContext) -> Sequence[Event]:
    id, spec = command.pipeline_id, state.spec
    if spec is None or spec.schedule is None:
        raise forbidden("pipeline_id", f"pipeline {id} has no schedule", "give it one: a backfill runs its intervals")
    if len(state.clock.backfills) >= MOST_BACKFILLS:
        problem = f"pipeline {id} has {MOST_BACKFILLS} backfills that have not ended"
        raise forbidden("pipeline_id", problem, "wait for one, or cancel one")
    if command.range_end > context.now:
        raise invalid("range_end", f"{instant(command.range_end)} has not come yet", "give a time up to now")
    try:
        count = backfilling.count(spec.schedule, command.range_start, command.range_end)
    except ScheduleError as error:
        raise forbidden("pipeline_id", f"the schedule of pipeline {id} can't be computed: {error}", "mend it") from None
    if count == 0:
        raise invalid(
            "range_end",
            "no whole interval of the schedule lies before it",
            "give an earlier range_start, or a later range_end",
        )
    if count > backfilling.MAX_INTERVALS:
        problem = f"more than {backfilling.MAX_INTERVALS:,} intervals lie between range_start and range_end"
        raise invalid("range_start", problem, "give a later one, and another backfill for the rest")
    if errors := bound(spec.parameters, command.parameters)[1]:
        raise Refused(ErrorCode.INVALID_ARGUMENT, f"{errors[0].field} {errors[0].problem}", errors)
    return [
        BackfillStarted(
            pipeline_id=id,
            number=state.clock.last_backfill + 1,
            range_start=command.range_start,
            range_end=command.range_end,
            max_parallel=command.max_parallel,
            rerun=command.rerun,
            parameters=command.parameters,
            intervals=count,
            note=command.note,
        )
    ]


def cancelled(state: Pipeline, command: CancelBackfill) -> Sequence[Event]:
    """The end of the backfill; those of its runs are the pipeline's to add."""
    id, number = command.pipeline_id, command.number
    if number not in state.clock.backfills:
        known = 0 < number <= state.clock.last_backfill
        problem = f"backfill {number} of {id} has ended" if known else f"pipeline {id} has no backfill {number}"
        raise absent("number", problem, f"forgelog pipeline backfill list {id} shows them")
    return [BackfillCancelled(pipeline_id=id, number=number, reason=command.reason)]
