"""Spans of requests: a replica's part of a trace that came through a router. No value, key or error is in one."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from typing import Any

from events.language.deployments.serving import ServingSpec
from events.process import tracing
from forgelog.serve.http_answers import Scope, header
from forgelog.serve.statistics import Timing

HEADER = "traceparent"
"""Of HTTP, and as metadata of gRPC (W3C Trace Context)."""
COLLECTOR = "FORGELOG_OTLP_ENDPOINT"

_SAMPLED = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f][13579bdf]")
_HEADER = HEADER.encode()
_parent = ContextVar("parent", default="")
"""The traceparent of the request that this task answers."""


def of_request(scope: Scope) -> None:
    """A request of HTTP begins."""
    if tracing.enabled():
        _parent.set(header(scope, _HEADER) or "")


def of_call(metadata: Iterable[tuple[str, Any]]) -> None:
    """A call of gRPC begins."""
    if tracing.enabled():
        _parent.set(next((str(value) for name, value in metadata if name == HEADER), ""))


def export(environment: Mapping[str, str]) -> None:
    """From here on, where the environment names a collector."""
    if endpoint := environment.get(COLLECTOR, ""):
        tracing.export(endpoint, "forgelog-replica")


def ended(spec: ServingSpec, protocol: str, code: str, timing: Timing, seconds: float) -> None:
    """A request that took so long has ended."""
    if not tracing.enabled() or not _SAMPLED.fullmatch(parent := _parent.get()):
        return
    now = time.time()
    about: dict[str, str | int] = {
        "forgelog.deployment": spec.deployment_id,
        "forgelog.revision": spec.revision,
        "forgelog.model": spec.model.name,
        "forgelog.model_version": spec.model.version,
        "forgelog.protocol": protocol,
        "forgelog.code": code,
        "forgelog.batch": timing.batch,
        "forgelog.batch_rows": timing.rows,
        "forgelog.batch_requests": timing.requests,
    }
    tracing.record_parts(
        f"infer {spec.model.name}",
        parent,
        (now - seconds, now),
        _parts(timing, now - seconds),
        about,
        failed=code != "ok",
    )


def _parts(timing: Timing, began: float) -> Iterable[tuple[str, float, float]]:
    """One after the other, as they are done."""
    for name, seconds in (
        ("preprocess", timing.pre),
        ("queue", timing.wait),
        ("model", timing.infer),
        ("postprocess", timing.post),
    ):
        if seconds > 0:
            yield name, began, began + seconds
            began += seconds
