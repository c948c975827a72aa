"""How gRPC connections are kept alive, on both sides: clients, the gateway, services. The one place that says so.

A quiet stream is told from a dead connection by pings. The side that opened the connection sends one after so many
quiet seconds; when nothing comes back it ends the connection and its streams start again elsewhere. A server does the
same, to be rid of the streams of clients that vanished. Servers take pings however often they come: gRPC's own default
allows one in five minutes and ends the connection of a client that sends more ("Too many pings").

Imports nothing, so that a client pays nothing for it.
"""

from __future__ import annotations

import os

VARIABLE = "FORGELOG_KEEPALIVE_SECONDS"
DEFAULT_SECONDS = 30.0
"""Quiet seconds before a ping."""
ANSWER_SECONDS = 15.0
"""How long an answer is waited for: longer than a busy machine takes, shorter than a person's patience."""

QUICK_RECONNECT: list[tuple[str, int]] = [
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
]
"""A process that starts again is found at once."""

ACCEPTED: tuple[str, str] = ("forgelog-stream", "accepted")
"""Initial metadata of a stream that has nothing to say yet: its server has taken the request and waits for news. By it
a client tells a quiet stream from one that has never worked."""


def keepalive_seconds() -> float:
    """Quiet seconds before a ping, as the environment says. Raises ValueError that names the variable."""
    text = os.environ.get(VARIABLE, "")
    try:
        seconds = float(text or DEFAULT_SECONDS)
    except ValueError:
        seconds = 0.0
    if not 1 <= seconds <= 3600:
        raise ValueError(f"{VARIABLE}: should be a number of seconds from 1 to 3600")
    return seconds


def client_options(most_bytes: int) -> list[tuple[str, int]]:
    """Of a channel; `most_bytes` bounds a message."""
    return [
        ("grpc.max_receive_message_length", most_bytes),
        ("grpc.max_send_message_length", most_bytes),
        *QUICK_RECONNECT,
        *_pings(),
        ("grpc.enable_http_proxy", 0),
    ]


def server_options(*, most_received: int, most_sent: int) -> list[tuple[str, int]]:
    """Of a server; the bounds are a message's bytes."""
    return [
        ("grpc.max_receive_message_length", most_received),
        ("grpc.max_send_message_length", most_sent),
        *_pings(),
        ("grpc.http2.max_ping_strikes", 0),  # 0: no number of pings is too many
        ("grpc.so_reuseport", 0),  # else two servers can have one port, and each gets some of the other's calls
    ]


def accepted(metadata: object) -> bool:
    """Whether a stream's initial metadata says that its server has taken the request."""
    return ACCEPTED in tuple(metadata or ())  # type: ignore[arg-type]


def _pings() -> list[tuple[str, int]]:
    return [
        ("grpc.keepalive_time_ms", int(keepalive_seconds() * 1000)),
        ("grpc.keepalive_timeout_ms", int(ANSWER_SECONDS * 1000)),
        ("grpc.http2.max_pings_without_data", 0),  # 0: a stream may be quiet for any time
    ]
