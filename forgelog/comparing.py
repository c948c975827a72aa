"""Runs side by side: their parameters, metrics, datasets and tags, those that differ first. Pure; knows no format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Row = Mapping[str, Any]

ATTRIBUTES = ("name", "status", "experiment_id", "owner", "started_at", "ended_at", "reason")
_OF_METRICS = ("value", "step", "min", "min_step", "max", "max_step", "count")
_OF_DATASETS = ("source_type", "source", "columns", "profile")
"""What a program may say of a dataset beside its name and digest."""


@dataclass(frozen=True, slots=True)
class Compared:
    """One thing that runs have, with the value of each."""

    kind: str
    """attribute, param, metric, dataset or tag."""
    key: str
    values: tuple[Any, ...]
    """Of each run in their order; None where a run has none. Of a metric: ``{"last", "step", "min", "min_step", "max",
    "max_step", "count"}``."""
    differs: bool
    model_id: str = ""
    """Of a metric."""
    dataset: str = ""
    """Of a metric."""


def compare(runs: Sequence[Row], metrics: Sequence[Row]) -> list[Compared]:
    """What runs have, side by side: attributes, then parameters, metrics, datasets that they read and tags, each with
    those that differ first, by name.

    `runs`: as `client.runs.search` answers; `metrics`: as `client.runs.metrics` does."""
    rows = [_compared("attribute", name, [run[name] for run in runs]) for name in ATTRIBUTES]
    rows += _sorted(_of_maps("param", [run["params"] for run in runs]))
    rows += _sorted(_of_metrics(runs, metrics))
    rows += _sorted(_of_maps("dataset", [datasets(run.get("inputs") or ()) for run in runs]))
    rows += _sorted(_of_maps("tag", [run["tags"] for run in runs]))
    return rows


def datasets(inputs: Sequence[Row]) -> dict[str, str]:
    """What a run reads: ``mnist (training)`` → its digest, and ``mnist (training) profile`` and ``mnist (training)
    tags.KEY`` → what its program said of it. Of several of one name and role, each is in the text."""
    found: dict[str, list[str]] = {}
    for each in inputs:
        name = f"{each['name']} ({each['role']})" if each["role"] else each["name"]
        found.setdefault(name, []).append(each["digest"])
        for detail in _OF_DATASETS:
            if each[detail]:
                found.setdefault(f"{name} {detail}", []).append(each[detail])
        for key, tag in each["tags"].items():
            found.setdefault(f"{name} tags.{key}", []).append(tag)
    return {name: ", ".join(sorted(set(texts))) for name, texts in found.items()}


def _of_maps(kind: str, maps: Sequence[Mapping[str, str]]) -> list[Compared]:
    keys = {key for each in maps for key in each}
    return [_compared(kind, key, [each.get(key) for each in maps]) for key in keys]


def _of_metrics(runs: Sequence[Row], metrics: Sequence[Row]) -> list[Compared]:
    found: dict[tuple[str, str, str], dict[str, Row]] = {}
    for row in metrics:
        found.setdefault((row["key"], row["model_id"], row["dataset"]), {})[row["run_id"]] = row
    compared = []
    for (key, model_id, dataset), rows in found.items():
        values = [_of_metric(rows.get(run["run_id"])) for run in runs]
        compared.append(_compared("metric", key, values, model_id, dataset))
    return compared


def _of_metric(row: Row | None) -> dict[str, Any] | None:
    if row is None:
        return None
    return {"last" if name == "value" else name: row[name] for name in _OF_METRICS}


def _compared(kind: str, key: str, values: Sequence[Any], model_id: str = "", dataset: str = "") -> Compared:
    # By their text: one NaN is as another.
    return Compared(kind, key, tuple(values), len({repr(value) for value in values}) > 1, model_id, dataset)


def _sorted(rows: list[Compared]) -> list[Compared]:
    return sorted(rows, key=lambda row: (not row.differs, row.key, row.model_id, row.dataset))
