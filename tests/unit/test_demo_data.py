"""The pipeline of the demo, and what the demo says where it can't run."""

from __future__ import annotations

from pathlib import Path

import pytest

from events.language.pipelines.checks import spec_errors
from events.language.pipelines.pipeline import PipelineSpec
from forgelog.demo import data


def test_its_pipeline_is_a_good_one() -> None:
    spec = PipelineSpec.model_validate(data.spec(Path("/digits.csv.gz")))
    assert spec_errors(spec) == []
    assert [stage.id for stage in spec.stages] == ["images", "by-label"]
    assert spec.stages[1].needs() == ("images",)


def test_what_is_missing_is_named_with_the_extra_that_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "find_spec", lambda name: None if name == "duckdb" else object())
    assert data.missing() == "duckdb not installed; pip install 'forgelog[pipelines]'"
    monkeypatch.setattr(data, "find_spec", lambda _: object())
    assert data.missing() == ""
