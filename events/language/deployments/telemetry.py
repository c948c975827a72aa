"""What is told of a deployment's requests: each one, and windows of all. Nothing is decided on it.

Routers write of each request what it became; what only a replica knows comes with its answer's ``Server-Timing``.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from events.language.base import Model
from events.language.common import Identifier, Timestamp
from events.language.deployments.endpoint_types import EndpointType
from events.language.deployments.routing import OptionalRevision

MAX_ERROR = 500
"""Most characters of an error's text."""

_Measure = Annotated[float, Field(ge=0, le=1e12)]
_Number = Annotated[int, Field(ge=0, le=1 << 53)]
_Name = Annotated[str, StringConstraints(max_length=250)]


class InferenceOutcome(StrEnum):
    """What became of a request."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    """By the deployment's fault: a replica failed or was too late, none was ready, or all had as many requests as they
    may have."""
    REFUSED = "refused"
    """By its caller's: without a key, too often, too long, with inputs that the model does not take."""
    CANCELLED = "cancelled"
    """Its caller went away before it was answered."""


class InferenceErrorType(StrEnum):
    """Why a request did not succeed."""

    INVALID = "invalid"
    """The replica refused it: another 4xx than the ones below."""
    UNAUTHENTICATED = "unauthenticated"
    """It had no good key."""
    FORBIDDEN = "forbidden"
    """Its key is for another deployment or was revoked, or its origin is not allowed."""
    NOT_FOUND = "not_found"
    TOO_LARGE = "too_large"
    RATE_LIMITED = "rate_limited"
    OVERLOADED = "overloaded"
    """The replicas had as many requests as they may have, or the replica had."""
    NOT_READY = "not_ready"
    """No replica was ready in time."""
    UNREACHABLE = "unreachable"
    """The replica could not be reached, or broke off."""
    TIMEOUT = "timeout"
    """No answer came in time."""
    MODEL_FAILED = "model_failed"
    """The replica answered that it failed."""
    CANCELLED = "cancelled"


class ModelServingMetrics(Model):
    """A deployment's requests, those of one revision or of all, that began in a window of time. What nothing is known
    of is None."""

    deployment_id: Identifier
    revision: OptionalRevision = 0
    """0: of all revisions, and of requests that were answered before one was chosen."""
    window_start: Timestamp
    window_seconds: _Number
    total_requests: _Number = 0
    successful_requests: _Number = 0
    failed_requests: _Number = 0
    """By the deployment's fault."""
    refused_requests: _Number = 0
    """By their callers'."""
    cancelled_requests: _Number = 0
    requests_per_second: _Measure = 0.0
    """The mean over the whole window."""
    average_latency_ms: _Measure | None = None
    """Of requests that succeeded, as are the other latencies."""
    p50_latency_ms: _Measure | None = None
    """Within 1 %, as are the other percentiles."""
    p95_latency_ms: _Measure | None = None
    p99_latency_ms: _Measure | None = None
    max_latency_ms: _Measure | None = None
    average_preprocessing_ms: _Measure | None = None
    average_queue_ms: _Measure | None = None
    average_inference_ms: _Measure | None = None
    average_postprocessing_ms: _Measure | None = None
    error_rate: Annotated[float, Field(ge=0, le=1)] | None = None
    """The share of requests that failed."""
    timeout_rate: Annotated[float, Field(ge=0, le=1)] | None = None
    """The share of requests that were not answered in time."""
    request_bytes: _Number = 0
    response_bytes: _Number = 0
    cpu_percent: _Measure | None = None
    """Of what the replicas asked for, on average."""
    memory_percent: _Measure | None = None
    gpu_percent: _Measure | None = None
    replica_seconds: _Measure = 0.0
    """How long its replicas ran in the window, all together."""
    estimated_cost: _Measure | None = None
    """What its replicas cost in the window, by the platform's prices of an hour of a CPU and of a GPU; None where there
    are none."""
    drift: _Measure | None = None
    """The highest population stability index of a column against the training data; None where fewer than 200 values
    of each were counted."""
    drift_column: _Name = ""
    """The column that has it."""


class InferenceRequest(Model):
    """A request that a router passed on or answered itself. Times of a replica are None where it did not tell them."""

    request_id: Annotated[str, StringConstraints(max_length=128)]
    """What the router gave it: ``x-request-id`` of the request that the replica gets."""
    trace_id: Annotated[
        str, StringConstraints(pattern=r"^([0-9a-f]{32})?$"), Field(examples=["4bf92f3577b34da6a3ce929d0e0e4736"])
    ] = ""
    """Of the trace that it is a part of (W3C Trace Context); empty where it is not traced."""
    router: Identifier
    deployment_id: Identifier
    endpoint: _Name = ""
    endpoint_type: EndpointType | None = None
    revision: OptionalRevision = 0
    """0: it was answered before a revision was chosen for it."""
    model: _Name = ""
    model_version: _Number = 0
    replica_id: _Name = ""
    started_at: Timestamp
    """When its first byte came."""
    latency_ms: _Measure
    """From its first byte to its answer's last."""
    replica_ms: _Measure | None = None
    """From when the replica was sent it to the last byte of the replica's answer."""
    request_bytes: _Number = 0
    """Of its body."""
    response_bytes: _Number = 0
    preprocessing_ms: _Measure | None = None
    queue_ms: _Measure | None = None
    """How long it waited for its batch."""
    inference_ms: _Measure | None = None
    """How long the model computed its batch."""
    postprocessing_ms: _Measure | None = None
    batch_id: _Name = ""
    """The replica and the number of its batch there; empty where it came into none."""
    batch_requests: _Number = 0
    """How many requests were in its batch."""
    batch_rows: _Number = 0
    outcome: InferenceOutcome
    status: Annotated[int, Field(ge=0, le=999)]
    """Of HTTP; 0 if nothing was answered."""
    grpc_status: Annotated[int, Field(ge=0, le=99)] | None = None
    error_type: InferenceErrorType | None = None
    error_message: Annotated[str, StringConstraints(max_length=MAX_ERROR)] = ""
    """What the replica said of it, redacted as the deployment's request log is; or the router's own reason."""
    attempts: _Number = 0
    """How many replicas were asked; 0 if none was."""
    cpu_ms: _Measure | None = None
    """CPU time of the replica while its batch was computed, ÷ the batch's requests."""
    memory_bytes: _Number | None = None
    """Resident memory of the replica then, ÷ the batch's requests."""
    gpu_ms: _Measure | None = None
    """The same of the time in which its GPU computed; None without a GPU."""
