"""What routers know of a deployment: where its requests go, who may send them, and how many.

`RoutingTable` is the whole of what routers read. A deployment says it anew with each change, numbered; a router keeps
the table with the highest number. It holds no secrets: keys are checked by their issuer's public keys.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable
from enum import StrEnum
from ipaddress import ip_address
from typing import Annotated, Self, TypeVar

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from events.language.base import Model
from events.language.common import Identifier, ProjectName, Timestamp, shown
from events.language.deployments.endpoint_types import EndpointType
from events.language.experiments.registry.models import ModelName, VersionNumber

WHOLE = 10_000
"""All of a deployment's requests, in basis points."""

DeploymentName = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"), Field(examples=["digits"])
]
"""1 to 63 lower-case letters, digits and hyphens, no hyphen at an end: it stands in URLs and in names of cookies."""

RevisionNumber = Annotated[int, Field(ge=1, le=1_000_000_000)]
"""Which revision of its deployment; the first is 1."""

OptionalRevision = Annotated[int, Field(ge=0, le=1_000_000_000)]
"""A `RevisionNumber`, or 0: none."""

BasisPoints = Annotated[int, Field(ge=0, le=WHOLE)]
"""Hundredths of a percent: 10000 are all, 1 is one request of ten thousand."""

PortName = Annotated[str, StringConstraints(pattern=r"^[a-z]([a-z0-9-]{0,13}[a-z0-9])?$"), Field(examples=["http"])]
"""1 to 15 lower-case letters, digits and hyphens, a letter first."""

PortNumber = Annotated[int, Field(ge=1, le=65_535)]

EndpointName = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"), Field(examples=["rest"])
]

EndpointPath = Annotated[
    str,
    StringConstraints(
        pattern=r"^/([A-Za-z0-9_~-][A-Za-z0-9._~-]*(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*)?$", max_length=200
    ),
    Field(examples=["/", "/v2", "/graphql"]),
]
"""Path of a URL below its deployment's: parts of letters, digits, ``. _ ~ -`` with ``/`` before each; ``/`` for all."""

ORIGIN = r"^https?://([A-Za-z0-9._-]+|\[[0-9a-fA-F:]+\])(:[0-9]{1,5})?$"
Origin = Annotated[
    str, StringConstraints(pattern=rf"^\*$|{ORIGIN}", max_length=300), Field(examples=["https://a.example"])
]
"""Scheme, host and port of a page, as browsers send it: ``https://shop.example:8443``; ``*`` for any page."""

HeaderName = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$"), Field(examples=["x-user-group"])
]
"""Name of a header or of a cookie: RFC 9110's token."""

KeyId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,100}$")]


def _address(value: str) -> str:
    try:
        found = ip_address(value)
    except ValueError:
        raise ValueError(f"{shown(value)} is no IP address; give one such as 10.0.0.7 or fd00::7") from None
    if found.is_unspecified or found.is_multicast:
        raise ValueError(f"{shown(value)} is the address of no single machine; give one such as 10.0.0.7 or fd00::7")
    return str(found)


ReplicaAddress = Annotated[str, AfterValidator(_address), Field(examples=["10.0.0.7"])]


class BalancingStrategy(StrEnum):
    """Which of a revision's ready replicas gets a request."""

    ROUND_ROBIN = "round_robin"
    LEAST_REQUESTS = "least_requests"
    """Of two taken at random, the one that has fewer requests in flight."""
    SOURCE_IP = "source_ip"
    """Always the same for one client's address, as long as the replicas are the same (Maglev hashing)."""


class RuleSource(StrEnum):
    """What of a request a rule looks at."""

    HEADER = "header"
    COOKIE = "cookie"


class RuleMatch(StrEnum):
    """How a rule compares."""

    EXACT = "exact"
    PREFIX = "prefix"
    SUFFIX = "suffix"
    REGEX = "regex"
    """RE2, the whole value."""
    PRESENT = "present"
    """Any value."""


class RoutedReplica(Model):
    """A replica that is ready."""

    replica_id: Identifier
    address: ReplicaAddress
    ports: Annotated[dict[PortName, PortNumber], Field(min_length=1, max_length=16)]
    """By name, such as ``http`` and ``grpc``."""


class RoutedRevision(Model):
    """A revision that may get requests."""

    revision: RevisionNumber
    weight: BasisPoints = 0
    """Its share of new sessions. A revision with none is reached by rules alone, and as a shadow."""
    model: ModelName
    version: VersionNumber
    replicas: tuple[RoutedReplica, ...] = Field(default=(), max_length=10_000)
    """Those that are ready and not draining."""

    @model_validator(mode="after")
    def _different(self) -> Self:
        _refuse_twice("replicas", "replica_id", (replica.replica_id for replica in self.replicas))
        return self


class RoutedEndpoint(Model):
    """One way to ask a deployment.

    Requests come to ``/serve/<organization>/<project>/<name>`` with `path` behind it. Those of gRPC come to their
    methods' own paths, with the deployment in the metadata ``forgelog-model``.
    """

    name: EndpointName
    type: EndpointType
    path: EndpointPath = "/"
    """Of several endpoints that a request's path begins with, the longest path counts."""
    port: PortNumber | None = None
    """A port of the routers that is this endpoint's alone; there its paths have nothing before them."""
    replica_port: PortName = "http"
    """The replicas' port that serves it."""
    authentication: bool = False
    """Whether a request needs one of the deployment's keys."""
    allowed_origins: tuple[Origin, ...] = Field(default=(), max_length=100)
    """Pages that browsers may ask from; empty: none but those of the router's own origin."""
    requests_per_minute: Annotated[int, Field(ge=0, le=100_000_000)] = 0
    """Of each key, or of each address where no key is asked for; 0 for no limit."""
    requests_per_hour: Annotated[int, Field(ge=0, le=1_000_000_000)] = 0
    max_body_bytes: Annotated[int, Field(ge=1, le=1 << 32)] = 64 << 20
    """Longest body of a request; a longer one is answered 413."""
    timeout_seconds: Annotated[float, Field(ge=0.1, le=86_400)] = 60.0
    """How long nothing may pass in either direction before the router answers 504 and ends the request."""
    idempotent: bool = False
    """Whether a request may be sent to another replica when one fails after it has begun: it may then run twice."""


class RoutingRule(Model):
    """Sends requests that match to one revision, whatever its weight. The first rule that matches counts."""

    source: RuleSource
    key: HeaderName
    """The header's or the cookie's name."""
    match: RuleMatch = RuleMatch.EXACT
    value: Annotated[str, StringConstraints(max_length=500, pattern=r"^[\x20-\x7e]*$")] = ""
    """Printable ASCII."""
    revision: RevisionNumber

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if (self.match is RuleMatch.PRESENT) != (not self.value):
            if self.value:
                raise ValueError("value is given, and match is present, which looks at no value; leave value out")
            raise ValueError(f"value is empty, and match is {self.match}; give the value to compare with")
        if self.match is RuleMatch.REGEX:
            _regex(self.value)
        if self.source is RuleSource.HEADER and self.key.lower().startswith("x-forgelog-"):
            raise ValueError(f"key {shown(self.key)} begins as the platform's own headers, which no request brings in")
        return self


_NOT_RE2 = re.compile(r"\(\?[=!<#(]|\\[1-9]|\(\?P[=>]|[*+?}]\+")


def _regex(text: str) -> None:
    """Refuses what Python can't read, and what RE2 lacks: look-around, references, possessive repeats."""
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"value {shown(text)} is no regular expression: {error}") from None
    except (RecursionError, OverflowError):
        raise ValueError(f"value {shown(text)} is no regular expression that can be used: simplify it") from None
    if found := _NOT_RE2.search(text):
        raise ValueError(
            f"value {shown(text)} has {shown(found.group())}, and RE2 knows no look-around, references to groups or "
            "possessive repeats; write it without"
        )


class SessionAffinity(Model):
    """Whether a client stays with the revision that first answered it. A cookie remembers it."""

    enabled: bool = False
    ttl_seconds: Annotated[int, Field(ge=1, le=31_536_000)] = 3600
    """How long after its last request a client is remembered."""


class ShadowTraffic(Model):
    """A revision that gets copies of requests; nobody gets its answers."""

    revision: RevisionNumber
    weight: Annotated[int, Field(ge=1, le=WHOLE)] = WHOLE
    """The share of requests that is copied, in basis points."""


class RetryPolicy(Model):
    """How a request goes to another replica when one fails before it has answered."""

    attempts: Annotated[int, Field(ge=0, le=10)] = 4
    """Besides the first; 0 for none."""
    budget: Annotated[int, Field(ge=0, le=WHOLE)] = 2_000
    """Most retries at a time, in basis points of the requests in flight."""
    minimum: Annotated[int, Field(ge=0, le=100_000)] = 20
    """That many may be retried at a time whatever the budget gives; never fewer than one replica may have in flight
    (`concurrency`), so that all that it had goes to others when it ends."""
    max_body_bytes: Annotated[int, Field(ge=0, le=1 << 30)] = 4 << 20
    """A request with a longer body is not kept, so it is sent once."""
    try_seconds: Annotated[float, Field(ge=0, le=86_400)] = 0.0
    """A try that has brought nothing for so long is given up, and its replica gets no requests for a second. Requests
    that may run twice (`idempotent`) go to another replica. Give more than the slowest answer, or part of an answer,
    takes; 0: the endpoint's `timeout_seconds` alone counts."""


class PublicKey(Model):
    """One of the keys that an issuer signs with: Ed25519."""

    key_id: KeyId
    """``kid`` of the tokens."""
    x: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{43}$")]
    """The public key's 32 bytes in base64url (RFC 8037)."""


IssuerName = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[\x21-\x7e]+$")]


class KeyIssuer(Model):
    """Who signs a deployment's keys, and by which public keys that is checked."""

    issuer: IssuerName
    """``iss`` of the tokens."""
    public_keys: Annotated[tuple[PublicKey, ...], Field(min_length=1, max_length=16)]

    @model_validator(mode="after")
    def _different(self) -> Self:
        _refuse_twice("public_keys", "key_id", (key.key_id for key in self.public_keys))
        return self


class EndpointKeys(Model):
    """Which keys open a deployment: those of its issuer whose audience (``aud``) it is, until they are revoked."""

    issuer: KeyIssuer | None = None
    """None: no key opens it yet."""
    revoked: tuple[KeyId, ...] = Field(default=(), max_length=10_000)
    """``jti`` of keys that were revoked before they expired."""


class DeploymentObservability(Model):
    """What is recorded of a deployment's requests."""

    metrics: bool = True
    """Whether its requests are counted in windows of a minute."""
    tracing: Annotated[float, Field(ge=0, le=1)] = 0.0
    """The share of requests that is traced; of those with a caller's own trace too (``traceparent``)."""
    access_log: Annotated[float, Field(ge=0, le=1)] = 1.0
    """The share of requests that routers record; those that failed are recorded always."""


class RoutingTable(Model):
    """The whole of what routers know of a deployment."""

    number: Annotated[int, Field(ge=1)]
    """Counts a deployment's tables; no two have the same."""
    deployment_id: Identifier
    project: ProjectName
    name: DeploymentName
    created_at: Timestamp
    """Of deployments of one name in several projects, the oldest is found by the name alone."""
    revisions: tuple[RoutedRevision, ...] = Field(default=(), max_length=100)
    """Their weights are 10000 together, or all 0."""
    endpoints: tuple[RoutedEndpoint, ...] = Field(default=(), max_length=32)
    rules: tuple[RoutingRule, ...] = Field(default=(), max_length=200)
    """One whose revision is not among `revisions` counts for nothing."""
    session: SessionAffinity = SessionAffinity()
    replica_affinity: bool = False
    """Whether a client stays with a replica as long as it is there. A cookie remembers it."""
    balancing: BalancingStrategy = BalancingStrategy.ROUND_ROBIN
    shadow: ShadowTraffic | None = None
    """One whose revision is not among `revisions` counts for nothing."""
    retries: RetryPolicy = RetryPolicy()
    concurrency: Annotated[int, Field(ge=1, le=1_000_000)] = 100
    """Most requests in flight to one replica. More than that times the ready replicas are answered 503, with
    Retry-After."""
    cold_start_seconds: Annotated[float, Field(ge=0, le=3600)] = 60.0
    """How long a request waits for a replica where none is ready, before it is answered 503."""
    keys: EndpointKeys = EndpointKeys()
    observability: DeploymentObservability = DeploymentObservability()
    terminated: bool = False
    """Whether the deployment has ended; routers then forget it."""

    @model_validator(mode="after")
    def _sound(self) -> Self:
        _refuse_twice("revisions", "revision", (revision.revision for revision in self.revisions))
        _refuse_twice("endpoints", "name", (endpoint.name for endpoint in self.endpoints))
        if twice := twice_placed(self.endpoints):
            raise ValueError(f"two endpoints have {twice}; give each a path of its own")
        if (total := sum(revision.weight for revision in self.revisions)) not in (0, WHOLE):
            raise ValueError(f"the weights of revisions are {total} together; make them {WHOLE}, or all 0")
        return self


_Value = TypeVar("_Value", bound=Hashable)


def _refuse_twice(field: str, what: str, values: Iterable[Hashable]) -> None:
    if (found := _twice(values)) is not None:
        raise ValueError(f"{field} has two with {what} {found}; give each once")


def _twice(values: Iterable[_Value]) -> _Value | None:
    seen = set[_Value]()
    for value in values:
        if value in seen:
            return value
        seen.add(value)
    return None


def twice_placed(endpoints: Iterable[RoutedEndpoint]) -> str:
    """Where two endpoints are, as ``the path / at port 8000``; empty if each has a place of its own. gRPC's methods
    have paths of their own, so an endpoint of gRPC meets others of gRPC alone."""
    found = _twice((each.port, each.type is EndpointType.GRPC, each.path) for each in endpoints)
    if found is None:
        return ""
    port, _, path = found
    return f"the path {path}{f' at port {port}' if port else ''}"
