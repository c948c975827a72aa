"""When to come again, in a gRPC status: `google.rpc.RetryInfo` (AIP-194), written by servers and read by clients.

Imports nothing heavy before it is needed. Knows no call.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

DETAILS = "grpc-status-details-bin"
"""Trailing metadata with a `google.rpc.Status`."""

PUSHBACK = "grpc-retry-pushback-ms"
"""Trailing metadata that gRPC's own retries obey (gRFC A6), for clients that don't read google.rpc details."""

Metadata = Iterable[tuple[str, Any]]


def retry_metadata(code: int, message: str, seconds: float) -> tuple[tuple[str, str | bytes], ...]:
    """The trailing metadata of a status that says: come again after so many seconds."""
    from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]

    status = Status(code=code, message=message[:500])
    add_retry(status, seconds)
    return (PUSHBACK, str(int(seconds * 1000))), (DETAILS, status.SerializeToString())


def add_retry(status: Any, seconds: float) -> None:
    """Add a `RetryInfo` to a `google.rpc.Status`."""
    from google.rpc.error_details_pb2 import RetryInfo  # type: ignore[import-untyped]

    info = RetryInfo()
    info.retry_delay.FromMilliseconds(int(seconds * 1000))
    status.details.add().Pack(info)


def retry_seconds(metadata: Metadata | None) -> float | None:
    """What trailing metadata says of when to come again; None when it says nothing."""
    from google.rpc.error_details_pb2 import RetryInfo
    from google.rpc.status_pb2 import Status

    for key, value in metadata or ():
        if key == DETAILS:
            info = RetryInfo()
            for detail in Status.FromString(value).details:
                if detail.Unpack(info):
                    return float(info.retry_delay.ToMilliseconds()) / 1000
    return None
