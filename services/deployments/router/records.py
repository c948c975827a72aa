"""Makes records of requests of the access log's lines. Pure.

What only the replica knows comes in its answer: ``Server-Timing`` says where the time went, ``x-forgelog-error`` what
was wrong, as the deployment's request log would tell it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote
from zlib import crc32

from events.language.deployments.routing import RoutingTable
from events.language.deployments.telemetry import MAX_ERROR, InferenceErrorType, InferenceOutcome

Record = dict[str, Any]
"""The fields of an `InferenceRequest`, as JSON has them."""

_DURATIONS = {
    "pre": "preprocessing_ms",
    "batch": "queue_ms",
    "infer": "inference_ms",
    "post": "postprocessing_ms",
    "cpu": "cpu_ms",
    "gpu": "gpu_ms",
}
_METRIC = re.compile(r'([a-z]+)(?:;dur=([0-9.]+))?(?:;desc="([^"]*)")?')
_BATCH = re.compile(r"(\d{1,15}):(\d{1,9}):(\d{1,9})")

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-([0-9a-f]{2})")

_SHED, _RATE, _GUARD = "UO", "RL", "UAEX"
_TIMEOUTS = frozenset({"UT", "SI", "DT"})
_BROKEN = frozenset({"UF", "UC", "UR", "URX", "UH", "LR", "UPE"})
_LEFT = frozenset({"DC", "DR", "DPE"})

_OF_STATUS = {
    401: InferenceErrorType.UNAUTHENTICATED,
    403: InferenceErrorType.FORBIDDEN,
    404: InferenceErrorType.NOT_FOUND,
    408: InferenceErrorType.TIMEOUT,
    413: InferenceErrorType.TOO_LARGE,
    429: InferenceErrorType.RATE_LIMITED,
    503: InferenceErrorType.OVERLOADED,
    504: InferenceErrorType.TIMEOUT,
}
_OF_GRPC = {
    1: InferenceErrorType.CANCELLED,
    2: InferenceErrorType.MODEL_FAILED,
    4: InferenceErrorType.TIMEOUT,
    5: InferenceErrorType.NOT_FOUND,
    7: InferenceErrorType.FORBIDDEN,
    8: InferenceErrorType.TOO_LARGE,
    13: InferenceErrorType.MODEL_FAILED,
    14: InferenceErrorType.OVERLOADED,
    15: InferenceErrorType.MODEL_FAILED,
    16: InferenceErrorType.UNAUTHENTICATED,
}
_FAILED = frozenset(
    {
        InferenceErrorType.OVERLOADED,
        InferenceErrorType.NOT_READY,
        InferenceErrorType.UNREACHABLE,
        InferenceErrorType.TIMEOUT,
        InferenceErrorType.MODEL_FAILED,
    }
)
"""What is the deployment's fault."""


def record(line: Mapping[str, Any], router: str, table: RoutingTable | None) -> Record | None:
    """The record of a line. None for one that is of no deployment, or tells no time. `table`: the deployment's, if it
    is known."""
    deployment = line.get("deployment")
    started = _float(line.get("time"))
    if not isinstance(deployment, str) or not deployment or not started:
        return None
    revision = revision_of(line)
    replica = _text(line.get("replica"))
    status, grpc = _number(line.get("status")), line.get("grpc")
    found: Record = {
        "request_id": _text(line.get("request"))[:128],
        "trace_id": _trace_id(_text(line.get("trace"))),
        "router": router,
        "deployment_id": deployment,
        "endpoint": _text(line.get("endpoint")),
        "revision": revision,
        "replica_id": replica,
        "started_at": started,
        "latency_ms": _number(line.get("micros")) / 1000,
        "request_bytes": _number(line.get("received")),
        "response_bytes": _number(line.get("sent")),
        "status": status,
        "attempts": _number(line.get("attempts")),
    }
    if isinstance(grpc, int) and 0 <= grpc <= 99:
        found["grpc_status"] = grpc
    if isinstance(upstream := line.get("upstream"), int) and upstream >= 0:
        found["replica_ms"] = upstream / 1000
    if table is not None:
        found |= _associations(table, found["endpoint"], revision)
    found |= _timing(_text(line.get("timing")) or _text(line.get("trailing_timing")), replica)
    problem = _problem(line, status, grpc, bool(replica))
    found["outcome"] = _outcome(problem).value
    if problem is not None:
        found["error_type"] = problem.value
        found["error_message"] = _message(line)
    return found


def recorded(found: Record, share: float, source: str, number: int) -> bool:
    """Whether a request is written down, where this share is; one that failed is always. The same for the same line."""
    if share >= 1 or found["outcome"] == InferenceOutcome.FAILED:
        return True
    return crc32(f"{source}/{number}".encode()) < share * (1 << 32)


def revision_of(line: Mapping[str, Any]) -> int:
    """That of the replica, else of the cluster that had none for it; 0 for none."""
    text = _text(line.get("revision"))
    if not text:
        parts = _text(line.get("cluster")).split("/")
        text = parts[1] if len(parts) == 3 else ""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0


def _associations(table: RoutingTable, endpoint: str, revision: int) -> Record:
    found: Record = {}
    for each in table.endpoints:
        if each.name == endpoint:
            found["endpoint_type"] = each.type.value
    for one in table.revisions:
        if one.revision == revision:
            found |= {"model": one.model, "model_version": one.version}
    return found


def _timing(header: str, replica: str) -> Record:
    """What `Server-Timing` (W3C) says; a replica that runs a command may say other things, which are left out."""
    found: Record = {}
    for part in header.split(","):
        match = _METRIC.fullmatch(part.strip())
        if match is None:
            continue
        name, duration, described = match.groups()
        milliseconds = _float(duration)
        if (field := _DURATIONS.get(name)) and duration and milliseconds < 1e12:
            found[field] = milliseconds
        if name == "batch" and (batch := _BATCH.fullmatch(described or "")) and int(batch[1]):
            found["batch_id"] = f"{replica}/{batch[1]}"
            found["batch_requests"], found["batch_rows"] = int(batch[2]), int(batch[3])
        if name == "mem" and described and described.isdigit() and len(described) < 16:
            found["memory_bytes"] = int(described)
    return found


def _problem(line: Mapping[str, Any], status: int, grpc: object, answered: bool) -> InferenceErrorType | None:
    """What was wrong with a request; None if nothing was."""
    flags = {*_text(line.get("flags")).split(",")}
    if _SHED in flags:
        return InferenceErrorType.OVERLOADED
    if _RATE in flags:
        return InferenceErrorType.RATE_LIMITED
    if flags & _LEFT and (status in (0, 499) or not flags & (_TIMEOUTS | _BROKEN)):
        return InferenceErrorType.CANCELLED
    if flags & _TIMEOUTS:
        return InferenceErrorType.TIMEOUT
    if _GUARD in flags and status == 503:
        return InferenceErrorType.NOT_READY
    if flags & _BROKEN:
        return InferenceErrorType.UNREACHABLE if status else InferenceErrorType.CANCELLED
    if isinstance(grpc, int) and grpc:
        return _OF_GRPC.get(grpc, InferenceErrorType.INVALID)
    if status == 503 and not answered:
        return InferenceErrorType.NOT_READY
    if status in _OF_STATUS:
        return _OF_STATUS[status]
    if status >= 500:
        return InferenceErrorType.MODEL_FAILED
    if status >= 400:
        return InferenceErrorType.INVALID
    return None if status else InferenceErrorType.CANCELLED


def _outcome(problem: InferenceErrorType | None) -> InferenceOutcome:
    if problem is None:
        return InferenceOutcome.SUCCEEDED
    if problem is InferenceErrorType.CANCELLED:
        return InferenceOutcome.CANCELLED
    return InferenceOutcome.FAILED if problem in _FAILED else InferenceOutcome.REFUSED


def _message(line: Mapping[str, Any]) -> str:
    """The replica's own, else why the router answered itself."""
    told = _text(line.get("error")) or _text(line.get("trailing_error"))
    return (unquote(told) if told else _text(line.get("details")).replace("via_upstream", ""))[:MAX_ERROR]


def _trace_id(traceparent: str) -> str:
    """Of a request that is traced; empty for one that is not."""
    match = _TRACEPARENT.fullmatch(traceparent)
    return match[1] if match is not None and int(match[1], 16) and int(match[2], 16) & 1 else ""


def _text(value: object) -> str:
    return value if isinstance(value, str) and value != "-" else ""


def _number(value: object) -> int:
    return value if isinstance(value, int) and 0 <= value <= 1 << 53 else 0


def _float(value: object) -> float:
    try:
        return max(0.0, float(value)) if isinstance(value, str | int | float) else 0.0
    except ValueError:
        return 0.0
