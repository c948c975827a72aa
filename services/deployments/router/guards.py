"""What a request must pass before it goes to a replica: filters of Envoy that a route turns on and sets up.

Pure. The listeners have all these filters, turned off: see `listeners`. A route names those it needs by the names here.
In this order: origins, keys, rates, the body's length, waiting for a replica.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from hashlib import sha256
from json import dumps
from math import ceil
from typing import Any

from events.language.deployments.routing import EndpointKeys, KeyIssuer, PublicKey, RoutedEndpoint, RoutingTable
from services.deployments.router.clusters import TYPES, Resource, seconds

CORS = "envoy.filters.http.cors"
ORIGIN = "forgelog.origin"
JWT = "envoy.filters.http.jwt_authn"
KEY = "forgelog.key"
MINUTE = "forgelog.minute"
HOUR = "forgelog.hour"
BODY = "forgelog.body"
HOLD = "forgelog.hold"
AFFINITY = "envoy.filters.http.stateful_session"

MOST_CALLERS = 10_000
"""Callers whose rates are known at a time; those who were longest away are forgotten."""

KEY_HEADER = "x-api-key"

RATE_TYPE = "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit"

_CLAIMS = "key"
"""Where the claims of a key are, in the metadata of `JWT`."""


def guards(table: RoutingTable, endpoint: RoutedEndpoint) -> dict[str, Resource]:
    """The filters of a route and their settings."""
    found = {ORIGIN: _origin(endpoint), BODY: _body(endpoint)}
    if endpoint.allowed_origins:
        found[CORS] = _cors(endpoint)
    if endpoint.authentication:
        found[JWT] = _any(
            "envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig", requirement_name=_requirement(table)
        )
        found[KEY] = _key(table, endpoint)
    found |= dict.fromkeys(_limits(endpoint), _ON)
    if table.replica_affinity:
        found[AFFINITY] = _affinity(table)
    return found


def hold(table: RoutingTable, endpoint: RoutedEndpoint) -> Resource:
    """Lets a request wait at the companion until a replica is ready: see `holding`."""
    return _any(
        "envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute",
        check_settings={
            "context_extensions": {"deployment": table.deployment_id, "port": endpoint.replica_port},
            "grpc_service": companion_service(table.cold_start_seconds + 5),
        },
    )


def companion_service(timeout: float) -> Resource:
    """How Envoy asks the companion."""
    return {"envoy_grpc": {"cluster_name": "companion"}, "timeout": seconds(timeout)}


def _any(name: str, **fields: Any) -> Resource:
    return {"@type": TYPES + name, **fields}


def _rbac(action: str, principal: Resource) -> Resource:
    rules = {"action": action, "policies": {"rule": {"permissions": [{"any": True}], "principals": [principal]}}}
    return _any("envoy.extensions.filters.http.rbac.v3.RBACPerRoute", rbac={"rules": rules})


def _origin(endpoint: RoutedEndpoint) -> Resource:
    """Refuses requests of pages that are not allowed: browsers would send some of them without asking first."""
    sent: Resource = {"header": {"name": "origin", "present_match": True}}
    if "*" in endpoint.allowed_origins:
        return _rbac("DENY", {"not_id": {"any": True}})
    allowed = [
        {"header": {"name": "origin", "string_match": {"exact": origin, "ignore_case": True}}}
        for origin in endpoint.allowed_origins
    ]
    refused = [sent, {"not_id": {"or_ids": {"ids": allowed}}}] if allowed else [sent]
    return _rbac("DENY", {"and_ids": {"ids": refused}})


def _cors(endpoint: RoutedEndpoint) -> Resource:
    origins = [
        {"safe_regex": {"regex": ".*"}} if origin == "*" else {"exact": origin, "ignore_case": True}
        for origin in endpoint.allowed_origins
    ]
    return _any(
        "envoy.extensions.filters.http.cors.v3.CorsPolicy",
        allow_origin_string_match=origins,
        allow_methods="GET, POST, OPTIONS",
        allow_headers=f"authorization, content-type, inference-header-content-length, {KEY_HEADER}",
        expose_headers="inference-header-content-length, retry-after, server-timing, x-forgelog-revision",
        max_age="600",
    )


_NOBODY = KeyIssuer(
    issuer="nobody",
    public_keys=(
        PublicKey(key_id="none", x=urlsafe_b64encode(sha256(b"no key of forgelog").digest()).rstrip(b"=").decode()),
    ),
)
"""An issuer that signs nothing: its public key is a hash, so nobody can know a private one for it."""


def requirements(keys: EndpointKeys) -> tuple[str, Resource]:
    """How the check of an issuer's signatures is called, and the issuer as Envoy knows it. Without an issuer no key can
    be good: the check is then by a key that nobody has, so that requests are answered 401 like others without a good
    key."""
    if keys.issuer is None:
        return "none", _provider(_NOBODY)
    return f"key-{sha256(keys.issuer.to_json()).hexdigest()[:24]}", _provider(keys.issuer)


def _requirement(table: RoutingTable) -> str:
    return requirements(table.keys)[0]


def _provider(issuer: KeyIssuer) -> Resource:
    known = [
        {"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": key.key_id, "x": key.x}
        for key in issuer.public_keys
    ]
    return {
        "issuer": issuer.issuer,
        "require_expiration": True,
        "local_jwks": {"inline_string": dumps({"keys": known})},
        "from_headers": [{"name": "authorization", "value_prefix": "Bearer "}, {"name": KEY_HEADER}],
        "payload_in_metadata": _CLAIMS,
        "clock_skew_seconds": 5,
    }


def _claim(name: str, value: Resource) -> Resource:
    where = {"filter": JWT, "path": [{"key": _CLAIMS}, {"key": name}], "value": value}
    return {"metadata": where}


def _key(table: RoutingTable, endpoint: RoutedEndpoint) -> Resource:
    """Lets those keys pass that are for this deployment, or for this endpoint of it, and are not revoked."""
    audiences = (table.deployment_id, f"{table.deployment_id}/{endpoint.name}")
    exact = [{"string_match": {"exact": audience}} for audience in audiences]
    listed = [{"list_match": {"one_of": value}} for value in exact]
    good = [
        _claim("aud", {"or_match": {"value_matchers": [*exact, *listed]}}),
        _claim("jti", {"string_match": {"safe_regex": {"regex": ".+"}}}),
    ]
    if revoked := [_claim("jti", {"string_match": {"exact": key}}) for key in table.keys.revoked]:
        good.append({"not_id": {"or_ids": {"ids": revoked}}})
    return _rbac("ALLOW", {"and_ids": {"ids": good}})


_ON = _any("envoy.config.route.v3.FilterConfig", config={})
"""Turns a filter on that has its settings already."""

_STAGES = {MINUTE: 0, HOUR: 1}
_SECONDS = {MINUTE: 60, HOUR: 3600}


def _limits(endpoint: RoutedEndpoint) -> dict[str, int]:
    """Filter → requests."""
    limits = {MINUTE: endpoint.requests_per_minute, HOUR: endpoint.requests_per_hour}
    return {name: limit for name, limit in limits.items() if limit}


def callers(table: RoutingTable, endpoint: RoutedEndpoint) -> list[Resource]:
    """By what the filters of rates tell callers apart: a route's `rate_limits`."""
    if endpoint.authentication:
        path = [{"key": _CLAIMS}, {"key": "jti"}]
        key = {"descriptor_key": "caller", "metadata_key": {"key": JWT, "path": path}, "source": "DYNAMIC"}
        caller: Resource = {"metadata": key}
    else:
        caller = {"remote_address": {}}
    where = {"generic_key": {"descriptor_key": "endpoint", "descriptor_value": _rated(table, endpoint)}}
    return [{"stage": _STAGES[name], "actions": [where, caller]} for name in _limits(endpoint)]


def _rated(table: RoutingTable, endpoint: RoutedEndpoint) -> str:
    return f"{table.deployment_id}/{endpoint.name}"


def rates(table: RoutingTable, *, routers: int) -> dict[str, list[Resource]]:
    """The limits of a table's endpoints, by filter. `routers`: how many share them."""
    found: dict[str, list[Resource]] = {}
    for endpoint in table.endpoints:
        caller = "caller" if endpoint.authentication else "remote_address"
        for name, limit in _limits(endpoint).items():
            entries = [{"key": "endpoint", "value": _rated(table, endpoint)}, {"key": caller}]
            bucket = _bucket(ceil(limit / routers), _SECONDS[name])
            found.setdefault(name, []).append({"entries": entries, "token_bucket": bucket})
    return found


def rate_filter(name: str, limits: list[Resource]) -> Resource:
    """A filter of rates with the limits of all endpoints. Routes do not have them: each would count for itself, and
    begin anew whenever any route changes. (`xds-protos` does not know all of its fields yet.)"""
    settings = {
        "stat_prefix": name.rpartition(".")[2],
        "stage": _STAGES[name],
        "token_bucket": _bucket(_NO_LIMIT, 1),
        "always_consume_default_token_bucket": False,
        "filter_enabled": {"default_value": {"numerator": 100}},
        "filter_enforced": {"default_value": {"numerator": 100}},
        "descriptors": limits,
        "max_dynamic_descriptors": MOST_CALLERS,
        "rate_limited_as_resource_exhausted": True,
        "enable_retry_after_header": True,
    }
    return {"name": name, "typed_config": _structure(RATE_TYPE, **settings)}


_NO_LIMIT = 4_000_000_000


def _bucket(limit: int, per: int) -> Resource:
    return {"max_tokens": limit, "tokens_per_fill": limit, "fill_interval": seconds(per)}


def _body(endpoint: RoutedEndpoint) -> Resource:
    """Ends requests whose body is longer, as it passes; `xds-protos` does not know these messages yet."""
    limit = _any(
        "envoy.extensions.filters.http.body_size_limit.v3.BodySizeLimit", max_request_bytes=endpoint.max_body_bytes
    )
    return _structure(
        "envoy.extensions.filters.http.filter_chain.v3.FilterChainConfigPerRoute",
        filter_chain={"filters": [{"name": "envoy.filters.http.body_size_limit", "typed_config": limit}]},
    )


def _structure(name: str, **fields: Any) -> Resource:
    return _any("xds.type.v3.TypedStruct", type_url=TYPES + name, value=fields)


def _affinity(table: RoutingTable) -> Resource:
    cookie = {"name": f"fl-replica-{table.deployment_id}", "path": "/", "ttl": seconds(table.session.ttl_seconds)}
    state = _any("envoy.extensions.http.stateful_session.cookie.v3.CookieBasedSessionState", cookie=cookie)
    return _any(
        "envoy.extensions.filters.http.stateful_session.v3.StatefulSessionPerRoute",
        stateful_session={"session_state": {"name": "envoy.http.stateful_session.cookie", "typed_config": state}},
    )
