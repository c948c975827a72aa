"""Every example is a manifest that is read without an error."""

from __future__ import annotations

from pathlib import Path

import pytest

from forgelog.manifest import load

EXAMPLES = Path(__file__).parents[3] / "examples"


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.iterdir() if path.suffix in (".yaml", ".json")))
def test_an_example_is_valid(name: str) -> None:
    assert load(EXAMPLES / name)


def test_the_pipeline_is_ordered() -> None:
    assert [job.name for job in load(EXAMPLES / "pipeline.yaml")] == ["prepare", "warm-cache", "train", "report"]


def test_the_gpu_example_means_what_it_says() -> None:
    spec = load(EXAMPLES / "gpu.yaml")[0].spec({})
    assert spec.args == ("-u", "train.py", "--epochs", "3", "--lr", "2e-5")
    assert spec.resources.memory_bytes == 64 << 30
    assert spec.scheduling.grace_seconds == 120
