"""Envoy's spans of requests: how they are made, which, and where they go. Pure.

A span has no query, header, key or body of a request: Envoy's own tag of the URL has no path, and what is told besides
is the route's.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from events.language.deployments.routing import RoutingTable
from services.deployments.router.clusters import TYPES, Resource, seconds, socket, spoken

COLLECTOR = "collector"
"""The cluster that spans go to."""

SERVICE = "forgelog-router"

_MILLION = 1_000_000


def tracing() -> Resource:
    """Of a listener: what is traced is said by routes."""
    return {
        "random_sampling": {"value": 0},
        "max_path_tag_length": 0,
        "spawn_upstream_span": True,
        "custom_tags": [_tag(name) for name in ("deployment", "endpoint")],
        "provider": {
            "name": "envoy.tracers.opentelemetry",
            "typed_config": {
                "@type": TYPES + "envoy.config.trace.v3.OpenTelemetryConfig",
                "grpc_service": {"envoy_grpc": {"cluster_name": COLLECTOR}, "timeout": seconds(1)},
                "service_name": SERVICE,
            },
        },
    }


def sampled(table: RoutingTable) -> dict[str, Any]:
    """Of a route: which share of its deployment's requests is traced, and what its spans are called."""
    share = table.observability.tracing
    if not share:
        return {}
    return {
        "tracing": {"random_sampling": {"numerator": round(share * _MILLION), "denominator": "MILLION"}},
        "decorator": {"operation": table.deployment_id, "propagate": False},
    }


def collector(endpoint: str) -> Resource:
    """The cluster of a collector that takes OTLP over gRPC, such as ``http://collector:4317``."""
    at = urlsplit(endpoint)
    place = {"endpoint": {"address": socket(at.hostname or "", at.port or 4317)}}
    return {
        "name": COLLECTOR,
        "type": "STRICT_DNS",
        "connect_timeout": seconds(1),
        **spoken({"http2_protocol_options": {}}),
        "load_assignment": {"cluster_name": COLLECTOR, "endpoints": [{"lb_endpoints": [place]}]},
    }


def _tag(name: str) -> Resource:
    """A value of the route's metadata."""
    key = {"key": "forgelog", "path": [{"key": name}]}
    return {"tag": f"forgelog.{name}", "metadata": {"kind": {"route": {}}, "metadata_key": key}}
