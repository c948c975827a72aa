"""S3 as moto serves it, for what keeps objects there."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import boto3
from moto.server import ThreadedMotoServer

KEY, SECRET = "AKIAPLANTED0KEY", "p1anted-s3cret"
"""What the tests' S3 is entered with; no error may have it."""


@dataclass(frozen=True)
class Server:
    address: str
    client: Any
    """Amazon's own, to make buckets and to look into them."""

    @property
    def environment(self) -> dict[str, str]:
        """By which a process finds and enters it."""
        return {
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self.address,
            "AWS_ALLOW_HTTP": "true",
        }

    def bucket(self) -> str:
        """The name of a new one."""
        name = f"bucket-{uuid.uuid4().hex}"
        self.client.create_bucket(Bucket=name)
        return name


@contextmanager
def s3_running() -> Iterator[Server]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    session = boto3.Session(KEY, SECRET, region_name="us-east-1")
    yield Server(address, session.client("s3", endpoint_url=address))
    server.stop()
