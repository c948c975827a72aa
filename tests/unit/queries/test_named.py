"""Aggregates that requests name: what is refused before any table is read."""

from __future__ import annotations

from typing import Any

import pytest

from events.queries.listing import INT4, Listing
from events.queries.named import NamedRows
from events.queries.queries import QueryError
from forgelog_pb.pipelines.v1 import queries_pb2 as pb

PIPELINES = NamedRows("pipelines", "pipeline")
VERSIONS = Listing(
    pb.ListPipelineVersionsRequest, "pipeline_versions", order={"version": INT4}, filters={"pipeline_id": "pipeline_id"}
)
NOBODY: Any = None


@pytest.mark.parametrize("given", [{}, {"project": "local/default"}, {"name": "sales"}])
async def test_an_aggregate_is_named_by_its_id_or_by_project_and_name(given: dict[str, str]) -> None:
    with pytest.raises(QueryError) as refused:
        await PIPELINES.get(NOBODY, pb.GetPipelineRequest(**given))
    assert refused.value.message == "pipeline_id: is empty; give it, or project and name"


async def test_a_list_of_what_belongs_to_an_aggregate_says_what_to_give() -> None:
    with pytest.raises(QueryError) as refused:
        await PIPELINES.page(NOBODY, VERSIONS, pb.ListPipelineVersionsRequest(), "give the pipeline")
    assert refused.value.message == "pipeline_id: is empty; give the pipeline"
