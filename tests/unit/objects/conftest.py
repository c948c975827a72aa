"""Stores for the tests of objects: a folder, and S3 as moto serves it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import obstore
import pytest
from obstore.store import ObjectStore, from_url

from tests.s3 import Server, s3_running


@dataclass(frozen=True)
class Place:
    """A store that is looked at from outside."""

    url: str
    _store: ObjectStore
    unfinished: Callable[[], int]
    """How many uploads began and did not end."""

    def names(self) -> set[str]:
        return {each["path"] for each in obstore.list(self._store).collect()}

    def only(self, folder: str) -> str:
        """The one name in a folder."""
        (name,) = (name for name in self.names() if name.startswith(folder + "/"))
        return name

    def read(self, name: str) -> bytes:
        return bytes(obstore.get(self._store, name).bytes())

    def write(self, name: str, data: bytes) -> None:
        """Past the platform, as a fault of the disk or an intruder would."""
        obstore.put(self._store, name, data, use_multipart=False)

    def remove(self, name: str) -> None:
        obstore.delete(self._store, name)


@pytest.fixture(scope="session")
def s3_server() -> Iterator[Server]:
    with s3_running() as server:
        yield server


@pytest.fixture
def s3(s3_server: Server, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A bucket of the test's own."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    bucket, client = s3_server.bucket(), s3_server.client
    url = f"s3://{bucket}/a/prefix"
    return Place(url, from_url(url), lambda: len(client.list_multipart_uploads(Bucket=bucket).get("Uploads", [])))


@pytest.fixture
def folder(tmp_path: Path) -> Place:
    """A folder whose name has all that names of folders have."""
    path = tmp_path / "with ä, # and %20"
    path.mkdir(0o700)
    return Place(path.as_uri(), from_url(path.as_uri()), lambda: sum("#" in each.name for each in path.rglob("*")))


@pytest.fixture(params=["folder", "s3"])
def place(request: pytest.FixtureRequest) -> Place:
    """What holds of every store."""
    found: Place = request.getfixturevalue(request.param)
    return found
