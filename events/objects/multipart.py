"""Uploads whose parts go straight to S3, each by a link of its own: begun and ended here, filled by who has the links.

The only module that knows botocore (the extra `s3`), which it loads at the first upload: obstore signs a link to a
name, not to a part of an upload. Credentials come from the variables that obstore reads (`AWS_ACCESS_KEY_ID` ...), and
from where else Amazon's own programs look. Errors do not quote botocore's messages, which may contain a signed address
or a header.

A link lets its holder write that part of that upload, and nothing else. Once the upload has ended its links open
nothing.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from urllib.parse import urlsplit, urlunsplit

from events.language.objects import MAX_OBJECT_BYTES
from events.objects.address import is_place
from events.objects.backend import NO_CREDENTIALS, UNREACHABLE, ObjectStoreError, answered

if TYPE_CHECKING:
    from botocore.client import BaseClient

LINKS_LAST = timedelta(hours=12)
"""How long the links of an upload's parts open the store."""
MAX_PARTS = 5_000
"""Of an upload. S3 has at most 10,000; their links would be more than an answer can have."""
LEAST_PART_BYTES = 5 << 20
"""Of every part but the last one. S3's own bound."""

_FOLDER = "large/"

T = TypeVar("T")


class UploadUnknown(LookupError):
    """The store has no such upload: it has ended, or was given up."""


class PartsRefused(ValueError):
    """A part is missing, or is not what was sent. The upload is still there."""


class Sent(NamedTuple):
    """A part, as its sender has it."""

    number: int
    """From 1 on."""
    etag: str
    """What the store answered when it had the part."""


class Stored(NamedTuple):
    """A part, as the store has it."""

    etag: str
    size: int
    """Bytes."""


class Unfinished(NamedTuple):
    """An upload that has not ended."""

    place: str
    id: str
    size: int
    """Bytes of the parts that came."""
    begun: datetime


def offered(url: str) -> bool:
    """Whether uploads to this store can be had by links: it is S3, and the extra `s3` is installed."""
    # with a key of the client's own (SSE-C) each part needs that key
    encrypted = os.environ.get("AWS_SERVER_SIDE_ENCRYPTION", "").lower()
    return url.startswith("s3://") and encrypted != "sse-c" and find_spec("botocore") is not None


class Multipart:
    """The uploads to one store. `place` is a name as `events.objects.address` makes it for large bytes.

    Every operation raises ObjectStoreError.
    """

    def __init__(self, url: str) -> None:
        """`url` is one for which uploads are `offered`. Nothing is opened yet."""
        self._url = url
        self._bucket, _, prefix = url.removeprefix("s3://").partition("/")
        self._prefix = f"{prefix.strip('/')}/".lstrip("/")
        self._opening = threading.Lock()
        self._opened: BaseClient | None = None

    async def begin(self, place: str, parts: int) -> tuple[str, list[str]]:
        """Begin an upload of 1 to `MAX_PARTS` parts. Returns its id and a link for each part, to PUT it by."""
        return await self._threaded(self._begin, "write an object to", place, parts)

    async def complete(self, place: str, id: str, sent: Sequence[Sent]) -> None:
        """Make the bytes of the parts the ones at `place`. Raises UploadUnknown; PartsRefused, and nothing changes."""
        await self._threaded(self._complete, "write an object to", place, id, sent)

    async def abort(self, place: str, id: str) -> None:
        """Drop an upload and its parts; it may be gone already."""
        await self._threaded(self._abort, "remove an object from", place, id)

    async def unfinished(self) -> list[Unfinished]:
        """All uploads to places that have not ended."""
        return await self._threaded(self._unfinished, "list the objects of")

    async def _threaded(self, work: Callable[..., T], doing: str, *given: Any) -> T:
        def worked() -> T:
            with self._explained(doing):
                return work(self._client(), *given)

        return await asyncio.to_thread(worked)

    def _named(self, place: str, **more: Any) -> dict[str, Any]:
        return {"Bucket": self._bucket, "Key": self._prefix + place, **more}

    def _begin(self, client: Any, place: str, parts: int) -> tuple[str, list[str]]:
        id = client.create_multipart_upload(**self._named(place), **_encryption())["UploadId"]
        seconds = int(LINKS_LAST.total_seconds())
        named = [self._named(place, UploadId=id, PartNumber=number) for number in range(1, parts + 1)]
        return id, [client.generate_presigned_url("upload_part", Params=each, ExpiresIn=seconds) for each in named]

    def _complete(self, client: Any, place: str, id: str, sent: Sequence[Sent]) -> None:
        check_parts(sent, self._parts(client, place, id))
        listed = [{"PartNumber": part.number, "ETag": part.etag} for part in sent]
        client.complete_multipart_upload(**self._named(place, UploadId=id, MultipartUpload={"Parts": listed}))

    def _abort(self, client: Any, place: str, id: str) -> None:
        try:
            client.abort_multipart_upload(**self._named(place, UploadId=id))
        except client.exceptions.ClientError as error:
            if not _is_unknown(error):
                raise

    def _unfinished(self, client: Any) -> list[Unfinished]:
        found: list[Unfinished] = []
        pages = client.get_paginator("list_multipart_uploads")
        for page in pages.paginate(Bucket=self._bucket, Prefix=self._prefix + _FOLDER):
            for each in page.get("Uploads", ()):
                place, id = each["Key"].removeprefix(self._prefix), each["UploadId"]
                if not is_place(place):
                    continue
                try:
                    size = sum(part.size for part in self._parts(client, place, id).values())
                except client.exceptions.ClientError as error:
                    if not _is_unknown(error):
                        raise
                    continue  # it has ended meanwhile
                found.append(Unfinished(place, id, size, each["Initiated"]))
        return found

    def _parts(self, client: Any, place: str, id: str) -> dict[int, Stored]:
        pages = client.get_paginator("list_parts").paginate(**self._named(place, UploadId=id))
        return {
            part["PartNumber"]: Stored(part["ETag"], part["Size"]) for page in pages for part in page.get("Parts", ())
        }

    def _client(self) -> BaseClient:
        with self._opening:
            if self._opened is None:
                self._opened = _open(self._bucket)
            return self._opened

    @contextmanager
    def _explained(self, doing: str) -> Iterator[None]:
        """Translate botocore's errors into plain words, without what they quote."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except ClientError as error:
            if _is_unknown(error):
                raise UploadUnknown("the store has no such upload: it has ended, or was given up") from None
            told = error.response
            status = str(told.get("ResponseMetadata", {}).get("HTTPStatusCode", ""))
            problem = answered(status, str(told.get("Error", {}).get("Code", "")))
        except (BotoCoreError, ValueError) as error:
            if isinstance(error, PartsRefused):
                raise
            problem = _cause(error)
        else:
            return
        raise ObjectStoreError(f"Can't {doing} {self._url}: {problem}") from None


def check_parts(sent: Sequence[Sent], there: Mapping[int, Stored]) -> None:
    """Raises PartsRefused if these can't be made one object. Pure."""
    total = 0
    for at, part in enumerate(sent):
        found = there.get(part.number)
        if found is None:
            raise PartsRefused(f"part {part.number} never came to the store; send it by its link")
        if found.etag.strip('"') != part.etag.strip('"'):
            raise PartsRefused(f"part {part.number} is not what the store has: another ETag; send it again by its link")
        if found.size < LEAST_PART_BYTES and at < len(sent) - 1:
            raise PartsRefused(
                f"part {part.number} has {found.size} bytes, and all but the last one have {LEAST_PART_BYTES} or more; "
                "upload the file in larger parts"
            )
        total += found.size
    if total > MAX_OBJECT_BYTES:
        raise PartsRefused(f"they are {total} bytes, and an object has at most {MAX_OBJECT_BYTES}; put it as several")


def _open(bucket: str) -> BaseClient:
    """A client that finds the store as obstore does."""
    from botocore.config import Config
    from botocore.session import Session

    # what it says while it is debugged has all that it signs
    logging.getLogger("botocore").setLevel(logging.WARNING)
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    virtual = os.environ.get("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", "").lower() in ("1", "true", "on", "yes", "y")
    if endpoint and virtual:  # for obstore such an address has the bucket in it, which botocore puts there itself
        parts = urlsplit(endpoint)
        endpoint = urlunsplit(parts._replace(netloc=parts.netloc.removeprefix(f"{bucket}.")))
    config = Config(
        signature_version="s3v4",
        s3={"addressing_style": "virtual" if virtual else "path"},
        # else each part would need a checksum in its link, which none who sends it by the link would give
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        connect_timeout=10,
        read_timeout=60,
        retries={"mode": "standard", "total_max_attempts": 4},
    )
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
    return Session().create_client("s3", region_name=region, endpoint_url=endpoint, config=config)


def _encryption() -> dict[str, Any]:
    """How the store is to encrypt an upload, as obstore is told it."""
    kind = os.environ.get("AWS_SERVER_SIDE_ENCRYPTION")
    told: dict[str, Any] = {"ServerSideEncryption": kind} if kind else {}
    if key := os.environ.get("AWS_SSE_KMS_KEY_ID"):
        told["SSEKMSKeyId"] = key
    if os.environ.get("AWS_SSE_BUCKET_KEY_ENABLED", "").lower() in ("1", "true", "on", "yes", "y"):
        told["BucketKeyEnabled"] = True
    return told


def _is_unknown(error: Any) -> bool:
    return error.response.get("Error", {}).get("Code") in ("NoSuchUpload", "NoSuchKey")


def _cause(error: Exception) -> str:
    from botocore.exceptions import ConnectionError, HTTPClientError, NoCredentialsError, PartialCredentialsError

    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        return NO_CREDENTIALS
    if isinstance(error, ConnectionError | HTTPClientError):
        return UNREACHABLE
    return f"{type(error).__name__}."
