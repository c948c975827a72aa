"""A replica's span is below its caller's, with a span for each part of its work, and nothing of what was asked."""

from __future__ import annotations

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from events.language.deployments.serving import ServingSpec
from events.process import tracing
from forgelog.serve import spans
from forgelog.serve.statistics import Timing

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPEC = ServingSpec.model_validate(
    {
        "deployment_id": "digits",
        "revision": 3,
        "model": {"name": "digits", "version": 2, "bundle": {"digest": "0" * 64, "size": 0}},
        "endpoints": ["rest"],
    }
)
TIMING = Timing(pre=0.01, wait=0.02, infer=0.03, post=0.0, batch=7, rows=4, requests=2)


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    found, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(found))
    monkeypatch.setattr(tracing, "_tracer", provider.get_tracer("test"))
    return found


def test_a_request_is_a_span_with_its_parts(exported: InMemorySpanExporter) -> None:
    spans.of_request({"headers": [(b"traceparent", f"00-{TRACE}-00f067aa0ba902b7-01".encode())]})
    spans.ended(SPEC, "rest", "ok", TIMING, 0.1)
    *parts, whole = exported.get_finished_spans()
    assert whole.context is not None
    assert whole.parent is not None
    assert (whole.name, f"{whole.context.trace_id:032x}", f"{whole.parent.span_id:016x}") == (
        "infer digits",
        TRACE,
        "00f067aa0ba902b7",
    )
    assert [each.name for each in parts] == ["preprocess", "queue", "model"]
    assert {each.parent.span_id for each in parts if each.parent} == {whole.context.span_id}
    lengths = [each.end_time - each.start_time for each in parts if each.end_time and each.start_time]
    assert lengths == pytest.approx([10_000_000, 20_000_000, 30_000_000], abs=2_000)
    attributes = dict(whole.attributes or {})
    assert (attributes["forgelog.deployment"], attributes["forgelog.revision"], attributes["forgelog.code"]) == (
        "digits",
        3,
        "ok",
    )
    assert whole.status.is_unset


def test_a_failed_request_says_its_code_alone(exported: InMemorySpanExporter) -> None:
    spans.of_call([("traceparent", f"00-{TRACE}-00f067aa0ba902b7-01")])
    spans.ended(SPEC, "grpc", "internal", Timing(), 0.1)
    (whole,) = exported.get_finished_spans()
    assert (whole.status.is_ok, whole.status.description) == (False, None)


@pytest.mark.parametrize("parent", ["", "nonsense", f"00-{TRACE}-00f067aa0ba902b7-00"])
def test_what_is_not_traced_has_no_span(exported: InMemorySpanExporter, parent: str) -> None:
    spans.of_call([("traceparent", parent)] if parent else [])
    spans.ended(SPEC, "grpc", "ok", TIMING, 0.1)
    assert not exported.get_finished_spans()
