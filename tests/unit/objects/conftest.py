"""Stores for the tests of objects: a folder, and S3 as moto serves it."""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import obstore
import pytest
from moto.server import ThreadedMotoServer
from obstore.store import ObjectStore, from_url

KEY, SECRET = "AKIAPLANTED0KEY", "p1anted-s3cret"
"""What the tests' S3 is entered with; no error may have it."""


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


@dataclass(frozen=True)
class Server:
    address: str
    client: Any
    """Amazon's own, to make buckets and to count what is unfinished in them."""


@pytest.fixture(scope="session")
def s3_server() -> Iterator[Server]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    session = boto3.Session(KEY, SECRET, region_name="us-east-1")
    yield Server(address, session.client("s3", endpoint_url=address))
    server.stop()


@pytest.fixture
def s3(s3_server: Server, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A bucket of the test's own."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server.address)
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    bucket = f"bucket-{uuid.uuid4().hex}"
    client = s3_server.client
    client.create_bucket(Bucket=bucket)
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
