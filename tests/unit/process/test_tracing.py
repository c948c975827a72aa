"""A process runs without traces where they can't be exported, and says why."""

from __future__ import annotations

import importlib
import sys

import pytest

from events.process import tracing


def test_an_exporter_that_can_not_be_imported_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.grpc.trace_exporter", None)
    monkeypatch.setattr(tracing, "_tracer", None)
    tracing.export("http://127.0.0.1:4317", "replica")
    assert not tracing.enabled()
    assert "traces are not exported" in caplog.text


def test_the_exporter_can_be_imported_where_routers_are_installed_too() -> None:
    """xds-protos brings its modules in an older form: `make setup` and the image put the newer ones down last."""
    pytest.importorskip("envoy")
    exporter = importlib.import_module("opentelemetry.exporter.otlp.proto.grpc.trace_exporter")
    assert exporter.OTLPSpanExporter
