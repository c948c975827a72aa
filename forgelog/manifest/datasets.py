"""Datasets out of a manifest's documents: what their versions must be. Sends nothing.

kind: Dataset
name: clean-orders
contract: {mode: additive, freshness: {within: 24h}}
rules:
  - {rule_id: priced, type: completeness, columns: [price], severity: critical}
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field, model_validator

from events.language.base import Model
from events.language.pipelines.commits import DatasetLabel
from events.language.pipelines.contracts import DatasetContract
from events.language.pipelines.quality import MAX_RULES, DataQualityRule
from forgelog.errors import Problem
from forgelog.manifest import kinds
from forgelog.manifest.nodes import Node, problem
from forgelog.manifest.shape import Shaper


class ManifestDataset(Model):
    """One dataset of a manifest."""

    name: DatasetLabel
    contract: DatasetContract | None = None
    """None: it stays as it is."""
    rules: tuple[DataQualityRule, ...] = Field(default=(), max_length=MAX_RULES)

    @model_validator(mode="after")
    def _each_once(self) -> ManifestDataset:
        ids = [rule.rule_id for rule in self.rules]
        if twice := next((id for id in ids if ids.count(id) > 1), ""):
            raise ValueError(f"rules has {twice!r} twice; give each rule an id of its own")
        return self


def _datasets(documents: Sequence[Node], problems: list[Problem]) -> list[ManifestDataset]:
    found = [_dataset(node, problems) for node in documents]
    return [each for each in found if each is not None]


DATASET = kinds.ManifestKind("Dataset", "name and contract", "forgelog pipeline datasets define", _datasets)
"""A dataset of pipelines."""


def _dataset(node: Node, problems: list[Problem]) -> ManifestDataset | None:
    if node.kind != "map":
        problems.append(problem(node, "a dataset is a map of keys", "write for example 'name: clean-orders'"))
        return None
    shaper = Shaper()
    found = shaper.validated(shaper.shape(node, ManifestDataset), ManifestDataset)
    problems += shaper.problems
    return found
