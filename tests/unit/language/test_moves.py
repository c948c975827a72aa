"""Status changes follow the tables, and nothing else."""

from __future__ import annotations

from enum import StrEnum
from itertools import pairwise

import pytest

from events.language.common import ErrorCode, Refused
from events.language.jobs.moves import JOB_MOVES
from events.language.jobs.spec import JobStatus
from events.language.moves import IllegalMove, check_move, final, may_move
from events.language.resources import AllocationStatus
from events.language.resources.moves import ALLOCATION_MOVES
from proto.generate import ROOT
from proto.statemachines import documents, machines


def test_every_context_lists_its_tables() -> None:
    names = ["jobs.JOB_MOVES", "resources.NODE_MOVES", "resources.ALLOCATION_MOVES", "scheduling.QUEUE_MOVES"]
    names += [
        f"experiments.{name}_MOVES"
        for name in ("EXPERIMENT", "RUN", "TUNING", "TRIAL", "VERSION", "PROMOTION", "LOGGED_MODEL")
    ]
    names.append("deployments.DEPLOYMENT_MOVES")
    names += [f"pipelines.{name}_MOVES" for name in ("PIPELINE", "RUN", "STAGE")]
    assert {*machines()} == {*names}
    assert machines()["jobs.JOB_MOVES"].table is JOB_MOVES


@pytest.mark.parametrize("name", machines())
def test_every_status_has_a_row_and_can_be_reached(name: str) -> None:
    table = machines()[name].table
    enum: type[StrEnum] = type(next(iter(table)))
    of_enum = [machine.table for machine in machines().values() if type(next(iter(machine.table))) is enum]
    assert {status for each in of_enum for status in each} == set(enum), "pipelines and their runs share one"
    reached = [next(iter(table))]
    for status in reached:
        reached += [new for new in table[status] if new not in reached]
    assert set(reached) == set(table)


def test_the_main_flow_is_allowed() -> None:
    flow = [JobStatus.PENDING, JobStatus.QUEUED, JobStatus.SCHEDULED, JobStatus.RUNNING, JobStatus.COMPLETED]
    for old, new in pairwise(flow):
        check_move(JOB_MOVES, old, new)


def test_an_illegal_move_is_refused_loudly() -> None:
    with pytest.raises(IllegalMove, match="job a can't go from completed to running: completed is final") as refusal:
        check_move(JOB_MOVES, JobStatus.COMPLETED, JobStatus.RUNNING, "job a")
    assert isinstance(refusal.value, Refused)
    assert refusal.value.code is ErrorCode.FAILED_PRECONDITION
    with pytest.raises(
        IllegalMove, match="AllocationStatus can't go from stopping to bound: after stopping comes lost"
    ):
        check_move(ALLOCATION_MOVES, AllocationStatus.STOPPING, AllocationStatus.BOUND)


def test_what_nothing_follows_is_final() -> None:
    assert final(JOB_MOVES) == {JobStatus.COMPLETED}
    assert final(ALLOCATION_MOVES) == {AllocationStatus.RELEASED, AllocationStatus.REJECTED, AllocationStatus.LOST}
    assert may_move(JOB_MOVES, JobStatus.FAILED, JobStatus.QUEUED)


def test_the_drawings_are_fresh() -> None:
    for name, text in documents().items():
        assert (ROOT / name).read_text() == text, f"{name} is stale; run `make proto`"
