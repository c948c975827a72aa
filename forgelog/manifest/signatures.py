"""What a model takes and gives, as a file says it for a version that is published.

inputs:
- {name: city, type: string}                    # a column: one value a row
- {name: age, type: float64}
outputs:
- {name: label, type: string}
- {name: scores, type: float32, shape: [-1, 3]}
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from events.language.experiments.registry.models import ModelSignature
from forgelog.errors import Problem
from forgelog.manifest.kinds import ManifestKind
from forgelog.manifest.nodes import Node, only_map, problem
from forgelog.manifest.shape import Shaper


def _signatures(documents: Sequence[Node], problems: list[Problem]) -> list[dict[str, Any]]:
    """The fields of `ModelSignature`."""
    node = only_map(documents, problems, "a signature", "write inputs: and outputs:")
    if node is None:
        return []
    shaper = Shaper()
    found = shaper.validated(shaper.shape(node, ModelSignature), ModelSignature)
    problems += shaper.problems
    if found is not None and not found.inputs:
        problems.append(
            problem(node, "inputs are missing", "name each with its type, such as {name: x, type: float32}")
        )
    return [] if found is None else [found.model_dump(mode="json", exclude_defaults=True)]


SIGNATURE = ManifestKind("Signature", "inputs", "forgelog models publish --signature", _signatures)
"""What a model takes and gives."""
