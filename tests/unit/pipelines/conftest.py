"""A store for the tests of sources and sinks: S3 as moto serves it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.s3 import Server, s3_running
from tests.unit.pipelines.tables import Table, local_table, store_table


@pytest.fixture(scope="session")
def store() -> Iterator[Server]:
    with s3_running() as server:
        yield server


@pytest.fixture(params=["file_system", "s3"])
def table(request: pytest.FixtureRequest, tmp_path: Path) -> Table:
    """An empty place, on the file system and in a store."""
    if request.param == "file_system":
        return local_table(tmp_path)
    return store_table(request.getfixturevalue("store"), tmp_path)


@pytest.fixture
def steps(table: Table) -> Callable[[], list[tuple[object, str]]]:
    """What counts as a step of a publication there."""
    from tests.unit.pipelines.dying import local_steps, store_steps

    return local_steps if table.place["type"] == "file_system" else store_steps
