"""The gateway's Prometheus metrics. Names only."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 5, 30)

requests = Counter("forgelog_gateway_requests_total", "Requests answered", ["door", "method", "code"])
seconds = Histogram(
    "forgelog_gateway_request_seconds", "Time to answer a request", ["door", "method"], buckets=_SECONDS
)
forwarded = Counter("forgelog_gateway_forwarded_total", "Queries of one answer passed on to services", ["by"])
"""By ``socket``, on one machine, or ``grpc``."""
in_flight = Gauge("forgelog_gateway_in_flight", "Requests being worked on", ["kind"])
publish_seconds = Histogram(
    "forgelog_gateway_publish_seconds", "From checked to stored by Kafka (acks=all)", buckets=_SECONDS
)
outcome_seconds = Histogram(
    "forgelog_gateway_outcome_seconds", "From checked to its outcome read from the log", buckets=_SECONDS
)
cut = Counter(
    "forgelog_gateway_cut_total", "Connections and calls that were ended, since the client was slow", ["late"]
)
refused = Counter("forgelog_gateway_refused_total", "Commands refused at the door", ["code"])
