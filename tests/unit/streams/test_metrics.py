"""Given several contexts in one process, when one is asked for its metrics, then it tells those of its own streams."""

from __future__ import annotations

from prometheus_client import generate_latest

from events.queries.log_dispatch import only
from events.streams.intake import stored_chunks
from services.jobs.output.stream import stored_bytes


def test_what_a_stream_counts_is_its_contexts_and_is_not_told_twice() -> None:
    stored_chunks.labels("jobs", "logs.jobs").inc()
    stored_bytes.labels("jobs").inc()
    text = generate_latest().decode()
    for name in ("forgelog_stream_chunks_total{", "forgelog_output_bytes_total{"):
        assert (name in only(text, "jobs"), name in only(text, "scheduling")) == (True, False)
