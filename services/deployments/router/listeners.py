"""Where routers listen, and what they do with every request: the part of Envoy's configuration that never changes.

Pure. A listener that changed would cut its WebSockets, so whatever follows a deployment is in routes, clusters, the
runtime and in three filters that are fetched by themselves. A port of an endpoint's own is a listener more; it is
there as long as the endpoint.
"""

from __future__ import annotations

from typing import Any

from services.deployments.router.clusters import ADS, TYPES, Resource, seconds, socket
from services.deployments.router.guards import (
    AFFINITY,
    BODY,
    CORS,
    HOLD,
    HOUR,
    JWT,
    KEY,
    MINUTE,
    ORIGIN,
    RATE_TYPE,
    companion_service,
)
from services.deployments.router.replies import local_replies
from services.deployments.router.spans import tracing

_HTTP = "envoy.extensions.filters.http"
_MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"

MAX_HEADERS = 100
MAX_HEADERS_KIB = 32
MAX_CONCURRENT_STREAMS = 1_000
HEAD_SECONDS = 10.0
"""A client that does not send a request's headers in so many seconds is cut."""

SECRET = "tls"

LOG_FILE = "access.log"
"""In the folder of the router, where Envoy runs."""

LOG_FIELDS = {
    "time": "%START_TIME(%s.%3f)%",
    "method": "%REQ(:METHOD)%",
    "protocol": "%PROTOCOL%",
    "status": "%RESPONSE_CODE%",
    "grpc": "%GRPC_STATUS_NUMBER%",
    "flags": "%RESPONSE_FLAGS%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "deployment": "%METADATA(ROUTE:forgelog:deployment)%",
    "endpoint": "%METADATA(ROUTE:forgelog:endpoint)%",
    "cluster": "%UPSTREAM_CLUSTER_RAW%",
    "revision": "%UPSTREAM_METADATA(forgelog:revision)%",
    "replica": "%UPSTREAM_METADATA(forgelog:replica)%",
    "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "received": "%BYTES_RECEIVED%",
    "sent": "%BYTES_SENT%",
    "micros": "%COMMON_DURATION(DS_RX_BEG:DS_TX_END:us)%",
    "upstream": "%COMMON_DURATION(US_TX_BEG:US_RX_END:us)%",
    "timing": "%RESP(SERVER-TIMING)%",
    "trailing_timing": "%TRAILER(SERVER-TIMING)%",
    "error": "%RESP(X-FORGELOG-ERROR)%",
    "trailing_error": "%TRAILER(X-FORGELOG-ERROR)%",
    "request": "%REQ(X-REQUEST-ID)%",
    "trace": "%REQ(TRACEPARENT):55%",
}
"""What the access log says of a request. No header with a secret, no query, no body."""


def listener(name: str, host: str, port: int, *, secure: bool, hops: int, log: str, traced: bool = False) -> Resource:
    """`hops`: proxies before the router whose word on a client's address counts. `log`: the access log's file.
    `traced`: whether there is a collector of spans."""
    manager = _manager(name, hops, log) | ({"tracing": tracing()} if traced else {})
    chain: Resource = {"filters": [{"name": "http", "typed_config": manager}]}
    if secure:
        chain["transport_socket"] = _tls()
    return {
        "name": name,
        "address": socket(host, port),
        "filter_chains": [chain],
        "enable_reuse_port": True,
        "per_connection_buffer_limit_bytes": 1 << 20,
    }


def _tls() -> Resource:
    secret = {"name": SECRET, "sds_config": ADS}
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": TYPES + "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            "common_tls_context": {
                "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
                "alpn_protocols": ["h2", "http/1.1"],
                "tls_certificate_sds_secret_configs": [secret],
            },
        },
    }


def _manager(name: str, hops: int, log: str) -> Resource:
    return {
        "@type": TYPES + _MANAGER,
        "stat_prefix": name,
        "codec_type": "AUTO",
        "rds": {"route_config_name": name, "config_source": ADS},
        "http_filters": _filters(),
        "use_remote_address": True,
        "xff_num_trusted_hops": hops,
        "server_header_transformation": "PASS_THROUGH",
        "always_set_request_id_in_response": True,  # by it a caller finds the request's record, and its lineage
        "normalize_path": True,
        "merge_slashes": True,
        "path_with_escaped_slashes_action": "REJECT_REQUEST",
        "max_request_headers_kb": MAX_HEADERS_KIB,
        "request_headers_timeout": seconds(HEAD_SECONDS),
        "stream_idle_timeout": seconds(300),
        "common_http_protocol_options": {
            "idle_timeout": seconds(300),
            "max_headers_count": MAX_HEADERS,
            "headers_with_underscores_action": "DROP_HEADER",
        },
        "http2_protocol_options": {
            "max_concurrent_streams": MAX_CONCURRENT_STREAMS,
            "initial_stream_window_size": 1 << 18,
            "initial_connection_window_size": 1 << 20,
        },
        "upgrade_configs": [{"upgrade_type": "websocket", "enabled": False}],
        "early_header_mutation_extensions": [_no_platform_headers()],
        "local_reply_config": local_replies(),
        "access_log": [
            {
                "name": "envoy.access_loggers.file",
                "typed_config": {
                    "@type": TYPES + "envoy.extensions.access_loggers.file.v3.FileAccessLog",
                    "path": log,
                    "log_format": {"json_format": LOG_FIELDS},
                },
            }
        ],
    }


def _no_platform_headers() -> Resource:
    """Takes the platform's own headers out of requests: replicas may believe them."""
    return {
        "name": "envoy.http.early_header_mutation.header_mutation",
        "typed_config": {
            "@type": TYPES + "envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation",
            "mutations": [{"remove_on_match": {"key_matcher": {"prefix": "x-forgelog-", "ignore_case": True}}}],
        },
    }


def _filters() -> list[Resource]:
    return [
        _filter(CORS, "cors.v3.Cors"),
        _filter(ORIGIN, "rbac.v3.RBAC"),
        _fetched(JWT, f"{_HTTP}.jwt_authn.v3.JwtAuthentication"),
        _filter(KEY, "rbac.v3.RBAC"),
        _fetched(MINUTE, RATE_TYPE),
        _fetched(HOUR, RATE_TYPE),
        {
            "name": BODY,
            "disabled": True,
            "typed_config": {
                "@type": TYPES + "xds.type.v3.TypedStruct",
                "type_url": f"{TYPES}{_HTTP}.filter_chain.v3.FilterChainConfig",
                "value": {},
            },
        },
        _filter(
            HOLD,
            "ext_authz.v3.ExtAuthz",
            grpc_service=companion_service(60),
            transport_api_version="V3",
            status_on_error={"code": "ServiceUnavailable"},
        ),
        _filter(AFFINITY, "stateful_session.v3.StatefulSession"),
        {
            "name": "envoy.filters.http.router",
            "typed_config": {"@type": f"{TYPES}{_HTTP}.router.v3.Router", "suppress_envoy_headers": True},
        },
    ]


def _fetched(name: str, kind: str) -> Resource:
    """One whose settings are a resource of their own, so that the listener does not change with them."""
    return {
        "name": name,
        "disabled": True,
        "config_discovery": {"config_source": ADS, "type_urls": [TYPES + kind]},
    }


def _filter(name: str, kind: str, **fields: Any) -> Resource:
    """One that does nothing until a route turns it on."""
    return {"name": name, "disabled": True, "typed_config": {"@type": f"{TYPES}{_HTTP}.{kind}", **fields}}
