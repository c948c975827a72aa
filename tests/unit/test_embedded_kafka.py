"""What the embedded broker is started with."""

from __future__ import annotations

import uuid

from forgelog.embedded.kafka import cluster_id


def test_a_cluster_id_is_never_taken_for_an_option() -> None:
    """One UUID in 64 begins with '-' in base 64; `kafka-storage format --cluster-id` then finds no argument."""
    drawn = iter([uuid.UUID(int=0b111110 << 122), uuid.UUID(int=0b111110 << 122 | 1), uuid.UUID(int=1)])
    assert cluster_id(lambda: next(drawn)) == "AAAAAAAAAAAAAAAAAAAAAQ"
