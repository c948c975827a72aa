"""A store for the tests of sources and sinks: S3 as moto serves it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.s3 import Server, s3_running
from tests.unit.pipelines.tables import Table, local_table, store_table


@pytest.fixture(scope="session")
def store() -> Iterator[Server]:
    with s3_running() as server:
        yield server


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is such a place: publications wait for the disk at each step."""
    if not Path("/dev/shm").is_dir():
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="forgelog-") as made:
        yield Path(made)


@pytest.fixture(params=["file_system", "s3"])
def table(request: pytest.FixtureRequest, folder: Path) -> Table:
    """An empty place, on the file system and in a store."""
    if request.param == "file_system":
        return local_table(folder)
    return store_table(request.getfixturevalue("store"), folder)


@pytest.fixture
def steps(table: Table) -> Callable[[], list[tuple[object, str]]]:
    """What counts as a step of a publication there."""
    from tests.unit.pipelines.dying import local_steps, store_steps

    return local_steps if table.place["type"] == "file_system" else store_steps
