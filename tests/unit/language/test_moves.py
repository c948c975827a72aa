"""Status changes follow the tables, and nothing else."""

from __future__ import annotations

from enum import StrEnum
from itertools import pairwise
from typing import Any

import pytest

from events.language.common import ErrorCode, Refused
from events.language.jobs.moves import JOB_MOVES
from events.language.jobs.spec import JobStatus
from events.language.moves import IllegalMove, check_move, final, may_move
from events.language.resources import AllocationStatus
from events.language.resources.hardware import NodeStatus
from events.language.resources.moves import ALLOCATION_MOVES, NODE_MOVES
from events.language.scheduling import QueueStatus
from events.language.scheduling.moves import QUEUE_MOVES
from proto.generate import ROOT
from proto.statemachines import documents

TABLES: list[tuple[Any, type[StrEnum]]] = [
    (JOB_MOVES, JobStatus),
    (NODE_MOVES, NodeStatus),
    (ALLOCATION_MOVES, AllocationStatus),
    (QUEUE_MOVES, QueueStatus),
]


@pytest.mark.parametrize(("table", "enum"), TABLES)
def test_every_status_has_a_row_and_can_be_reached(table: Any, enum: type[StrEnum]) -> None:
    assert set(table) == set(enum)
    reached = [next(iter(table))]
    for status in reached:
        reached += [new for new in table[status] if new not in reached]
    assert set(reached) == set(enum)


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
