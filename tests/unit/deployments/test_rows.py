"""Given what a deployment decided, then its tables say it."""

from __future__ import annotations

from typing import Any

from events.log.envelope import Meta, Position, Recorded
from services.deployments.projections import DeploymentsProjection
from services.deployments.rows import REPLICAS, REVISIONS
from tests.rows import HeldRows
from tests.unit.deployments.desk import ID, Desk, command_spec


def folded(desk: Desk) -> HeldRows:
    """All that a desk has decided, in rows."""
    projection = DeploymentsProjection()
    rows = HeldRows(projection)
    for number, event in enumerate(desk.events):
        meta = Meta("e", type(event).type_name(), event.subject(), desk.now, desk.project, "owner")
        projection.project(Recorded(event, meta, ID, Position("events.deployments", 0, number)), rows)
    return rows


def crashes(desk: Desk) -> tuple[dict[Any, int], dict[Any, int]]:
    """Of replicas and of revisions, by their numbers."""
    rows = folded(desk)
    of = [{key[-1]: row["crashes"] for key, row in rows.tables[table.name].items()} for table in (REPLICAS, REVISIONS)]
    return of[0], of[1]


def test_a_crash_is_one_of_its_replica_and_of_its_revision() -> None:
    desk = Desk()
    desk.create(command_spec(replicas=2))
    desk.ready(1, 2)
    desk.crash(1)
    desk.ready(1)
    desk.crash(1)
    desk.crash(2)
    desk.ready(1, 2)
    assert crashes(desk) == ({1: 2, 2: 1}, {1: 3})
    desk.update("other")
    desk.crash(3)
    assert crashes(desk) == ({1: 2, 2: 1, 3: 1}, {1: 3, 2: 1})
