"""A run with what was logged to it, as `client.runs.get` and `search` answer."""

from __future__ import annotations

from typing import Any

from forgelog.client.plain import Answer
from forgelog.client.rows import ExperimentRunRow


def with_data(answer: Answer, **more: Any) -> ExperimentRunRow:
    """A run with what was logged to it; its `metrics` are those of its own, by key."""
    own = {each.key: each.value for each in answer.metrics if not each.model_id and not each.dataset}
    said = {"params": answer.params, "tags": answer.tags, "inputs": answer.inputs}
    return ExperimentRunRow(answer.run, metrics=own, **said, **more)
