"""Routing tables as Envoy's resources, of all types that the companion serves.

Pure, and needs no Envoy. Resources of one table are made once, and again when the table changes: a router may have
hundreds of deployments and change one of them each second.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from json import dumps

from events.language.deployments.routing import RoutingTable
from events.process.replica_keys import replica_key
from services.deployments.router.clusters import TYPES, Resource, assignments, clusters, limits
from services.deployments.router.guards import JWT, rates, requirements
from services.deployments.router.listeners import LOG_FILE, SECRET, listener
from services.deployments.router.naming import MAIN, MODEL_HEADER, holders, listener_name
from services.deployments.router.replies import direct
from services.deployments.router.routes import Ways, ways
from services.deployments.router.tables import Leaving

RUNTIME = "forgelog"
"""Name of the runtime's layer."""


@dataclass(frozen=True, slots=True)
class Options:
    """What one router is told, besides the tables."""

    host: str = "127.0.0.1"
    port: int = 7080
    hosts: tuple[str, ...] = ()
    """By which names the router may be called; empty: by any."""
    certificate: tuple[str, str] | None = None
    """PEM texts of the certificate's chain and of its key, for TLS."""
    hops: int = 0
    """Proxies before the router whose word on a client's address counts."""
    routers: int = 1
    """How many routers share the limits of rates."""
    version: str = ""
    """Of the platform, for those who ask ``/v2``."""
    traced: bool = False
    """Whether there is a collector of spans."""
    replicas_key: bytes = field(default=b"", repr=False)
    """What the keys of replicas follow from; empty: requests carry none."""

    def key_of(self, table: RoutingTable) -> str:
        """The key of a deployment's replicas; empty if there is none."""
        return replica_key(self.replicas_key, table.deployment_id) if self.replicas_key else ""


@dataclass(frozen=True, slots=True)
class Parts:
    """What one table becomes."""

    clusters: Mapping[str, Resource]
    assignments: Mapping[str, Resource]
    limits: Mapping[str, int]
    ways: Mapping[str, Ways]
    provider: tuple[str, Resource]
    rates: Mapping[str, list[Resource]]


def parts(table: RoutingTable, options: Options, *, leaving: Iterable[Leaving] = (), alone: bool) -> Parts:
    """`leaving`: replicas that get no new requests. `alone`: whether the deployment is found by its name alone."""
    secure = options.certificate is not None
    return Parts(
        clusters(table),
        assignments(table, tuple(leaving)),
        limits(table),
        ways(table, alone=alone, secure=secure, key=options.key_of(table), traced=options.traced),
        requirements(table.keys),
        rates(table, routers=options.routers),
    )


@dataclass(slots=True)
class Claims:
    """Who has the ports that endpoints want for themselves."""

    ports: dict[int, str] = field(default_factory=dict)
    """Port → deployment."""
    refused: list[str] = field(default_factory=list)
    """What could not be given, in words for operators."""


def claims(tables: Iterable[RoutingTable], options: Options) -> Claims:
    """The oldest deployment that wants a port has it."""
    found = Claims({options.port: ""})
    for table in sorted(tables, key=lambda table: (table.created_at, table.deployment_id)):
        for endpoint in table.endpoints:
            if (port := endpoint.port) is not None and found.ports.setdefault(
                port, table.deployment_id
            ) != table.deployment_id:
                holder = found.ports[port] or "all deployments together"
                found.refused.append(
                    f"endpoint {endpoint.name} of {table.deployment_id} wants the port {port}, which is of {holder}; "
                    "it is reached by its path; give it another port"
                )
    del found.ports[options.port]
    return found


def owners(tables: Iterable[RoutingTable]) -> frozenset[str]:
    """Ids of the deployments that are found by their names alone."""
    return frozenset(holders(tables).values())


def listeners(ports: Iterable[int], options: Options) -> dict[str, Resource]:
    """By name: that of all deployments, and those of endpoints' own ports."""
    secure = options.certificate is not None

    def one(name: str, port: int) -> Resource:
        traced = options.traced
        return listener(name, options.host, port, secure=secure, hops=options.hops, log=LOG_FILE, traced=traced)

    return {MAIN: one(MAIN, options.port)} | {listener_name(port): one(listener_name(port), port) for port in ports}


def keys(providers: Iterable[tuple[str, Resource]]) -> Resource:
    """The filter that checks the signatures of keys."""
    known = dict(providers)
    return {
        "name": JWT,
        "typed_config": {
            "@type": TYPES + "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
            "providers": known,
            "requirement_map": {name: {"provider_name": name} for name in known},
        },
    }


def runtime(values: Mapping[str, int]) -> Resource:
    """The layer of the runtime that has these values."""
    return {"name": RUNTIME, "layer": dict(values)}


def secret(certificate: tuple[str, str]) -> Resource:
    """The certificate of the listeners."""
    chain, key = certificate
    return {
        "name": SECRET,
        "tls_certificate": {"certificate_chain": {"inline_string": chain}, "private_key": {"inline_string": key}},
    }


def built_in(options: Options) -> dict[str, list[Resource]]:
    """Paths of the Open Inference Protocol that the router answers: it speaks for no one deployment there."""
    about = dumps({"name": "forgelog-router", "version": options.version, "extensions": []})
    return {
        "/v2": [direct("/v2", 200, about), direct("/v2/", 200, about)],
        "/v2/health/live": [direct("/v2/health/live", 200, "")],
        "/v2/health/ready": [direct("/v2/health/ready", 200, "")],
    }


def route_action(routes: list[Resource]) -> Resource:
    """What a matcher does: takes the first route that matches."""
    routed = {"@type": TYPES + "envoy.config.route.v3.RouteList", "routes": routes}
    return {"action": {"name": "route", "typed_config": routed}}


def route_configuration(name: str, hosts: Sequence[str], otherwise: list[Resource] | None = None) -> Resource:
    """Of a listener, without its ways: `messages` puts them in. `hosts`: see `Options`. `otherwise`: the routes of a
    port whose endpoint has no paths."""
    host: Resource = {"name": name, "domains": list(hosts) or ["*"]}
    if otherwise is not None:
        host["routes"] = otherwise
    return {"name": name, "virtual_hosts": [host], "ignore_port_in_host_matching": True}


def header_input(header: str) -> Resource:
    """What a matcher's tree looks at."""
    kind = "envoy.type.matcher.v3.HttpRequestHeaderMatchInput"
    return {"name": "header", "typed_config": {"@type": TYPES + kind, "header_name": header}}


PATH_INPUT = header_input(":path")
NAME_INPUT = header_input(MODEL_HEADER)
