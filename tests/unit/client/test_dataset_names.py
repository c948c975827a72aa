"""How a dataset of a pipeline, and a column of it, are named to the client and on the command line."""

from __future__ import annotations

import pytest

from events.language.common import DEFAULT_PROJECT
from events.language.pipelines.commits import place_label
from events.log.ids import id_ending, named_id
from forgelog.cli.pipeline_lineage import _split
from forgelog.client.pipeline_data import dataset_id

OTHER = "acme/prod"


@pytest.mark.parametrize("project", [DEFAULT_PROJECT, OTHER])
@pytest.mark.parametrize(
    ("given", "dataset", "column"),
    [
        ("orders", "orders", ""),
        ("orders.amount", "orders", "amount"),
        ("orders.a.b", "orders", "a.b"),
        ("/path/x.csv", "/path/x.csv", ""),
        ("./x.csv", "./x.csv", ""),
        ("/data.v2/orders", "/data.v2/orders", ""),
        ("s3://bucket.eu/raw/x.csv", "s3://bucket.eu/raw/x.csv", ""),
        ("postgres://db.local/shop#public.orders", "postgres://db.local/shop#public.orders", ""),
    ],
)
def test_a_dot_is_before_a_column_unless_it_is_a_paths(project: str, given: str, dataset: str, column: str) -> None:
    assert _split(given, project) == (dataset, column)


def test_the_ending_of_a_projects_ids_is_no_column() -> None:
    id = named_id("orders", OTHER)
    assert (_split(id, OTHER), _split(f"{id}.amount", OTHER)) == ((id, ""), (id, "amount"))


@pytest.mark.parametrize("project", [DEFAULT_PROJECT, OTHER])
@pytest.mark.parametrize("place", ["/path/x.csv", "s3://bucket/raw/x.csv", "/data/orders/*.parquet"])
def test_a_place_is_the_dataset_that_lies_there(project: str, place: str) -> None:
    assert dataset_id(place, project) == place_label(place) + id_ending(project)
