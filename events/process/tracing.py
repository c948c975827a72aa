"""OpenTelemetry: one submit is one trace, carried by ``traceparent`` from the command through every event.

Spans are exported only when an OTLP endpoint is set; otherwise every call here costs one comparison.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from typing import Any

from events.process.settings import Settings

log = logging.getLogger("forgelog.tracing")

_tracer: Any = None


def configure(settings: Settings, service: str) -> None:
    """Export spans of this process to the settings' endpoint, if there is one."""
    if settings.otlp_endpoint:
        export(settings.otlp_endpoint, service)


def export(endpoint: str, service: str) -> None:
    """Export spans of this process to an endpoint of OTLP over gRPC. Where that can't be, a warning says why: no
    process stays away for want of traces."""
    global _tracer
    try:
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    except ImportError as error:
        log.warning(
            "traces are not exported: %s (xds-protos of the extra serving has older files of opentelemetry-proto, "
            "which may have taken the place of its own)",
            error,
        )
        return
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource.create({"service.name": service}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint, insecure=True)))
    _tracer = provider.get_tracer("forgelog")


def enabled() -> bool:
    """Whether spans are exported."""
    return _tracer is not None


def tracer() -> Any:
    """The tracer spans are made with; None when they are not exported."""
    return _tracer


def record(name: str, traceparent: str, started: float, **attributes: str | int) -> None:
    """Record a finished span under `traceparent` that began at `started` (POSIX seconds)."""
    if _tracer is None or not traceparent:
        return
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    parent = TraceContextTextMapPropagator().extract({"traceparent": traceparent})
    span = _tracer.start_span(name, context=parent, start_time=int(started * 1e9), attributes=attributes)
    span.end(int(time.time() * 1e9))


def record_parts(
    name: str,
    traceparent: str,
    span: tuple[float, float],
    parts: Iterable[tuple[str, float, float]],
    attributes: Mapping[str, str | int],
    *,
    failed: bool = False,
) -> None:
    """Record a finished span of a server under `traceparent`, and a span below it for each of its parts: name, begin
    and end. Times are POSIX seconds. Nothing where the caller's trace is not sampled."""
    if _tracer is None or not traceparent:
        return
    from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    parent = TraceContextTextMapPropagator().extract({"traceparent": traceparent})
    whole = _tracer.start_span(
        name, context=parent, kind=SpanKind.SERVER, start_time=int(span[0] * 1e9), attributes=attributes
    )
    if whole.is_recording():
        for part, began, ended in parts:
            below = _tracer.start_span(part, context=set_span_in_context(whole), start_time=int(began * 1e9))
            below.end(int(ended * 1e9))
        if failed:
            whole.set_status(Status(StatusCode.ERROR))
    whole.end(int(span[1] * 1e9))
