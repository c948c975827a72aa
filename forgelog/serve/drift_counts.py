"""What of a replica's requests and answers is counted for drift: which side of the model is which column."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from events.language.deployments.serving import ServingSpec
from forgelog.serve.input_counts import InputCounts
from forgelog.serve.schema import Tensors, TensorSchema, rows_of

logger = logging.getLogger("forgelog.serve")


class DriftCounts:
    """Counts inputs and outputs, where it is known what the version was trained on. Used from one thread at a time."""

    def __init__(self, spec: ServingSpec, asked: Sequence[TensorSchema], own: Sequence[TensorSchema]) -> None:
        """By the model's `own` inputs, which a script makes of those that are `asked`, where these are none of the
        columns; `own` is empty without a script."""
        settings = spec.monitoring.drift
        self._spec, self._training = spec, spec.training if settings.enabled else None
        self._by_own = False
        self._inputs: InputCounts | None = None
        self._outputs: InputCounts | None = None
        if self._training is None:
            return
        found = InputCounts(self._training, settings.features, asked, spec.schemas.request)
        if not found and own:
            self._by_own = True
            found = InputCounts(self._training, settings.features, own, ())
        self._inputs = found

    def know_outputs(self, outputs: Sequence[TensorSchema]) -> None:
        """What is answered, once that is known. A column that an input is, no output is."""
        if self._training is None or self._inputs is None:
            return
        settings, taken = self._spec.monitoring.drift, self._inputs.columns
        self._outputs = InputCounts(
            self._training, (), outputs, self._spec.schemas.response, named=settings.outputs, taken=taken
        )
        none = [name for name in self._inputs.uncounted if name not in self._outputs.columns]
        if none:
            logger.warning(
                "drift: of %s these columns are no inputs and no outputs that are known: %s; name a row's columns in "
                "order by serving.monitoring.drift.features, and the column of an output by .outputs",
                self._training.dataset,
                ", ".join(none)[:500],
            )

    def asked(self, came: Tensors, inputs: Tensors) -> None:
        """A request as it `came`, and the model's inputs that were made of it."""
        if self._inputs:
            given = inputs if self._by_own else came
            self._inputs.add(given, rows_of(given))

    def answered(self, outputs: Tensors) -> None:
        """What a request was answered."""
        if self._outputs and outputs:
            self._outputs.add(outputs, rows_of(outputs))

    def told(self) -> list[dict[str, Any]]:
        """What was counted since the start: `ColumnCounts` as JSON, by column."""
        found = [each for counts in (self._inputs, self._outputs) if counts for each in counts.told()]
        return sorted(found, key=lambda each: int(each["column"]))
