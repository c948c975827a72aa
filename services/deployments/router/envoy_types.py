"""The classes of Envoy's messages, from `xds-protos`. Importing this makes all known that resources hold (0.3 s)."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

try:
    from envoy.config.cluster.v3.cluster_pb2 import Cluster
    from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
    from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
    from envoy.config.listener.v3.listener_pb2 import Listener
    from envoy.config.route.v3.route_pb2 import RouteConfiguration
    from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
    from envoy.service.runtime.v3.rtds_pb2 import Runtime
    from xds.type.matcher.v3.matcher_pb2 import Matcher
except ImportError as error:
    raise ImportError(
        "the router needs the classes of Envoy's messages, which the extra `serving` brings: "
        "pip install 'forgelog[serving]'"
    ) from error

_HELD = (
    "config.route.v3.route_components",
    "config.trace.v3.opentelemetry",
    "extensions.access_loggers.file.v3.file",
    "extensions.filters.http.cors.v3.cors",
    "extensions.filters.http.ext_authz.v3.ext_authz",
    "extensions.filters.http.jwt_authn.v3.config",
    "extensions.filters.http.rbac.v3.rbac",
    "extensions.filters.http.router.v3.router",
    "extensions.filters.http.stateful_session.v3.stateful_session",
    "extensions.filters.network.http_connection_manager.v3.http_connection_manager",
    "extensions.http.early_header_mutation.header_mutation.v3.header_mutation",
    "extensions.http.stateful_session.cookie.v3.cookie",
    "extensions.retry.host.previous_hosts.v3.previous_hosts",
    "extensions.transport_sockets.tls.v3.tls",
    "extensions.upstreams.http.v3.http_protocol_options",
    "type.matcher.v3.http_inputs",
)
"""Modules of messages that stand in fields of any type."""

for _name in _HELD:
    import_module(f"envoy.{_name}_pb2")
import_module("xds.type.v3.typed_struct_pb2")

CLASSES: dict[str, Callable[[], Any]] = {
    kind.DESCRIPTOR.full_name: kind
    for kind in (Cluster, ClusterLoadAssignment, Listener, RouteConfiguration, TypedExtensionConfig, Runtime, Secret)
}
"""By full name."""

OnMatch: Callable[[], Any] = Matcher.OnMatch

__all__ = ["CLASSES", "OnMatch", "RouteConfiguration"]
