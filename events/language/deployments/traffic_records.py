"""Records of the topics ``traffic.deployments`` and ``windows.deployments``: requests, counted by the minute in which
they began. The key of both is the deployment."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from events.language.base import Model
from events.language.common import Identifier
from events.language.deployments.drift import MAX_TRAINED, ColumnCounts
from events.language.deployments.routing import OptionalRevision
from events.language.deployments.traffic import Count, LatencySketch

MINUTE = 60

Minute = Annotated[int, Field(ge=0, le=1 << 32)]
"""Minutes since 1970."""


class Duration(Model):
    """How often something was timed, and the sum: whole numbers, so that it is exact in any order."""

    count: Count = 0
    microseconds: Count = 0


class Requests(Model):
    """Requests of one revision that began in one minute."""

    total: Count = 0
    failures: Count = 0
    """By the deployment's fault, as an `InferenceRequest` says; `timeouts` are among them."""
    refusals: Count = 0
    cancelled: Count = 0
    timeouts: Count = 0
    latency: LatencySketch = LatencySketch()
    """Of those that succeeded, WebSockets left out."""
    longest_microseconds: Count = 0
    """Of the same ones."""
    request_bytes: Count = 0
    response_bytes: Count = 0
    preprocessing: Duration = Duration()
    queue: Duration = Duration()
    inference: Duration = Duration()
    postprocessing: Duration = Duration()


class Usage(Model):
    """What replicas of one revision used and were asked in one minute, as their agents reported it."""

    cpu_percent: float = 0.0
    """The sum of `cpu_reports`."""
    cpu_reports: Count = 0
    memory_percent: float = 0.0
    memory_reports: Count = 0
    gpu_percent: float = 0.0
    gpu_reports: Count = 0
    inputs: tuple[ColumnCounts, ...] = Field(default=(), max_length=MAX_TRAINED)
    """By column, ascending."""


class MinuteRequests(Model):
    """Requests of a revision in a minute."""

    revision: OptionalRevision
    minute: Minute
    requests: Requests


class TrafficRecord(Model):
    """What one router counted in one part of its access log."""

    source: Identifier
    """The access log: another one for each folder of a router."""
    sequence: Annotated[int, Field(ge=1, le=1 << 53)]
    """Counts the parts: one that is not above the last one was counted before."""
    deployment_id: Identifier
    minutes: Annotated[tuple[MinuteRequests, ...], Field(min_length=1, max_length=10_000)]


class WindowRecord(Model):
    """All that was counted of a revision in a minute so far. Another record of the same part with a higher `version`
    takes its place; parts of a minute add up."""

    deployment_id: Identifier
    revision: OptionalRevision
    minute: Minute
    part: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    """A minute that was put aside as complete gets another part when something comes late."""
    version: Count
    """How many records were counted."""
    requests: Requests = Requests()
    usage: Usage = Usage()
