"""Tables in Azure Blob Storage, as azurite serves it, and in Google Cloud Storage, as fake-gcs-server keeps it.

The other tests of stores are on S3.

Azurite is a program of npm: `make test` gets it (`make azurite` alone does) where npm and its registry are there. One
from elsewhere is named in FORGELOG_TEST_AZURITE.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import httpx
import pytest

from forgelog.pipelines.io import publish
from tests.unit.pipelines import gcs
from tests.unit.pipelines.dying import SURVIVED, ended, start, store_steps
from tests.unit.pipelines.tables import Table, context_of
from tests.unit.pipelines.test_io_publishing import FIRST, MODES, NAMES, NEXT

ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Azurite's own, which its documentation gives."""


@pytest.fixture(scope="module")
def azurite() -> Iterator[str]:
    program = os.environ.get("FORGELOG_TEST_AZURITE") or _installed() or shutil.which("azurite-blob")
    if program is None:
        pytest.skip("there is no azurite-blob: `make azurite` gets it by npm, or name one in FORGELOG_TEST_AZURITE")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    arguments = [program, "--blobPort", str(port), "--silent", "--inMemoryPersistence", "--skipApiVersionCheck"]
    arguments.append("--disableTelemetry")
    server = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert server.poll() is None, f"{program} ended: it needs Node.js"
                assert time.monotonic() < until, "azurite did not start"
                time.sleep(0.05)
        address = f"http://127.0.0.1:{port}/{ACCOUNT}"
        _make_container(address, "tables")
        yield address
    finally:
        server.kill()
        server.wait()


def _installed() -> str | None:
    """The one that `make azurite` put under build."""
    build = Path(__file__).parents[3] / "build" / "azurite"
    found = sorted(build.glob("[0-9.]*[0-9]/node_modules/.bin/azurite-blob"))
    return str(found[-1]) if found else None


def _make_container(address: str, name: str) -> None:
    """By Azure's REST API: obstore makes none."""
    headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
    named = "\n".join(f"{key}:{value}" for key, value in headers.items())
    signed = "PUT" + "\n" * 12 + f"{named}\n/{ACCOUNT}/{ACCOUNT}/{name}\nrestype:container"
    signature = base64.b64encode(hmac.new(base64.b64decode(KEY), signed.encode(), hashlib.sha256).digest()).decode()
    headers["Authorization"] = f"SharedKey {ACCOUNT}:{signature}"
    httpx.put(f"{address}/{name}?restype=container", headers=headers).raise_for_status()


@pytest.fixture
def azure_table(azurite: str) -> tuple[dict[str, Any], dict[str, str]]:
    """The place of a table, and the secrets to it."""
    connection = {"options": {"account_name": ACCOUNT, "endpoint": azurite}, "secret": {"name": "azure"}}
    return {"type": "azure_blob", "path": "az://tables/orders", "connection": connection}, {"azure": KEY}


@pytest.fixture
def google_table() -> Iterator[tuple[dict[str, Any], dict[str, str]]]:
    try:
        gcs.program()
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"there is no emulator of Google's store for this machine: {error}")
    with gcs.store("tables") as address:
        connection = {"options": {"allow_http": "true"}, "secret": {"name": "google"}}
        yield {"type": "gcs", "path": "gs://tables/orders", "connection": connection}, {"google": gcs.key(address)}


@pytest.mark.parametrize("of", ["azure_table", "google_table"])
def test_a_table_is_published_once_under_kills(of: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    place, secrets = request.getfixturevalue(of)
    table = Table(place, tmp_path, context_of(tmp_path, secrets=secrets.__getitem__))
    table.publish(1, "SELECT * FROM (VALUES (1, 'a'), (2, 'b')) t(id, v)")
    sink, manifest = table.write("SELECT * FROM (VALUES (2, 'B'), (3, 'C')) t(id, v)", mode="upsert", keys=["id"])
    after = [(1, "a"), (2, "B"), (3, "C")]
    kills = 0
    for at in range(100):
        child = start(sink, manifest, 2, table.contexts, secrets, store_steps, at, signal.SIGKILL)
        if ended(child) == SURVIVED:
            break
        assert child.exitcode == -signal.SIGKILL
        kills += 1
        assert table.read() in ([(1, "a"), (2, "b")], after), "a reader saw a part of a version"
    assert kills >= 3
    assert table.read() == table.seen() == after
    assert publish(sink, manifest, 2, table.contexts).already
    table.publish(3, "SELECT 4 AS id, 'é/=' AS v", partition_by=["v"])
    assert table.read() == [(4, "é/=")]


@pytest.mark.parametrize("of", ["azure_table", "google_table"])
def test_each_mode(of: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    place, secrets = request.getfixturevalue(of)
    for name, (mode, after) in zip(NAMES, MODES, strict=True):
        where = tmp_path / name
        own = place | {"path": f"{place['path']}-{name}"}
        table = Table(own, where, context_of(where, secrets=secrets.__getitem__))
        table.publish(1, FIRST)
        published = table.publish(2, NEXT, **mode)
        assert (published.version, published.rows, published.already) == (2, len(after), False)
        assert table.read() == table.seen() == after, name
