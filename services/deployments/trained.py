"""What requests to a version are compared with: the statistics of its training data, as far as replicas take them.
Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from events.language.deployments.drift import MAX_BINS, MAX_TRAINED, TrainedColumn, TrainingData

MOST_BYTES = 32_768
"""Of all columns as JSON: each replica's order has them."""


def training_data(dataset: Mapping[str, Any], features: Sequence[str]) -> TrainingData | None:
    """The columns of a `DatasetVersion`, as `to_dict` gives it, that have counts to compare with. `features`: columns
    that the model is known to take or to give; they come first where not all find room. None without any column."""
    statistics: Mapping[str, Any] = dataset.get("statistics") or {}
    first = [name for name in dict.fromkeys(features) if name in statistics]
    names = [*first, *sorted(statistics.keys() - {*first})]
    columns: list[TrainedColumn] = []
    left = MOST_BYTES
    for column in _columns(names, statistics):
        left -= len(column.to_json())
        if left < 0 or len(columns) == MAX_TRAINED:
            break
        columns.append(column)
    if not columns:
        return None
    return TrainingData(dataset=f"{dataset['name']}/{dataset['number']}", columns=tuple(columns))


def _columns(names: Sequence[str], statistics: Mapping[str, Any]) -> Iterator[TrainedColumn]:
    for name in names:
        each = statistics[name]
        missing = each.get("nulls") or 0
        if edges := each.get("edges"):
            if sum(each["bins"]):
                yield TrainedColumn(name=name, edges=tuple(edges), counts=tuple(each["bins"]), missing=missing)
        elif frequent := each.get("frequent"):
            kinds = sorted(frequent.items(), key=lambda one: (-one[1], one[0]))[: MAX_BINS - 2]
            counts = [count for _, count in kinds]
            rest = max(0, (each.get("count") or 0) - sum(counts))
            yield TrainedColumn(
                name=name, kinds=tuple(kind for kind, _ in kinds), counts=(*counts, rest), missing=missing
            )
