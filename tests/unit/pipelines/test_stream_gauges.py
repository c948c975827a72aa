"""How far windows are, as metrics."""

from __future__ import annotations

from typing import Any

from prometheus_client import REGISTRY

from services.pipelines.triggers.gauges import show

LABELS = {"pipeline": "gauged", "stage": "hours", "input": "orders"}


def _shown(name: str) -> float | None:
    return REGISTRY.get_sample_value(f"forgelog_stream_{name}", LABELS)


def test_gauges_follow_the_streams_of_pipelines_and_go_with_them() -> None:
    stream: dict[str, Any] = {"stage_id": "hours", "input": "orders", "open_windows": 2, "held_rows": 7, "late_rows": 1}
    before = show([("gauged", {**stream, "watermark": "2026-05-09T00:00:00Z"})], set())
    assert [_shown(name) for name in ("watermark_seconds", "open_windows", "held_rows", "late_rows")] == [
        1_778_284_800,
        2,
        7,
        1,
    ]
    before = show([("gauged", {**stream, "watermark": None})], before)
    assert (_shown("watermark_seconds"), _shown("open_windows")) == (None, 2)
    assert show([], before) == set()
    assert _shown("open_windows") is None
