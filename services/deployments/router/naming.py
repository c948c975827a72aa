"""How things of one deployment are called in Envoy's configuration and in URLs."""

from __future__ import annotations

from collections.abc import Iterable

from events.language.deployments.routing import RoutedRevision, RoutingTable

ANY = "any"
"""Instead of a revision's number: the ready replicas of all revisions that have a weight."""

MAIN = "main"
"""The listener that all deployments share."""

_UPGRADES = "+upgrades"

MODEL_HEADER = "forgelog-model"
"""Metadata of a gRPC call that names its deployment."""


def cluster_name(table: RoutingTable, revision: int | str, port: str, *, upgrades: bool = False) -> str:
    """``digits.abc234/2/http``; ``digits.abc234/2/http+upgrades`` of endpoints that take WebSockets."""
    return f"{table.deployment_id}/{revision}/{port}{_UPGRADES if upgrades else ''}"


def listener_name(port: int | None) -> str:
    """Of a port of an endpoint's own, or of none; also the name of its routes."""
    return MAIN if port is None else f"port-{port}"


def cookie_name(table: RoutingTable) -> str:
    """The cookie that remembers a session's revision."""
    return f"fl-{table.deployment_id}"


def serve_path(table: RoutingTable) -> str:
    """Where a deployment's endpoints are, without ``/`` at the end."""
    return f"/serve/{table.project}/{table.name}"


def model_path(name: str) -> str:
    """Where the Open Inference Protocol has a model, without ``/`` at the end."""
    return f"/v2/models/{name}"


def holders(tables: Iterable[RoutingTable]) -> dict[str, str]:
    """Name → id of the deployment that is found by the name alone: the oldest."""
    held: dict[str, RoutingTable] = {}
    for table in tables:
        other = held.setdefault(table.name, table)
        if (table.created_at, table.deployment_id) < (other.created_at, other.deployment_id):
            held[table.name] = table
    return {name: table.deployment_id for name, table in held.items()}


def served(table: RoutingTable) -> list[RoutedRevision]:
    """The revisions that new sessions may get: those that have a weight and a ready replica."""
    return [revision for revision in table.revisions if revision.weight and revision.replicas]


def awaited(table: RoutingTable) -> list[RoutedRevision]:
    """The revisions whose replicas serve a request that had to wait: those that have a weight; where none has, all."""
    return [revision for revision in table.revisions if revision.weight] or list(table.revisions)
