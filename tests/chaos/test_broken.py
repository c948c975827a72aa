"""What the attack with impossible events writes is impossible: folding it raises, for the reason that is meant."""

from __future__ import annotations

import random
from datetime import UTC, datetime

import pytest

from events.language.base import Event
from events.language.jobs import JobCompleted, JobSubmitted
from events.language.jobs.spec import JobMetadata, JobSpec
from events.language.moves import IllegalMove
from events.log.envelope import Meta
from events.log.wire import Raw, headers_of, value_of
from events.writer.deciders import Deciders
from events.writer.partition import Partition
from services.jobs.decide import Jobs
from services.resources.decide import Resources
from tests.chaos.broken import IMPOSSIBLE
from tests.unit.scheduling.queues import QUEUE, node

NOW = datetime(2026, 5, 9, 3, 12, tzinfo=UTC)
SPEC = JobSpec(metadata=JobMetadata(name="a"), command="true")


def folded(context: str, before: Event, key: str) -> tuple[Partition, Raw]:
    """A partition that has one event, and the record of that."""
    partition: Partition = Partition(Deciders(Jobs() if context == "jobs" else Resources()), 0, 1)
    raw = record(context, 1, before.type_name(), key, value_of(before), before.subject())
    partition.fold(raw)
    return partition, raw


def record(context: str, offset: int, type: str, key: str, body: bytes, subject: str) -> Raw:
    meta = Meta(f"e-{offset}", type, subject, NOW, "local/default", "owner")
    return Raw(f"events.{context}", 0, offset, 0, key.encode(), body, headers_of(meta))


@pytest.mark.parametrize(
    ("context", "before", "key", "said"),
    [
        ("jobs", JobSubmitted(job_id="a", project="local/default", owner="o", spec=SPEC), "a", "pending"),
        ("resources", node(), QUEUE, "ready"),
    ],
)
def test_an_impossible_event_is_a_move_that_the_language_forbids(
    context: str, before: Event, key: str, said: str
) -> None:
    partition, raw = folded(context, before, key)
    completed = record("jobs", 2, JobCompleted.type_name(), key, b"", key)
    type, at, body = IMPOSSIBLE[context]([raw, completed], random.Random(1))
    with pytest.raises(IllegalMove, match=said):
        partition.fold(record(context, 2, type, at, body, "n1"))
