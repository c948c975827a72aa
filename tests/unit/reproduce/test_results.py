"""Given a run and its reproduction, each final metric is equal or differs."""

from __future__ import annotations

import math
from typing import Any

import pytest

from forgelog.reproduce.results import compare, same

THEN, NOW = ({"run_id": id, "params": params} for id, params in (("r1", {"lr": "1", "a": "x"}), ("r2", {"lr": "2"})))


def metric(run: str, key: str, value: float, dataset: str = "") -> dict[str, Any]:
    return {"run_id": run, "key": key, "model_id": "", "dataset": dataset, "value": value}


def data(digest: str, **said: str) -> dict[str, Any]:
    return {"name": "mnist", "digest": digest, "role": "", "source_type": "", "columns": "", "profile": "", **said}


def test_metrics_parameters_and_datasets() -> None:
    metrics = [
        metric("r1", "loss", 0.5), metric("r2", "loss", 0.5), metric("r1", "acc", 0.9), metric("r2", "acc", 0.8),
        metric("r1", "loss", 0.1, "test"), metric("r2", "new", 1.0), metric("r1", "time/s", 3.0),
    ]  # fmt: skip
    inputs = [data("d1")], [data("d2")]
    found = compare(THEN, NOW, metrics, inputs, ignore=["time/*"])
    assert [(each.key, each.dataset, each.then, each.now, each.equal) for each in found.metrics] == [
        ("acc", "", 0.9, 0.8, False),
        ("loss", "", 0.5, 0.5, True),
        ("loss", "test", 0.1, None, False),
        ("new", "", None, 1.0, False),
    ]
    assert found.params == {"a": ("x", None), "lr": ("1", "2")}
    assert found.datasets == ["mnist@d1 was read then, and not now", "mnist@d2 is read now, and was not then"]
    assert not found.equal


def test_what_programs_say_of_the_same_dataset_is_compared() -> None:
    then, now = data("d1", profile='{"rows": 9}', columns="a"), data("d1", profile='{"rows": 8}', source_type="s3")
    found = compare(THEN, NOW, [], ([then], [now]))
    assert found.datasets == ["mnist@d1: its profile was '{\"rows\": 9}' then, and is '{\"rows\": 8}' now"]


def test_runs_are_equal_if_all_metrics_are_and_there_is_one() -> None:
    assert compare(THEN, NOW, [metric("r1", "loss", math.nan), metric("r2", "loss", math.nan)]).equal
    assert not compare(THEN, NOW, []).equal


@pytest.mark.parametrize(
    ("one", "other", "tolerance", "equal"),
    [
        (1.0, 1.0 + 1e-12, 0.0, False),
        (1.0, 1.0 + 1e-12, 1e-9, True),
        (1.0, 1.1, 0.05, False),
        (math.inf, math.inf, 0.0, True),
        (math.inf, -math.inf, 0.5, False),
        (math.nan, 1.0, 1.0, False),
        (0.0, -0.0, 0.0, True),
        (None, None, 1.0, False),
    ],
)
def test_values(one: float | None, other: float | None, tolerance: float, equal: bool) -> None:
    assert same(one, other, tolerance) is equal
