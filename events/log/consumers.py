"""Kafka consumers as readers of the log need them: without a group, patient or hasty."""

from __future__ import annotations

from typing import Any

from events.log.access import client_options
from events.log.fetching import Consumer, Raws
from events.process.settings import Settings

PATIENT: dict[str, Any] = {"fetch_max_wait_ms": 3_000, "consumer_timeout_ms": 5_000, "prefetch_backoff": 30.0}
"""Options of consumers that read for ever, and all their places, so that a platform at rest is at rest: how long a
fetch waits at the broker for something new; how often the consumer looks by itself for more to ask (by default five
times a second; a changed assignment, what was consumed, and places that go on when all had paused, wake it at once);
and that no fetch is sent while something is to be consumed: it would leave that place out, for as long as it waits."""

HASTY: dict[str, Any] = {"fetch_max_wait_ms": 10, "prefetch_backoff": 0.0}
"""Options of consumers that read what is there already, some of their places at a time."""


def new_consumer(settings: Settings, **options: Any) -> Consumer:
    """A consumer of `Raw`s without a group: its positions are its owner's business."""
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
