"""How commands about deployments are refused: the field, what is wrong, and what to do."""

from __future__ import annotations

from collections.abc import Sequence

from events.language.common import ErrorCode, Refused, invalid, refused
from events.language.deployments.endpoint_types import EndpointType
from events.language.deployments.models import DeploymentSpec
from events.language.deployments.routing import RoutedEndpoint


def forbidden(field: str, problem: str, hint: str) -> Refused:
    """What a deployment's state does not allow."""
    return refused(ErrorCode.FAILED_PRECONDITION, field, problem, hint)


GRAPHQL_PATHS = ("/", "/graphql")
"""Of an endpoint of the model server: its GraphQL is at ``/graphql``, and so below ``/`` too."""


def check_endpoints(spec: DeploymentSpec) -> None:
    """Raises Refused for an endpoint that could never answer: a port of a command that would speak two protocols
    at once, GraphQL where the model server has none. Commands are held to it, not histories: there may be such
    deployments."""
    if not spec.command:  # the model server's ports follow from the protocol
        for endpoint in spec.endpoints:
            if endpoint.type is EndpointType.GRAPHQL and endpoint.path not in GRAPHQL_PATHS:
                problem = f"{endpoint.name} has the path {endpoint.path}, and the model server's GraphQL is at /graphql"
                raise invalid("spec.endpoints", problem, "give it the path /graphql")
        return
    ports: dict[str, list[RoutedEndpoint]] = {}
    for endpoint in spec.endpoints:
        ports.setdefault(endpoint.replica_port, []).append(endpoint)
    for port, found in ports.items():
        if len({endpoint.type is EndpointType.GRPC for endpoint in found}) > 1:
            problem = f"{_named(found)} have replica_port {port}, and gRPC speaks HTTP/2 there, which the others do not"
            raise invalid("spec.endpoints", problem, "give gRPC a port of its own, named in spec.ports")


def _named(endpoints: Sequence[RoutedEndpoint]) -> str:
    *names, last = [endpoint.name for endpoint in endpoints]
    return f"{', '.join(names)} and {last}"
