"""OpenTelemetry: one submit is one trace, carried by ``traceparent`` from the command through every event.

Spans are exported only when an OTLP endpoint is set; otherwise every call here costs one comparison.
"""

from __future__ import annotations

import time
from typing import Any

from events.process.settings import Settings

_tracer: Any = None


def configure(settings: Settings, service: str) -> None:
    """Export spans of this process to the settings' endpoint, if there is one."""
    global _tracer
    if not settings.otlp_endpoint:
        return
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource.create({"service.name": service}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=settings.otlp_endpoint, insecure=True)))
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
