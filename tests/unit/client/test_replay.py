"""A replay shows what each event changed, by the projection's own fold."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from events.language.scheduling import QueueConfigured
from events.log.envelope import Recorded
from events.projections.projection import Key, Projection, Rows, Table
from forgelog.replay import replay_steps

QUEUES = Table("queues", ("queue",), {"queue": "text", "status": "text", "changes": "int"})


class Queues(Projection):
    context = "scheduling"
    tables = (QUEUES,)

    def touches(self, recorded: Recorded) -> Iterable[tuple[Table, Key]]:
        return [(QUEUES, (recorded.meta.subject,))]

    def project(self, recorded: Recorded, rows: Rows) -> None:
        assert isinstance(recorded.data, QueueConfigured)
        before = rows.get(QUEUES, (recorded.data.queue,))
        changes = before["changes"] + 1 if before else 1
        rows.put(QUEUES, {"queue": recorded.data.queue, "status": recorded.data.status.value, "changes": changes})


def event(number: int, type: str, data: dict[str, Any]) -> dict[str, Any]:
    return {
        "position": f"events.scheduling/0@{number}",
        "time": datetime(2026, 5, 9, 12, 0, number, tzinfo=UTC),
        "id": str(number),
        "type": type,
        "subject": "default",
        "project": "local/default",
        "actor": "owner",
        "correlation_id": "",
        "causation_id": "",
        "cause": "",
        "data": data,
    }


def test_each_event_and_what_it_changed() -> None:
    configured = "forgelog.scheduling.v1.QueueConfigured"
    rejected = {"subject_id": "default", "command_id": "c", "command_type": "t", "code": "not_found", "message": "no"}
    steps = replay_steps(
        "scheduling",
        [
            event(0, configured, {"queue": "default", "policy": "fifo", "status": "active"}),
            event(1, "forgelog.log.v1.CommandRejected", rejected),
            event(2, configured, {"queue": "default", "policy": "fifo", "status": "paused"}),
        ],
        Queues(),
    )
    assert [step["type"] for step in steps] == ["QueueConfigured", "CommandRejected", "QueueConfigured"]
    assert steps[1]["changes"] == [], "a refusal changes nothing"
    assert [(change["column"], change["before"], change["after"]) for change in steps[2]["changes"]] == [
        ("status", "active", "paused"),
        ("changes", 1, 2),
    ]


class Answers(Queues):
    """One that keeps an answer ready, as bytes."""

    def project(self, recorded: Recorded, rows: Rows) -> None:
        rows.put(QUEUES, {"queue": recorded.data.queue, "answer": b"\x08\x01"})  # type: ignore[attr-defined]


def test_answers_kept_ready_are_not_shown() -> None:
    made = event(
        1, "forgelog.scheduling.v1.QueueConfigured", {"queue": "default", "policy": "fifo", "status": "active"}
    )
    (step,) = replay_steps("scheduling", [made], Answers())
    assert [change["column"] for change in step["changes"]] == ["queue"]


class Backwards(Queues):
    """One that writes a row's values in another order than the columns'."""

    def project(self, recorded: Recorded, rows: Rows) -> None:
        rows.put(QUEUES, {"changes": 1, "status": "active", "queue": recorded.data.queue})  # type: ignore[attr-defined]


def test_changes_are_shown_in_the_order_of_the_columns() -> None:
    made = event(
        1, "forgelog.scheduling.v1.QueueConfigured", {"queue": "default", "policy": "fifo", "status": "active"}
    )
    (step,) = replay_steps("scheduling", [made], Backwards())
    assert [change["column"] for change in step["changes"]] == list(QUEUES.columns)
