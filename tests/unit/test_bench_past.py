"""The past that benchmarks write into the log is one that a platform could have left."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from bench import asof, past
from events.language.jobs import JobAssigned
from events.language.resources import AllocationBound
from events.log.envelope import Position, Recorded

JOBS, PARTITIONS = 7, 4


def written(made: Iterator[list[Any]]) -> dict[Position, Recorded]:
    """The events of what is made, by position."""
    *_, logs = made
    found: dict[Position, Recorded] = {}
    for log in logs:
        raws = [record.at(log.topic, log.number, offset) for offset, record in enumerate(log.records)]
        found |= {raw.position: raw.decode() for raw in raws if not raw.is_marker}
    return found


@pytest.mark.parametrize("alive", [0, 3, 20])
def test_every_event_decodes_and_every_job_is_assigned_by_its_allocation(alive: int) -> None:
    template = asof._template()
    jobs = written(past._jobs(template, JOBS, PARTITIONS, alive))
    others = written(past._placed(template, JOBS, PARTITIONS, alive))
    assert (len(jobs), len(others)) == (JOBS * len(past.JOBS), JOBS * len(past.SCHEDULING + past.RESOURCES) + 1)
    assigned = [each for each in jobs.values() if isinstance(each.data, JobAssigned)]
    assert len(assigned) == JOBS
    for each in assigned:
        assert isinstance(each.data, JobAssigned)
        bound = others[Position.parse(each.cause.partition("|")[0])].data
        assert isinstance(bound, AllocationBound)
        assert (bound.job_id, bound.allocation_id) == (each.data.job_id, each.data.allocation_id)
