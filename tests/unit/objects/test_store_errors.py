"""What is said when a store can't be used: the cause and what to do, and no word of its credentials."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from events.objects import backend
from events.objects.backend import ObjectStoreError, explain
from events.objects.hashing import PART_BYTES
from events.objects.store import Objects
from events.process.settings import Settings, SettingsError, check_store_url, store_folder
from tests.s3 import KEY, SECRET
from tests.small_disk import small_disk

DIGEST = "4f" * 32


def told(error: BaseException) -> str:
    """All that an error says, also to somebody who prints where it came from."""
    return f"{error}\n{error!r}\n" + "".join(traceback.format_exception(error))


class Refusing(BaseHTTPRequestHandler):
    """Answers as Amazon does to a wrong secret: with the key, and with what was signed."""

    def do_POST(self) -> None:
        """Begins an upload: no part of it is taken."""
        body = b"<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_DELETE(self) -> None:
        self.send_response(204)
        self.end_headers()

    def do_PUT(self) -> None:
        body = (
            "<Error><Code>SignatureDoesNotMatch</Code><Message>The signature we calculated does not match</Message>"
            f"<AWSAccessKeyId>{KEY}</AWSAccessKeyId><StringToSign>{self.headers}</StringToSign>"
            f"<Secret>{SECRET}</Secret></Error>"
        ).encode()
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(403)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def refusing() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.usefixtures("s3")
@pytest.mark.parametrize("size", [1, 2 * PART_BYTES + 1])
async def test_a_store_that_refuses_the_credentials(refusing: str, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", refusing)
    with pytest.raises(ObjectStoreError) as error:
        await Objects("s3://bucket/prefix").put(bytes(size))
    text = told(error.value)
    assert "Can't write an object to s3://bucket/prefix: the store answered 403 SignatureDoesNotMatch. " in text
    assert "Check the credentials in this process's environment (AWS_ACCESS_KEY_ID and the like)" in text
    assert KEY not in text
    assert SECRET not in text


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system that has no room for an object of several parts."""
    with small_disk(tmp_path / "small", PART_BYTES + PART_BYTES // 2) as folder:
        yield folder


async def test_a_disk_that_is_full(small: Path) -> None:
    objects = Objects(f"file://{small}")
    with pytest.raises(ObjectStoreError, match="No space left"):
        await objects.put(bytes(3 * PART_BYTES))
    assert (await objects.put(b"x")).size == 1, "nothing of it was left behind"


@pytest.mark.usefixtures("s3")
async def test_a_store_that_can_not_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "_RETRIED", timedelta(0))
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{KEY}:{SECRET}@127.0.0.1:1")
    objects = Objects("s3://bucket/prefix")
    for doing in (objects.put(b"x"), objects.stat(DIGEST), objects.delete(DIGEST)):
        with pytest.raises(ObjectStoreError, match=r"the store can't be reached\. Check the network") as error:
            await doing
        assert KEY not in told(error.value)
        assert SECRET not in told(error.value)


@pytest.mark.usefixtures("s3")
async def test_a_bucket_that_there_is_not() -> None:
    """It is not taken for an object that is missing where the store says which of the two it is."""
    objects = Objects("s3://nobodys-bucket/prefix")
    for doing in (objects.put(b"x"), objects.stat(DIGEST)):
        with pytest.raises(ObjectStoreError, match=r"404 NoSuchBucket\. Check the name in FORGELOG_OBJECTS"):
            await doing


@pytest.mark.usefixtures("s3")
async def test_a_variable_that_can_not_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"no address {SECRET}")
    with pytest.raises(ObjectStoreError, match=r"s3://bucket/prefix: a variable .* \(AWS_ENDPOINT_URL") as error:
        await Objects("s3://bucket/prefix").put(b"x")
    assert SECRET not in told(error.value)


async def test_a_folder_that_can_not_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ObjectStoreError, match=r"Can't write an object to file:.*/file/objects: Not a directory\."):
        await Objects((tmp_path / "file" / "objects").as_uri()).put(b"x")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Unable to copy data to file: No space left on device (os error 28)", "No space left on device."),
        (
            f"PUT https://a.net/c?sig={SECRET}: status code: 503 Slow Down",
            "the store answered 503. The store's own log",
        ),
        (f"GET http://169.254.169.254/latest: HTTP error {SECRET}", "there are no credentials"),
        (f"GET https://a.net/c?sig={SECRET} - HTTP error: error sending request", "the store can't be reached"),
        (f"something new about {SECRET}", "Exception."),
    ],
)
def test_an_error_is_explained_without_what_it_quotes(text: str, said: str) -> None:
    assert explain(Exception(text)).startswith(said)
    assert SECRET not in explain(Exception(text))


@pytest.mark.parametrize(
    "url",
    [
        "",
        "objects",
        "/var/objects",
        "file://objects",
        "file://host/objects",
        "file:///",
        "file:///a/../b",
        "file:///a%2F..%2F..%2Fb",
        "file:///a%00b",
        "file:///a?b",
        "http://host/bucket",
        "memory:///",
        "s3://",
        "s3:///prefix",
        "s3://bucket/../other",
        "s3://bucket/a//b",
        "s3://bucket?region=x",
        f"s3://{KEY}:{SECRET}@bucket/prefix",
        f"az://account/container?sig={SECRET}",
    ],
)
def test_what_is_no_store_is_refused_and_not_repeated(url: str) -> None:
    refused: list[Callable[[str], object]] = [check_store_url, Objects]
    for use in refused:
        with pytest.raises(ValueError, match=r"should be file:///absolute/folder, s3://bucket/prefix") as error:
            use(url)
        assert SECRET not in told(error.value)
    if url:
        with pytest.raises(SettingsError, match="FORGELOG_OBJECTS: should be file:///absolute/folder"):
            Settings.load(objects=url)


@pytest.mark.parametrize(
    "url",
    [
        "file:///a",
        "file:///a%20b/%C3%A4",
        "s3://bucket",
        "s3://bucket/",
        "s3://b/a/b.c_d-e=f/",
        "gs://b/a",
        "az://a/c/p",
    ],
)
def test_a_store_is_named_by_its_url(url: str) -> None:
    assert Settings.load(objects=url).objects_url == url
    Objects(url)


def test_objects_are_in_the_data_folder_if_nothing_else_is_said(tmp_path: Path) -> None:
    settings = Settings.load(data=tmp_path / "a b")
    assert store_folder(settings.objects_url) == tmp_path / "a b" / "objects"
    assert Settings.load(data="relative").objects_url == (Path.cwd() / "relative" / "objects").as_uri()
