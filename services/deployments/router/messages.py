"""Resources as Envoy's messages. Needs the extra ``serving``: `xds-protos` has their classes.

A table's messages are made once (10 µs to 1 ms each); what holds all tables is put together from them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from google.protobuf import any_pb2, json_format

from events.language.deployments.routing import RoutingTable
from services.deployments.router import resources
from services.deployments.router.clusters import TYPES, Resource
from services.deployments.router.envoy_types import CLASSES, OnMatch, RouteConfiguration
from services.deployments.router.guards import HOUR, MINUTE, rate_filter
from services.deployments.router.naming import MAIN, listener_name
from services.deployments.router.resources import Options, Parts
from services.deployments.router.routes import Ways
from services.deployments.router.tables import Leaving

log = logging.getLogger("forgelog.router")

CLUSTER = "envoy.config.cluster.v3.Cluster"
ASSIGNMENT = "envoy.config.endpoint.v3.ClusterLoadAssignment"
LISTENER = "envoy.config.listener.v3.Listener"
ROUTES = "envoy.config.route.v3.RouteConfiguration"
EXTENSION = "envoy.config.core.v3.TypedExtensionConfig"
RUNTIME = "envoy.service.runtime.v3.Runtime"
SECRET = "envoy.extensions.transport_sockets.tls.v3.Secret"


@dataclass(frozen=True, slots=True)
class Packed:
    """A resource as it is sent."""

    version: str
    """Follows from the content."""
    body: any_pb2.Any


Snapshot = dict[str, dict[str, Packed]]
"""Type → name → resource: all that Envoy is to have."""


def pack(kind: str, message: Any) -> Packed:
    """A message of that type."""
    value = message.SerializeToString(deterministic=True)
    return Packed(blake2b(value, digest_size=12).hexdigest(), any_pb2.Any(type_url=TYPES + kind, value=value))


def parse(kind: str, resource: Resource) -> Packed:
    """Raises `google.protobuf.json_format.ParseError` for what is no resource of that type: a defect of ours."""
    return pack(kind, json_format.ParseDict(resource, CLASSES[kind]()))


@dataclass(slots=True)
class _Made:
    """What one table became."""

    table: RoutingTable
    leaving: tuple[Leaving, ...]
    alone: bool
    parts: Parts
    clusters: dict[str, Packed]
    assignments: dict[str, Packed]
    paths: dict[str, dict[str, Any]]
    """Listener → beginning of a path → the matcher's action."""
    names: dict[str, dict[str, Any]]


@dataclass(slots=True)
class Assembly:
    """All of a router's resources, from all its tables."""

    options: Options
    _made: dict[str, _Made] = field(default_factory=dict)
    _providers: list[tuple[str, Resource]] = field(default_factory=list)
    _listening: tuple[tuple[int, ...], Options, dict[str, Packed]] | None = None
    """The listeners, and what they were made of."""
    refused: list[str] = field(default_factory=list)
    """What endpoints wanted and did not get."""

    def snapshot(
        self, tables: Mapping[str, RoutingTable], leaving: Mapping[str, Mapping[str, Leaving]] | None = None
    ) -> Snapshot:
        """`tables`: by deployment, without those that have ended. `leaving`: replicas that their tables name no more,
        by deployment and id."""
        alone = resources.owners(tables.values())
        self._made = {
            name: self._make(table, tuple((leaving or {}).get(name, {}).values()), name in alone)
            for name, table in sorted(tables.items())
        }
        claims = resources.claims(tables.values(), self.options)
        self.refused = claims.refused
        made = self._made.values()
        found: Snapshot = {
            CLUSTER: _together(one.clusters for one in made),
            ASSIGNMENT: _together(one.assignments for one in made),
            EXTENSION: {},
            ROUTES: {MAIN: self._main(made)},
            LISTENER: self._listeners(tuple(sorted(claims.ports))),
            RUNTIME: {},
            SECRET: {},
        }
        for port, deployment in claims.ports.items():
            found[ROUTES][listener_name(port)] = self._own(listener_name(port), self._made[deployment])
        # Also those of the last time: routes that name them are there until Envoy has the new ones.
        providers = [one.parts.provider for one in made]
        filters = resources.keys([*self._providers, *providers])
        self._providers = providers
        found[EXTENSION][filters["name"]] = parse(EXTENSION, filters)
        for name in (MINUTE, HOUR):
            limits = [limit for one in made for limit in one.parts.rates.get(name, ())]
            found[EXTENSION][name] = parse(EXTENSION, rate_filter(name, limits))
        values: dict[str, int] = {}
        for one in made:
            values |= one.parts.limits
        found[RUNTIME][resources.RUNTIME] = parse(RUNTIME, resources.runtime(values))
        if (certificate := self.options.certificate) is not None:
            found[SECRET] = {"tls": parse(SECRET, resources.secret(certificate))}
        return found

    def _listeners(self, ports: tuple[int, ...]) -> dict[str, Packed]:
        """Made anew only if there are other ports: they are the largest of all messages."""
        if self._listening is None or self._listening[:2] != (ports, self.options):
            made = resources.listeners(ports, self.options)
            self._listening = ports, self.options, {name: parse(LISTENER, one) for name, one in made.items()}
        return self._listening[2]

    def _make(self, table: RoutingTable, leaving: tuple[Leaving, ...], alone: bool) -> _Made:
        known = self._made.get(table.deployment_id)
        if known is not None and known.table is table and known.leaving == leaving and known.alone == alone:
            return known
        parts = resources.parts(table, self.options, leaving=leaving, alone=alone)
        return _Made(
            table,
            leaving,
            alone,
            parts,
            {name: parse(CLUSTER, one) for name, one in parts.clusters.items()},
            {name: parse(ASSIGNMENT, one) for name, one in parts.assignments.items()},
            {name: _actions(way.paths) for name, way in parts.ways.items()},
            {name: _actions(way.names) for name, way in parts.ways.items()},
        )

    def _main(self, made: Iterable[_Made]) -> Packed:
        paths = _actions(resources.built_in(self.options))
        names: dict[str, Any] = {}
        for one in made:
            paths |= one.paths.get(MAIN, {})
            names |= one.names.get(MAIN, {})
        return self._routes(MAIN, paths, names)

    def _own(self, name: str, made: _Made) -> Packed:
        """The routes of an endpoint's own port. Calls of gRPC need no name there."""
        way = made.parts.ways.get(name, Ways())
        if not (paths := made.paths.get(name, {})):
            return parse(ROUTES, resources.route_configuration(name, self.options.hosts, way.names.get("", [])))
        return self._routes(name, paths, {}, made.names.get(name, {}).get(""))

    def _routes(self, name: str, paths: dict[str, Any], names: dict[str, Any], last: Any = None) -> Packed:
        """`last`: the action for what no path begins."""
        configuration = RouteConfiguration()
        json_format.ParseDict(resources.route_configuration(name, self.options.hosts), configuration)
        tree = configuration.virtual_hosts[0].matcher.matcher_tree
        json_format.ParseDict(resources.PATH_INPUT, tree.input)
        for prefix, action in paths.items():
            tree.prefix_match_map.map[prefix].CopyFrom(action)
        otherwise = configuration.virtual_hosts[0].matcher.on_no_match
        if names:
            by_name = otherwise.matcher.matcher_tree
            json_format.ParseDict(resources.NAME_INPUT, by_name.input)
            for called, action in names.items():
                by_name.exact_match_map.map[called].CopyFrom(action)
        elif last is not None:
            otherwise.CopyFrom(last)
        return pack(ROUTES, configuration)


def _actions(ways: Mapping[str, list[Resource]]) -> dict[str, Any]:
    return {key: json_format.ParseDict(resources.route_action(routes), OnMatch()) for key, routes in ways.items()}


def _together(groups: Iterable[Mapping[str, Packed]]) -> dict[str, Packed]:
    found: dict[str, Packed] = {}
    for group in groups:
        found |= group
    return found
