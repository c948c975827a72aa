"""Counts what a model is asked and answers, by the bins of its training data: what drift is computed of.

A request costs a copy of its tensors; bins are found for many requests together. Only counts leave the process.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from events.language.deployments.drift import TrainedColumn, TrainingData
from events.language.deployments.serving import TensorRule
from forgelog.serve.schema import TensorSchema
from forgelog.serve.tensors import Array

MOST_ROWS = 256
"""Of one request, evenly spaced: more of it would say no more. Also how many wait for being counted."""

MOST_BYTES = 4 << 20
"""Of inputs that wait."""


@dataclass(slots=True)
class _Numbers:
    """A tensor whose rows have the numbers of some columns."""

    width: int
    places: Sequence[tuple[int, int, Array]]
    """Place in a row, column, edges."""
    missing: bool


@dataclass(slots=True)
class _Texts:
    """A tensor with one text a row."""

    column: int
    kinds: Mapping[bytes, int]


class InputCounts:
    """Counts of the columns that a model's inputs, or its outputs, are known to be. Used from one thread at a time."""

    def __init__(
        self,
        training: TrainingData,
        features: Sequence[str],
        tensors: Iterable[TensorSchema],
        rules: Iterable[TensorRule],
        named: Mapping[str, str] | None = None,
        taken: Collection[str] = (),
    ) -> None:
        """`features`: the columns of a row's numbers, of a tensor that has all. `tensors`: what is counted. `named`:
        tensor → the column that it is, where that has another name. `taken`: columns that others count."""
        self._columns = training.columns
        self._counts: dict[int, Array] = {}
        self._tensors: dict[str, _Numbers | _Texts] = {}
        self._waiting: list[tuple[int, dict[str, Array]]] = []
        self._rows = self._bytes = 0
        self._named = named or {}
        places = {column.name: place for place, column in enumerate(training.columns) if column.name not in taken}
        may_miss = {rule.name for rule in rules if rule.allow_nan}
        for tensor in tensors:
            if (found := self._mapped(tensor, features, places, may_miss)) is not None:
                self._tensors[tensor.name] = found

    def __bool__(self) -> bool:
        """Whether anything is counted."""
        return bool(self._tensors)

    @property
    def uncounted(self) -> list[str]:
        """Columns of the training data that no tensor is known to be."""
        return [column.name for place, column in enumerate(self._columns) if place not in self._counts]

    @property
    def columns(self) -> set[str]:
        """Those that are counted."""
        return {self._columns[place].name for place in self._counts}

    def add(self, inputs: Mapping[str, Array], rows: int) -> None:
        """Count a request's inputs, sooner or later. They may be changed afterwards."""
        if rows < 1:
            return
        step = -(-rows // MOST_ROWS)
        kept = {
            name: array[::step].copy()
            for name in self._tensors
            if (array := inputs.get(name)) is not None and array.ndim
        }
        many = -(-rows // step)
        self._waiting.append((many, kept))
        self._rows += many
        self._bytes += sum(array.nbytes for array in kept.values())
        if self._rows >= MOST_ROWS or self._bytes > MOST_BYTES:
            self._count()

    def told(self) -> list[dict[str, Any]]:
        """What was counted since the start: `ColumnCounts` as JSON."""
        self._count()
        return [{"column": column, "counts": counts.tolist()} for column, counts in sorted(self._counts.items())]

    def _mapped(
        self, tensor: TensorSchema, features: Sequence[str], places: Mapping[str, int], may_miss: set[str]
    ) -> _Numbers | _Texts | None:
        width = math.prod(tensor.shape[1:])
        if not tensor.shape or tensor.shape[0] not in (-1, 1) or width < 1 or -1 in tensor.shape[1:]:
            return None
        column_name = self._named.get(tensor.name, tensor.name)
        names = [column_name] if width == 1 and column_name in places else features if width == len(features) else []
        known = [(at, places[name], self._columns[places[name]]) for at, name in enumerate(names) if name in places]
        if tensor.datatype == "BYTES":
            if len(known) != 1 or width > 1 or not known[0][2].kinds:
                return None
            _, place, column = known[0]
            self._open(place, column, missing=True)  # an empty text
            return _Texts(place, {kind.encode(): index for index, kind in enumerate(column.kinds)})
        numbers = [(at, place, np.array(column.edges)) for at, place, column in known if column.edges]
        missing = tensor.name in may_miss or not tensor.required
        for _, place, _ in numbers:
            self._open(place, self._columns[place], missing)
        return _Numbers(width, numbers, missing) if numbers else None

    def _open(self, place: int, column: TrainedColumn, missing: bool) -> None:
        self._counts[place] = np.zeros(len(column.counts) + missing, dtype=np.int64)

    def _count(self) -> None:
        waiting, self._waiting = self._waiting, []
        self._rows = self._bytes = 0
        for name, tensor in self._tensors.items():
            there = [kept[name] for _, kept in waiting if name in kept]
            left_out = sum(rows for rows, kept in waiting if name not in kept)
            if isinstance(tensor, _Texts):
                self._count_texts(tensor, there, left_out)
            else:
                self._count_numbers(tensor, there, left_out)

    def _count_texts(self, tensor: _Texts, there: Sequence[Array], left_out: int) -> None:
        counts = self._counts[tensor.column]
        others = len(counts) - 2
        counts[-1] += left_out
        for array in there:
            for value in array.ravel().tolist():
                text = value if isinstance(value, bytes) else str(value).encode()
                counts[tensor.kinds.get(text, others) if text else -1] += 1

    def _count_numbers(self, tensor: _Numbers, there: Sequence[Array], left_out: int) -> None:
        rows = (
            np.concatenate([array.reshape(-1, tensor.width) for array in there]).astype(np.float64) if there else None
        )
        for at, column, edges in tensor.places:
            counts = self._counts[column]
            if tensor.missing:
                counts[-1] += left_out
            if rows is None:
                continue
            values = rows[:, at]
            found = np.searchsorted(edges, values, side="left")
            if tensor.missing:
                found[np.isnan(values)] = len(edges) + 1
            counts += np.bincount(found, minlength=len(counts))
