"""Prometheus metrics of the runtime. Names only; they are served by the service's process."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

commands = Counter("forgelog_commands_total", "Commands read by the writer", ["context"])
events = Counter("forgelog_events_appended_total", "Events appended", ["context"])
forwarded = Counter("forgelog_commands_forwarded_total", "Commands that arrived in another's partition", ["context"])
dead_letters = Counter("forgelog_dead_letters_total", "Inputs that are no command", ["context"])
dedup_forgotten = Counter(
    "forgelog_dedup_forgotten_total", "Commands whose repeats are no longer told, though they are young", ["context"]
)
append_failures = Counter("forgelog_append_failures_total", "Appends that failed; the writer started over", ["context"])
append_seconds = Histogram(
    "forgelog_append_seconds",
    "From decided to stored by Kafka",
    ["context"],
    buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 5),
)
projected = Counter("forgelog_events_projected_total", "Events folded into the tables", ["context"])
projection_lag = Gauge("forgelog_projection_lag_events", "Events not yet in the tables", ["context"])
lag = Gauge("forgelog_lag_records", "Records a reader has still to read", ["context", "kind", "place"])
oldest = Gauge("forgelog_lag_oldest_seconds", "Since when the oldest of them is there", ["context", "kind", "place"])
still = Gauge("forgelog_lag_still_seconds", "For how long it has not moved", ["context", "kind", "place"])
ready = Gauge("forgelog_ready", "Whether the service does its work", ["context"])
queries = Histogram(
    "forgelog_query_seconds",
    "Time to answer a query",
    ["context", "method"],
    buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 5),
)
