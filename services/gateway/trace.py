"""The trace of a request: continued from its ``traceparent`` (W3C Trace Context) or begun here, exported or not.

The trace id is always made, so that logs, answers and every event of the flow carry it.
"""

from __future__ import annotations

import os
import re
from typing import Any

from events.process import tracing

_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")


class Trace:
    """One request's span. Use it in a ``with`` block."""

    __slots__ = ("_span", "trace_id", "traceparent")

    def __init__(self, name: str, incoming: str = "") -> None:
        """`incoming` is the caller's traceparent; one that is malformed counts as none, as the standard asks."""
        match = _TRACEPARENT.fullmatch(incoming)
        known = match is not None and match[1] != "0" * 32 and match[2] != "0" * 16
        tracer = tracing.tracer()
        self._span: Any = None
        if tracer is None:
            flags = match[3] if match is not None and known else "01"
            self.trace_id = match[1] if match is not None and known else os.urandom(16).hex()
            self.traceparent = f"00-{self.trace_id}-{os.urandom(8).hex()}-{flags}"
            return
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        parent = TraceContextTextMapPropagator().extract({"traceparent": incoming}) if known else None
        self._span = tracer.start_span(name, context=parent, kind=SpanKind.SERVER)
        context = self._span.get_span_context()
        self.trace_id = f"{context.trace_id:032x}"
        self.traceparent = f"00-{self.trace_id}-{context.span_id:016x}-{int(context.trace_flags):02x}"

    def note(self, **attributes: str | int) -> None:
        """Attributes of the span."""
        if self._span is not None:
            self._span.set_attributes({f"forgelog.{name}": value for name, value in attributes.items()})

    def __enter__(self) -> Trace:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if self._span is None:
            return
        if error is not None:
            from opentelemetry.trace import Status, StatusCode

            self._span.set_status(Status(StatusCode.ERROR, str(error)[:500]))
        self._span.end()
