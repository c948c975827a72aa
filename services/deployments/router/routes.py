"""Which request goes where: a map from the beginnings of paths, and from names in metadata, to routes.

Pure. Of each way to a deployment's endpoint there is a list of routes. The first that matches counts:

1. what a rule sends to its revision;
2. what a session's cookie sends to its revision;
3. the split of all others by the revisions' weights.

Where no revision has a ready replica there is one route, whose requests wait (`guards.hold`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote

from events.language.deployments.endpoint_types import EndpointType
from events.language.deployments.routing import (
    RoutedEndpoint,
    RoutedRevision,
    RoutingRule,
    RoutingTable,
    RuleMatch,
    RuleSource,
)
from events.process.replica_keys import HEADER
from services.deployments.router.clusters import Resource, seconds, upgrades
from services.deployments.router.guards import HOLD, callers, guards, hold
from services.deployments.router.naming import (
    ANY,
    awaited,
    cluster_name,
    cookie_name,
    listener_name,
    model_path,
    serve_path,
    served,
)
from services.deployments.router.spans import sampled

_SAFE = "connect-failure,refused-stream,reset-before-request"
"""What is tried again of any request: it did not get to the replica."""

_READING: Resource = {"name": ":method", "string_match": {"safe_regex": {"regex": "GET|HEAD|OPTIONS"}}}
"""Matches methods that change nothing (RFC 9110, section 9.2.1)."""

_AGAIN = f"{_SAFE},reset"
"""What is tried again of a request that may run twice."""


_INSTEAD = "OVERWRITE_IF_EXISTS_OR_ADD"


@dataclass(frozen=True, slots=True)
class Ways:
    """The ways to one deployment, for one listener."""

    paths: dict[str, list[Resource]] = field(default_factory=dict)
    """Beginning of a path → routes."""
    names: dict[str, list[Resource]] = field(default_factory=dict)
    """What calls of gRPC have in the metadata ``forgelog-model`` → routes; "" on a port of the endpoint's own."""


def ways(
    table: RoutingTable, *, alone: bool, secure: bool = False, key: str = "", traced: bool = False
) -> dict[str, Ways]:
    """By name of the listener. `alone`: whether the deployment is found by its name alone. `secure`: whether clients
    speak TLS with the router. `key`: by which replicas know the router; none if empty. `traced`: whether there is a
    collector of spans."""
    found: dict[str, Ways] = {}
    for endpoint in table.endpoints:
        maker = _Maker(table, endpoint, secure, key, traced)
        place = found.setdefault(listener_name(None), Ways())
        if endpoint.type is EndpointType.GRPC:
            names = [table.deployment_id, f"{table.project}/{table.name}", *([table.name] if alone else [])]
            place.names.update(dict.fromkeys(names, maker.routes({"prefix": "/", "grpc": {}}, {})))
        else:
            for prefix, (match, rewrite) in _paths(table, endpoint, alone).items():
                place.paths[prefix] = maker.routes(match, rewrite)
        if endpoint.port is not None:
            own = found.setdefault(listener_name(endpoint.port), Ways())
            if endpoint.type is EndpointType.GRPC:
                own.names[""] = maker.routes({"prefix": "/", "grpc": {}}, {})
            else:
                own.paths[endpoint.path] = maker.routes(_below(endpoint.path), {})
    return found


def _below(path: str) -> Resource:
    """Matches a path and all below it."""
    return {"prefix": "/"} if path == "/" else {"path_separated_prefix": path}


def _paths(table: RoutingTable, endpoint: RoutedEndpoint, alone: bool) -> dict[str, tuple[Resource, Resource]]:
    """Beginning of a path → how it is matched, and what the replica gets for it."""
    start = serve_path(table)
    if endpoint.path == "/":
        found = {f"{start}/": ({"prefix": f"{start}/"}, {"prefix_rewrite": "/"})}
    else:
        found = {start + endpoint.path: (_below(start + endpoint.path), {"prefix_rewrite": endpoint.path})}
    if endpoint.type is EndpointType.REST and endpoint.path in ("/", "/v2", "/v2/models"):
        models = {quote(revision.model, safe="") for revision in awaited(table)}
        for name in (table.deployment_id, *([table.name] if alone else [])):
            path = model_path(name)
            # What the replicas call it, if they agree.
            rewrite = {"prefix_rewrite": model_path(*models)} if len(models) == 1 and models != {name} else {}
            found[path] = (_below(path), rewrite)
    return found


@dataclass(frozen=True, slots=True)
class _Maker:
    """Makes the routes of one endpoint."""

    table: RoutingTable
    endpoint: RoutedEndpoint
    secure: bool
    key: str = field(repr=False)
    traced: bool = False

    def routes(self, match: Resource, rewrite: Resource) -> list[Resource]:
        """Of an endpoint whose requests may not run twice, those that only read come first: they may."""
        if self.endpoint.idempotent or self.endpoint.type is EndpointType.GRPC:
            return self._routes(match, rewrite)
        reading = replace(self, endpoint=self.endpoint.model_copy(update={"idempotent": True}))
        headers = [*match.get("headers", ()), _READING]
        return [*reading._routes({**match, "headers": headers}, rewrite), *self._routes(match, rewrite)]

    def _routes(self, match: Resource, rewrite: Resource) -> list[Resource]:
        if not (split := served(self.table)):
            return [*self._by_rules(match, rewrite), self._waiting(match, rewrite)]
        return [
            *self._by_rules(match, rewrite),
            *self._by_cookie(match, rewrite, split),
            self._split(match, rewrite, split),
        ]

    def _by_rules(self, match: Resource, rewrite: Resource) -> Iterator[Resource]:
        revisions = {revision.revision: revision for revision in self.table.revisions}
        for rule in self.table.rules:
            # A revision without replicas is as if it were not there: an answer of another one is better than none.
            if (revision := revisions.get(rule.revision)) is not None and revision.replicas:
                headers = [*match.get("headers", ()), _matcher(rule)]
                yield self._route({**match, "headers": headers}, {**rewrite, **self._to(revision.revision)}, revision)

    def _by_cookie(self, match: Resource, rewrite: Resource, split: list[RoutedRevision]) -> Iterator[Resource]:
        """Also where all weight is one revision's: its sessions are remembered before another one gets some."""
        if self.table.session.enabled:
            for revision in split:
                header = _cookie(cookie_name(self.table), re.escape(str(revision.revision)))
                headers = [*match.get("headers", ()), header]
                yield self._route({**match, "headers": headers}, {**rewrite, **self._to(revision.revision)}, revision)

    def _split(self, match: Resource, rewrite: Resource, split: list[RoutedRevision]) -> Resource:
        if len(split) == 1:
            return self._route(match, {**rewrite, **self._to(split[0].revision)}, split[0])
        weighted = [
            {
                "name": self._cluster(revision.revision),
                "weight": revision.weight,
                "response_headers_to_add": self._answer_headers(revision),
            }
            for revision in split
        ]
        return self._route(match, {**rewrite, "weighted_clusters": {"clusters": weighted}}, None)

    def _waiting(self, match: Resource, rewrite: Resource) -> Resource:
        route = self._route(match, {**rewrite, **self._to(ANY)}, None)
        route["route"]["idle_timeout"] = seconds(self.endpoint.timeout_seconds + self.table.cold_start_seconds)
        route["typed_per_filter_config"][HOLD] = hold(self.table, self.endpoint)
        return route

    def _to(self, revision: int | str) -> Resource:
        return {"cluster": self._cluster(revision)}

    def _cluster(self, revision: int | str) -> str:
        return cluster_name(self.table, revision, self.endpoint.replica_port, upgrades=upgrades(self.endpoint))

    def _route(self, match: Resource, action: Resource, revision: RoutedRevision | None) -> Resource:
        """`revision`: the only one that the requests go to, if there is one."""
        table, endpoint = self.table, self.endpoint
        kept = max(table.retries.max_body_bytes, 1)
        action = {
            "timeout": "0s",
            "idle_timeout": seconds(endpoint.timeout_seconds),
            "upgrade_configs": [{"upgrade_type": "websocket", "enabled": upgrades(self.endpoint)}],
            **self._balancing(),
            **self._retries(),
            **self._shadow(),
            "rate_limits": callers(table, endpoint),
            **action,
        }
        known = {"deployment": table.deployment_id, "endpoint": endpoint.name, "project": table.project}
        return {
            "match": match,
            "route": action,
            "metadata": {"filter_metadata": {"forgelog": known}},
            "request_body_buffer_limit": kept,
            "typed_per_filter_config": guards(table, endpoint),
            **(sampled(table) if self.traced else {}),
            **({"request_headers_to_add": [_header(HEADER, self.key, _INSTEAD)]} if self.key else {}),
            **({"response_headers_to_add": self._answer_headers(revision)} if revision else {}),
        }

    def _balancing(self) -> Resource:
        return {"hash_policy": [{"connection_properties": {"source_ip": True}}]}

    def _retries(self) -> Resource:
        policy = self.table.retries
        if not policy.attempts:
            return {}
        return {
            "retry_policy": {
                "retry_on": _AGAIN if self.endpoint.idempotent else _SAFE,
                "num_retries": policy.attempts,
                **({"per_try_idle_timeout": seconds(policy.try_seconds)} if policy.try_seconds else {}),
                "retry_host_predicate": [
                    {
                        "name": "envoy.retry_host_predicates.previous_hosts",
                        "typed_config": {
                            "@type": "type.googleapis.com/"
                            "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
                        },
                    }
                ],
                "host_selection_retry_max_attempts": 32,
                "retry_back_off": {"base_interval": seconds(0.005), "max_interval": seconds(0.1)},
            }
        }

    def _shadow(self) -> Resource:
        shadow = self.table.shadow
        ready = {revision.revision for revision in self.table.revisions if revision.replicas}
        if shadow is None or shadow.revision not in ready or upgrades(self.endpoint):
            return {}
        return {
            "request_mirror_policies": [
                {
                    **self._to(shadow.revision),
                    "runtime_fraction": {"default_value": {"numerator": shadow.weight, "denominator": "TEN_THOUSAND"}},
                }
            ]
        }

    def _answer_headers(self, revision: RoutedRevision) -> list[Resource]:
        """Says which revision answered, and has the session's cookie."""
        number = str(revision.revision)
        headers = [_header("x-forgelog-revision", number, _INSTEAD)]
        if self.table.session.enabled and revision.weight:
            ttl = self.table.session.ttl_seconds
            secure = "; Secure" if self.secure else ""
            cookie = f"{cookie_name(self.table)}={number}; Path=/; Max-Age={ttl}; HttpOnly; SameSite=Lax{secure}"
            headers.append(_header("set-cookie", cookie, "APPEND_IF_EXISTS_OR_ADD"))
        return headers


def _header(key: str, value: str, action: str) -> Resource:
    return {"header": {"key": key, "value": value.replace("%", "%%")}, "append_action": action}


def _cookie(name: str, value: str) -> Resource:
    """Matches a request whose cookie of that name has a value by that expression."""
    return {
        "name": "cookie",
        "string_match": {"safe_regex": {"regex": rf"(^|.*;\s*){re.escape(name)}=({value})(\s*;.*|$)"}},
    }


def _matcher(rule: RoutingRule) -> Resource:
    if rule.source is RuleSource.COOKIE:
        text = re.escape(rule.value)
        value = {
            RuleMatch.EXACT: text,
            RuleMatch.PREFIX: f"{text}[^;]*",
            RuleMatch.SUFFIX: f"[^;]*{text}",
            RuleMatch.REGEX: rule.value,
            RuleMatch.PRESENT: "[^;]*",
        }[rule.match]
        return _cookie(rule.key, value)
    if rule.match is RuleMatch.PRESENT:
        return {"name": rule.key, "present_match": True}
    kind: dict[str, Any] = (
        {"safe_regex": {"regex": rule.value}} if rule.match is RuleMatch.REGEX else {rule.match.value: rule.value}
    )
    return {"name": rule.key, "string_match": kind}
