"""Words for statuses: those that a list may be asked for are those that the thing can have."""

from __future__ import annotations

import pytest

from forgelog.client.statuses import JOBS, PIPELINE_RUNS, PIPELINES
from forgelog.client.words import enum_words
from forgelog.errors import InvalidInput
from forgelog_pb.jobs.v1 import types_pb2 as jobs
from forgelog_pb.pipelines.v1 import types_pb2 as pipelines


@pytest.mark.parametrize(
    ("enum", "among", "elsewhere"),
    [
        (pipelines.PipelineStatus.DESCRIPTOR, PIPELINES, "running"),
        (pipelines.PipelineStatus.DESCRIPTOR, PIPELINE_RUNS, "draft"),
        (jobs.JobStatus.DESCRIPTOR, JOBS, "migrating"),
    ],
)
def test_words_of_other_things_are_refused_with_those_that_fit(
    enum: object, among: tuple[str, ...], elsewhere: str
) -> None:
    assert len(set(enum_words(enum, among, "status", among=among))) == len(among)
    for word in (elsewhere, "nope"):
        with pytest.raises(InvalidInput, match=f"status: '{word}' is none of {', '.join(among)}$"):
            enum_words(enum, [among[0], word], "status", among=among)
