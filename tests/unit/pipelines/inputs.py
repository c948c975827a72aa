"""Commands and events for `tests/unit/writer/test_any_order.py`: of two pipelines, few of them sensible."""

from __future__ import annotations

from hypothesis import strategies as st

from events.language.pipelines.commands import (
    ActivatePipeline,
    DefinePipeline,
    PausePipeline,
    ResumePipeline,
    RetirePipeline,
)
from events.language.pipelines.pipeline import PipelineSpec
from events.language.pipelines.stages import StageSpec

IDS = st.sampled_from(["sales", "stock"])
STAGES = ("load", "clean", "report")

_stages = st.builds(
    lambda id, after: StageSpec(id=id, after=tuple(after)),
    st.sampled_from(STAGES),
    st.lists(st.sampled_from(STAGES), max_size=2),
)
_specs = st.builds(lambda stages: PipelineSpec(stages=tuple(stages)), st.lists(_stages, min_size=1, max_size=3))
_of = {"pipeline_id": IDS}

pipelines = st.one_of(
    st.builds(lambda name, spec: DefinePipeline(pipeline_id=name, name=name, spec=spec), IDS, _specs),
    st.builds(ActivatePipeline, **_of),
    st.builds(PausePipeline, **_of),
    st.builds(ResumePipeline, **_of),
    st.builds(RetirePipeline, **_of),
    st.floats(0, 100),
)
