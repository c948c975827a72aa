"""Kafka consumers without a group, and their options for two kinds of readers of the log."""

from __future__ import annotations

from typing import Any

from events.log.access import client_options
from events.log.fetching import Consumer, Raws
from events.process.settings import Settings

PATIENT: dict[str, Any] = {"fetch_max_wait_ms": 3_000, "consumer_timeout_ms": 5_000, "prefetch_backoff": 30.0}
"""Options of consumers that follow all their places without an end. They keep an idle platform idle:

- how long a fetch waits at the broker for new records;
- how often the consumer looks for something to fetch: five times a second by default. A changed assignment, consumed
  records, and a place that resumes when all were paused wake it at once;
- that no fetch is sent while fetched records are not consumed yet. It would leave their place out for as long as it
  waits."""

HASTY: dict[str, Any] = {"fetch_max_wait_ms": 10, "prefetch_backoff": 0.0}
"""Options of consumers that read records that are there already, from some of their places at a time."""


def new_consumer(settings: Settings, **options: Any) -> Consumer:
    """A consumer of `Raw`s without a group: the caller keeps its positions."""
    given = {
        "fetch_max_wait_ms": 500,
        "auto_offset_reset": "earliest",
        "client_id": settings.instance or "forgelog",
        "key_deserializer": Raws(settings.prefix),
        "fetch_max_bytes": 16 << 20,
        "max_partition_fetch_bytes": 4 << 20,
        **options,
    }
    return Consumer(
        **client_options(settings),
        enable_auto_commit=False,
        **given,
    )
