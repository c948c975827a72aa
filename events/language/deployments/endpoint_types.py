"""How clients can ask a model."""

from __future__ import annotations

from enum import StrEnum


class EndpointType(StrEnum):
    """How an endpoint is asked."""

    REST = "rest"
    """The Open Inference Protocol v2 over HTTP, as JSON or binary; streams as Server-Sent Events."""
    GRPC = "grpc"
    """The Open Inference Protocol v2 over gRPC."""
    WEBSOCKET = "websocket"
    """A request of the Open Inference Protocol v2 as JSON in each message."""
    GRAPHQL = "graphql"
    """Queries and subscriptions, by a schema that is made of the model's signature."""
