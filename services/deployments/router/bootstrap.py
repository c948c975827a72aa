"""What Envoy is started with: where its companion is, and what it must never take more of than it can.

Pure. Envoy runs in the router's folder; sockets and files are named from there, so their paths are short.
"""

from __future__ import annotations

from services.deployments.router.clusters import ADS, TYPES, Resource, seconds, spoken
from services.deployments.router.resources import RUNTIME
from services.deployments.router.spans import collector

COMPANION_SOCKET = "companion.sock"
ADMIN_SOCKET = "admin.sock"

MOST_CONNECTIONS = 50_000
"""Of clients, all listeners together."""


def bootstrap(name: str, collector_at: str = "") -> Resource:
    """Envoy's bootstrap. `name`: this router's. `collector_at`: where spans go; empty for nowhere."""
    return {
        "node": {"id": name, "cluster": "forgelog-router"},
        "admin": {"address": _pipe(ADMIN_SOCKET)},
        "dynamic_resources": {
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "transport_api_version": "V3",
                "set_node_on_first_message_only": True,
                "grpc_services": [{"envoy_grpc": {"cluster_name": "companion"}}],
            },
            "cds_config": ADS,
            "lds_config": ADS,
        },
        "static_resources": {"clusters": [_companion(), *([collector(collector_at)] if collector_at else [])]},
        "layered_runtime": {
            "layers": [{"name": RUNTIME, "rtds_layer": {"name": RUNTIME, "rtds_config": ADS}}],
        },
        "overload_manager": {
            "resource_monitors": [
                {
                    "name": "envoy.resource_monitors.global_downstream_max_connections",
                    "typed_config": {
                        "@type": TYPES + "envoy.extensions.resource_monitors.downstream_connections.v3."
                        "DownstreamConnectionsConfig",
                        "max_active_downstream_connections": MOST_CONNECTIONS,
                    },
                }
            ]
        },
    }


def _companion() -> Resource:
    return {
        "name": "companion",
        "type": "STATIC",
        "connect_timeout": seconds(1),
        **spoken({"http2_protocol_options": {"connection_keepalive": {"interval": "30s", "timeout": "5s"}}}),
        # Requests that wait for a replica wait at the companion.
        "circuit_breakers": {"thresholds": [{"max_requests": 10_000, "max_pending_requests": 10_000}]},
        "load_assignment": {
            "cluster_name": "companion",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _pipe(COMPANION_SOCKET)}}]}],
        },
    }


def _pipe(path: str) -> Resource:
    return {"pipe": {"path": path, "mode": 0o600}}
