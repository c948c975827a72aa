"""Given endpoints of several protocols, then each leads to a port of the replicas that speaks its protocol."""

from __future__ import annotations

from typing import Any

import pytest

from events.language.common import ErrorCode, Refused
from events.language.deployments.commands import CreateDeployment, UpdateDeployment
from events.language.deployments.events import RoutingChanged
from events.language.deployments.models import DeploymentSpec
from services.deployments.refusals import check_endpoints
from tests.unit.deployments.desk import ID, Desk, command_spec, version

BOTH = ({"name": "rest", "type": "rest"}, {"name": "calls", "type": "grpc"})


def ports(desk: Desk) -> dict[str, str]:
    table = [event.table for event in desk.events if isinstance(event, RoutingChanged)][-1]
    return {each.name: each.replica_port for each in table.endpoints}


@pytest.mark.parametrize("given", [{}, {"replica_port": "http"}, {"replica_port": "grpc"}])
def test_a_model_servers_ports_follow_from_the_endpoints_protocol(given: dict[str, Any]) -> None:
    desk = Desk()
    endpoints = [{**each, **given} for each in BOTH]
    desk.create(DeploymentSpec.model_validate({"model": {"name": "digits"}, "replicas": 0, "endpoints": endpoints}))
    desk.resolve(1, version())
    assert ports(desk) == {"rest": "http", "calls": "grpc"}


def test_a_commands_port_speaks_one_protocol() -> None:
    desk = Desk()
    wrong: Any = command_spec(endpoints=BOTH)
    with pytest.raises(Refused, match="rest and calls have replica_port http, and gRPC speaks HTTP/2") as refusal:
        desk.send(CreateDeployment(name="digits", spec=wrong))
    assert (refusal.value.code, refusal.value.errors[0].field) == (ErrorCode.INVALID_ARGUMENT, "spec.endpoints")
    assert "ports" in refusal.value.errors[0].hint
    apart = [BOTH[0], {**BOTH[1], "replica_port": "calls"}]
    desk.create(command_spec(ports=("http", "calls"), endpoints=apart, replicas=0))
    assert ports(desk) == {"rest": "http", "calls": "calls"}
    with pytest.raises(Refused, match="rest and calls have replica_port http"):
        desk.send(UpdateDeployment(deployment_id=ID, spec=wrong))


def test_endpoints_of_one_protocol_may_share_a_commands_port() -> None:
    desk = Desk()
    more = ({"name": "live", "type": "websocket", "path": "/live"}, {"name": "pages", "type": "graphql", "path": "/g"})
    desk.create(command_spec(endpoints=(BOTH[0], *more), replicas=0))
    assert ports(desk) == {"rest": "http", "live": "http", "pages": "http"}


def _with(type: str, path: str) -> DeploymentSpec:
    endpoints = [{"name": "q", "type": type, "path": path}]
    return DeploymentSpec.model_validate({"model": {"name": "digits"}, "endpoints": endpoints})


@pytest.mark.parametrize("path", ["/", "/graphql"])
def test_graphql_of_the_model_server_is_where_that_has_it(path: str) -> None:
    check_endpoints(_with("graphql", path))


def test_graphql_where_the_model_server_has_none_is_refused() -> None:
    with pytest.raises(Refused) as refused:
        check_endpoints(_with("graphql", "/q"))
    (error,) = refused.value.errors
    assert (error.field, error.hint) == ("spec.endpoints", "give it the path /graphql")
    assert error.problem == "q has the path /q, and the model server's GraphQL is at /graphql"
