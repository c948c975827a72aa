"""The stages of a version of a pipeline, and which come after which."""

from __future__ import annotations

from dataclasses import dataclass

from events.language.pipelines.pipeline import PipelineSpec
from events.language.pipelines.stages import StageSpec


@dataclass(slots=True)
class Graph:
    """Made of a pipeline once, since each step looks into it."""

    stages: dict[str, StageSpec]
    needs: dict[str, tuple[str, ...]]
    """The stages that each waits for."""
    followers: dict[str, list[str]]
    """The stages that wait for each."""

    @classmethod
    def of(cls, spec: PipelineSpec) -> Graph:
        stages = {stage.id: stage for stage in spec.stages}
        needs = {stage.id: stage.needs() for stage in spec.stages}
        followers: dict[str, list[str]] = {id: [] for id in stages}
        for id, needed in needs.items():
            for each in needed:
                followers[each].append(id)
        return cls(stages, needs, followers)
