"""Clusters and their endpoints: a cluster for each revision and port of its replicas, and one for requests that wait.

Pure. A cluster does not change with its replicas: Envoy would close its connections. What follows their number, the
most requests in flight, is a value of Envoy's runtime (see `limits`).

Of replicas that fail, learned by killing them: eject at the first failure to connect, try up to four others, and never
send to ejected ones (panic threshold 0). But a WebSocket ends as its connection does, and Envoy takes each such end for
a failure of the replica, also the one that its client asked for: so endpoints with WebSockets have clusters of their
own, where nothing is ejected, and a replica that is gone costs a request one more try.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from events.language.deployments.endpoint_types import EndpointType
from events.language.deployments.routing import (
    BalancingStrategy,
    RoutedEndpoint,
    RoutedReplica,
    RoutedRevision,
    RoutingTable,
)
from services.deployments.router.naming import ANY, awaited, cluster_name
from services.deployments.router.tables import Leaving

Resource = dict[str, Any]
"""One of Envoy's messages, as the JSON of protobuf."""

TYPES = "type.googleapis.com/"

CONNECT_SECONDS = 1.0

IDLE_SECONDS = 4.0
"""A connection to a replica is closed before the replica does it: model servers keep quiet ones for 5 s or longer."""

ADS: Resource = {"ads": {}, "resource_api_version": "V3"}
"""Where a resource comes from: the companion."""

_POLICIES = {
    BalancingStrategy.ROUND_ROBIN: "ROUND_ROBIN",
    BalancingStrategy.LEAST_REQUESTS: "LEAST_REQUEST",
    BalancingStrategy.SOURCE_IP: "MAGLEV",
}

_PROTOCOLS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

MOST_HELD = 1_000
"""Requests that wait at the companion at a time, of all deployments together."""

UNBOUNDED = 1_000_000
"""For bounds of Envoy that are not ours: connections, and requests that wait for one."""


def seconds(value: float) -> str:
    """A protobuf duration."""
    return f"{value:.3f}s"


def upgrades(endpoint: RoutedEndpoint) -> bool:
    """Whether its connections can become WebSockets."""
    return endpoint.type in (EndpointType.WEBSOCKET, EndpointType.GRAPHQL)


def ports(table: RoutingTable) -> dict[tuple[str, bool], bool]:
    """Ports of the replicas that endpoints use, by name and whether for WebSockets; and whether they speak HTTP/2."""
    found: dict[tuple[str, bool], bool] = {}
    for endpoint in table.endpoints:
        place = endpoint.replica_port, upgrades(endpoint)
        found[place] = found.get(place, False) or endpoint.type is EndpointType.GRPC
    return found


def clusters(table: RoutingTable) -> dict[str, Resource]:
    """By name."""
    found = {}
    for (port, upgraded), http2 in ports(table).items():
        revisions: list[int | str] = [ANY, *(each.revision for each in table.revisions)]
        for revision in revisions:
            name = cluster_name(table, revision, port, upgrades=upgraded)
            found[name] = _cluster(table, name, http2=http2, ejects=not upgraded)
    return found


_EJECTION: Resource = {
    "outlier_detection": {
        "split_external_local_origin_errors": True,
        "consecutive_local_origin_failure": 1,
        "enforcing_consecutive_local_origin_failure": 100,
        "enforcing_local_origin_success_rate": 0,
        "enforcing_consecutive_5xx": 0,
        "enforcing_consecutive_gateway_failure": 0,
        "enforcing_success_rate": 0,
        "max_ejection_percent": 100,
        "interval": seconds(0.5),
        "base_ejection_time": seconds(1),
        "max_ejection_time": seconds(5),
    }
}


def _cluster(table: RoutingTable, name: str, *, http2: bool, ejects: bool) -> Resource:
    # Replicas tell in trailers where the time of a stream went.
    protocol: Resource = (
        {"http2_protocol_options": {}} if http2 else {"http_protocol_options": {"enable_trailers": True}}
    )
    return {
        "name": name,
        "type": "EDS",
        "eds_cluster_config": {"eds_config": ADS},
        "connect_timeout": seconds(CONNECT_SECONDS),
        "lb_policy": _POLICIES[table.balancing],
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        **(_EJECTION if ejects else {}),
        "circuit_breakers": {
            "thresholds": [
                {
                    "max_connections": UNBOUNDED,
                    "max_pending_requests": UNBOUNDED,
                    "max_requests": UNBOUNDED,
                    "retry_budget": {
                        "budget_percent": {"value": table.retries.budget / 100},
                        # A replica that hangs, and is then ended, gives back all that it had at once.
                        "min_retry_concurrency": max(table.retries.minimum, table.concurrency),
                    },
                }
            ]
        },
        **spoken(protocol, common_http_protocol_options={"idle_timeout": seconds(IDLE_SECONDS)}),
    }


def spoken(protocol: Resource, **more: Resource) -> Resource:
    """Of a cluster: the only protocol that its hosts are spoken to by."""
    options = {"@type": TYPES + _PROTOCOLS, "explicit_http_config": protocol, **more}
    return {"typed_extension_protocol_options": {_PROTOCOLS: options}}


def assignments(table: RoutingTable, leaving: Sequence[Leaving] = ()) -> dict[str, Resource]:
    """The endpoints of each cluster, by its name. `leaving`: replicas that the table names no more and that may still
    have requests: Envoy is told of them so that it says how many."""
    found = {}
    for port, upgraded in ports(table):
        for revision in table.revisions:
            name = cluster_name(table, revision.revision, port, upgrades=upgraded)
            gone = [one.replica for one in leaving if one.revision == revision.revision]
            found[name] = _assignment(name, port, [revision], gone)
        name = cluster_name(table, ANY, port, upgrades=upgraded)
        found[name] = _assignment(name, port, awaited(table), ())
    return found


def _assignment(name: str, port: str, revisions: list[RoutedRevision], leaving: Iterable[RoutedReplica]) -> Resource:
    ready = [
        _endpoint(replica, port, revision.revision)
        for revision in revisions
        for replica in revision.replicas
        if port in replica.ports
    ]
    going = [
        {**_endpoint(replica, port, revisions[0].revision), "health_status": "DRAINING"}
        for replica in leaving
        if port in replica.ports
    ]
    return {"cluster_name": name, "endpoints": [{"lb_endpoints": [*ready, *going]}] if ready or going else []}


def _endpoint(replica: RoutedReplica, port: str, revision: int) -> Resource:
    known = {"replica": replica.replica_id, "revision": str(revision)}
    return {
        "endpoint": {"address": socket(replica.address, replica.ports[port])},
        "metadata": {"filter_metadata": {"forgelog": known}},
    }


def limits(table: RoutingTable) -> dict[str, int]:
    """Values of Envoy's runtime: most requests in flight by cluster."""
    found = {}
    for place in ports(table):
        for revision in table.revisions:
            found[_limit(table, revision.revision, *place)] = len(revision.replicas) * table.concurrency
        # Those that have waited come all at once, and the companion took no more than it may.
        ready = sum(len(revision.replicas) for revision in awaited(table))
        found[_limit(table, ANY, *place)] = max(ready * table.concurrency, MOST_HELD)
    return found


def _limit(table: RoutingTable, revision: int | str, port: str, upgraded: bool) -> str:
    return f"circuit_breakers.{cluster_name(table, revision, port, upgrades=upgraded)}.default.max_requests"


def socket(address: str, port: int) -> Resource:
    """A TCP address."""
    return {"socket_address": {"address": address, "port_value": port}}
