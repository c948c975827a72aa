"""A small decider and projection over the jobs language, to test the runtime with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from events.language.base import Command, Event
from events.language.common import ErrorCode, Refused
from events.language.jobs import (
    CancelJob,
    DependencyMet,
    DependencyOutcome,
    JobSubmitted,
    JobTasksCancelled,
    SubmitJob,
)
from events.log.envelope import Recorded
from events.projections.projection import Key, Projection, Rows, Table
from events.writer.decider import Decider, DecisionContext


@dataclass(slots=True)
class Sample:
    submitted: bool = False
    cancelled: int = 0
    told: int = 0


class SampleDecider(Decider[Sample]):
    """A job can be submitted once and cancelled often; each submit tells the job that it depends on."""

    context = "jobs"
    aggregate = "job"
    commands = (SubmitJob, CancelJob)
    events = (JobSubmitted, JobTasksCancelled, DependencyMet)
    routes: ClassVar = {JobSubmitted: lambda event: tuple(item.job_id for item in event.spec.depends_on)}

    def initial(self, key: str) -> Sample:
        return Sample()

    def evolve(self, state: Sample, event: Event, time: datetime) -> Sample:
        state.submitted = state.submitted or isinstance(event, JobSubmitted)
        state.cancelled += isinstance(event, JobTasksCancelled)
        state.told += isinstance(event, DependencyMet)
        return state

    def decide(self, state: Sample, command: Command, context: DecisionContext) -> Sequence[Event]:
        if isinstance(command, SubmitJob):
            if state.submitted:
                raise Refused(ErrorCode.ALREADY_EXISTS, f"job {command.job_id} exists")
            event = JobSubmitted(job_id=command.job_id, project=context.project, owner=context.actor, spec=command.spec)
            return [event]
        assert isinstance(command, CancelJob)
        if not state.submitted:
            raise Refused(ErrorCode.NOT_FOUND, f"there is no job {command.job_id}")
        if command.reason == "nothing":
            return []
        return [
            JobTasksCancelled(job_id=command.job_id, tasks="0", reason=command.reason),
            JobTasksCancelled(job_id=command.job_id, tasks="1", reason=command.reason),
        ]

    def react(self, state: Sample, event: Event, context: DecisionContext) -> Sequence[Event]:
        assert isinstance(event, JobSubmitted)
        return [
            DependencyMet(job_id=item.job_id, dependency=event.job_id, outcome=DependencyOutcome.COMPLETED)
            for item in event.spec.depends_on
            if item.job_id == context.subject
        ]

    def dump(self, state: Sample) -> dict[str, Any]:
        return {"submitted": state.submitted, "cancelled": state.cancelled, "told": state.told}

    def load(self, key: str, data: dict[str, Any]) -> Sample:
        return Sample(**data)


JOBS = Table(
    name="jobs",
    key=("job_id",),
    columns={
        "job_id": "text",
        "name": "text",
        "cancelled": "int",
        "labels": "jsonb",
        "tags": "text[]",
        "at": "timestamptz",
    },
    indexes=("at",),
)


class SampleProjection(Projection):
    context = "jobs"
    tables = (JOBS,)

    def touches(self, recorded: Recorded) -> Iterable[tuple[Table, Key]]:
        yield JOBS, (recorded.key,)

    def project(self, recorded: Recorded, rows: Rows) -> None:
        event = recorded.data
        if isinstance(event, JobSubmitted):
            rows.put(
                JOBS,
                {
                    "job_id": event.job_id,
                    "name": event.spec.metadata.name,
                    "cancelled": 0,
                    "labels": dict(event.spec.metadata.labels),
                    "tags": sorted(event.spec.metadata.labels),
                    "at": recorded.meta.time,
                },
            )
        elif isinstance(event, JobTasksCancelled):
            row = rows.get(JOBS, (event.job_id,))
            assert row is not None
            rows.put(JOBS, {**row, "cancelled": row["cancelled"] + 1})
