"""What the types of a pipeline's fields can't say: everything that is wrong with it as a whole, at once. Pure.

The service refuses a definition by it; clients ask it beforehand.
"""

from __future__ import annotations

from events.language.common import FieldError
from events.language.pipelines.graph import MOST_ERRORS, graph_errors
from events.language.pipelines.pipeline import PipelineSpec


def spec_errors(spec: PipelineSpec) -> list[FieldError]:
    """What is wrong with a pipeline, at most `MOST_ERRORS`; their fields begin with ``spec``. Empty: it can be run."""
    return graph_errors(spec.stages)[:MOST_ERRORS]
