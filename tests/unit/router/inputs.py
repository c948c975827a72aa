"""Tables for the tests of this folder."""

from __future__ import annotations

from typing import Any

from events.language.deployments.routing import RoutingTable


def replica(name: str = "r1", port: int = 20_000) -> dict[str, Any]:
    return {"replica_id": name, "address": "10.0.0.7", "ports": {"http": port, "grpc": port + 1}}


def revision(number: int = 1, weight: int = 10_000, *names: str, **changes: Any) -> dict[str, Any]:
    replicas = [replica(name, 20_000 + 2 * index) for index, name in enumerate(names)]
    return {"revision": number, "weight": weight, "model": "digits", "version": number, "replicas": replicas, **changes}


def table(*revisions: dict[str, Any], name: str = "digits", **changes: Any) -> RoutingTable:
    return RoutingTable.model_validate(
        {
            "number": 1,
            "deployment_id": f"{name}.abc234",
            "project": "local/default",
            "name": name,
            "created_at": "2026-11-27T12:00:00Z",
            "revisions": revisions,
            "endpoints": [{"name": "rest", "type": "rest", "idempotent": True}],
            **changes,
        }
    )
