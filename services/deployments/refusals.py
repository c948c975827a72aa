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


def check_ports(spec: DeploymentSpec) -> None:
    """Raises Refused for a port of a command that would have to speak two protocols at once. Commands are held to it,
    not histories: there may be such deployments, of which some endpoints never answered."""
    if not spec.command:
        return  # the model server's ports follow from the protocol
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
