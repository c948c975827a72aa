"""What the check of deployments' histories finds."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from events.language.base import Event
from events.language.deployments.enums import DeploymentStatus
from events.language.deployments.events import DeploymentStatusChanged, ReplicaEnded, RoutingChanged
from events.log.envelope import Meta, Position, Recorded
from tests.chaos.checks import Log
from tests.chaos.served import histories

ID = "shop"


def log(*events: Event) -> Log:
    meta = Meta("e", "t", ID, datetime(2026, 11, 28, tzinfo=UTC), "local/default", "owner")
    return Log([Recorded(event, meta, ID, Position("events.deployments", 0, n)) for n, event in enumerate(events)])


def table(number: int, weight: int = 10_000, replicas: tuple[int, ...] = (), *, terminated: bool = False) -> Event:
    named = [{"replica_id": f"dep.{ID}.1.{one}", "address": "127.0.0.1", "ports": {"http": 1}} for one in replicas]
    revision = {"revision": 1, "weight": weight, "model": ID, "version": 1, "replicas": named}
    about = {"deployment_id": ID, "project": "local/default", "name": ID, "created_at": "2026-11-28T00:00:00Z"}
    given = {"number": number, **about, "revisions": [revision] if weight else [], "terminated": terminated}
    return RoutingChanged.model_validate({"deployment_id": ID, "table": given})


ENDED = DeploymentStatusChanged(deployment_id=ID, status=DeploymentStatus.TERMINATED)


def test_a_history_in_order_is_clean() -> None:
    assert list(histories(log(table(1), table(2, 0, terminated=True), ENDED))) == []


@pytest.mark.parametrize(
    ("events", "told"),
    [
        ((table(1), table(3)), "has table 3 after 1"),
        ((table(2),), "has table 2 after 0"),
        ((table(1, replicas=(4,)),), r"has replicas \[4\] that there are not"),
        ((ReplicaEnded(deployment_id=ID, replica=1),), "replica 1 of shop ended twice, or never was"),
        ((table(1), ENDED), "routers were not told"),
        ((table(1, 0, terminated=True), ENDED, ENDED), "is terminated after its end"),
    ],
)
def test_a_gap_is_found(events: tuple[Event, ...], told: str) -> None:
    with pytest.raises(AssertionError, match=told):
        raise AssertionError(*histories(log(*events)))
