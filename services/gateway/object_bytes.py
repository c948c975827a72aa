"""Bytes of objects on their way through the gateway, in and out: one way for all doors that carry some.

Bytes pass in parts, both ways: a request holds at most `HELD_BYTES`, however large its object is, and all of them
together at most `Bounds.object_bytes`. Hashing and the store's work are done in threads. Knows no path.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import grpc
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from events.language.common import FieldError
from events.language.objects import MAX_OBJECT_BYTES, ObjectRef
from events.objects.hashing import PART_BYTES
from events.objects.store import ObjectDamaged, ObjectMissing, ObjectRefused, Objects, ObjectStoreError
from events.process.counts import count_of
from services.gateway.byte_ranges import Unsatisfiable, range_of
from services.gateway.errors import DoorError
from services.gateway.http_bodies import plain_only
from services.gateway.http_side import STREAMED
from services.gateway.limits import Limit

log = logging.getLogger("forgelog.gateway")

HELD_BYTES = 2 * PART_BYTES
"""Most bytes that a request holds at a time."""
_PIECE_BYTES = 1 << 20
"""What is handed to a connection at a time."""


class ObjectBytes:
    """Carries the bytes of one store's objects. One per process."""

    def __init__(self, url: str, most_bytes: int) -> None:
        """`url` is where objects are; the store is opened at the first request. Raises ValueError."""
        self.objects = Objects(url)
        self.held = Limit("bytes of objects", most_bytes)

    async def keep(self, request: Request, digest: str = "") -> ObjectRef:
        """Put a request's body into the store. `digest`: that of the bytes, if it is known. Raises DoorError; then
        nothing is kept."""
        plain_only(request)
        if "content-range" in request.headers:
            raise DoorError.about("content-range", "is not taken", "put the whole object")
        size = _length(request)
        request.scope[STREAMED] = True
        with self.held.take(HELD_BYTES if size is None else min(size, HELD_BYTES)), available():
            try:
                return await self.objects.put(_body(request), expect=digest, size=size)
            except ObjectRefused as refused:
                field, _, problem = str(refused).partition(": ")
                raise DoorError.about(field, problem, "send the bytes that the digest is of") from None

    async def put(self, data: bytes) -> ObjectRef:
        """Put bytes that the gateway has made. Raises DoorError."""
        with available():
            return await self.objects.put(data)

    async def read(self, ref: ObjectRef) -> bytes:
        """All bytes of an object that is small enough for memory. Raises DoorError, ObjectMissing, ObjectDamaged."""
        with self.held.take(ref.size), available():
            return await self.objects.read(ref)

    async def find(self, digest: str) -> ObjectRef | None:
        """The object of a digest; None if there is none. Raises DoorError."""
        with available():
            return await self.objects.stat(digest)

    async def lacking(self, refs: Sequence[ObjectRef]) -> list[ObjectRef]:
        """The objects that are not there as they are named. Raises DoorError."""
        with available():
            return await self.objects.lacking(refs)

    async def missing(self, refs: Sequence[ObjectRef]) -> list[ObjectRef]:
        """The objects that have to be put. Raises DoorError."""
        with available():
            return await self.objects.missing(refs)

    async def answer(self, request: Request, ref: ObjectRef) -> Response:
        """An object, or the range of it that is asked for; of HEAD its length. Raises DoorError."""
        headers = {
            "accept-ranges": "bytes",
            "etag": f'"{ref.digest}"',
            # the gateway's pages are its own: a browser that is led here shows nothing of what somebody put
            "content-disposition": "attachment",
            "x-content-type-options": "nosniff",
        }
        try:
            part = range_of(request.headers.getlist("range"), ref.size, request.headers.get("if-range"), ref.digest)
        except Unsatisfiable as error:
            headers = {"content-range": f"bytes */{ref.size}"}
            wrong = FieldError(field="range", problem=str(error), hint=f"the object has {ref.size} bytes")
            code = grpc.StatusCode.OUT_OF_RANGE
            raise DoorError(code, f"range: {error}", [wrong], http_status=416, headers=headers) from None
        start, end = part or (0, ref.size)
        if part:
            headers["content-range"] = f"bytes {start}-{end - 1}/{ref.size}"
        headers["content-length"] = str(end - start)
        status = 206 if part else 200
        if request.method == "HEAD":
            return Response(None, status, headers, media_type="application/octet-stream")
        with ExitStack() as held, available():
            held.enter_context(self.held.take(min(end - start, HELD_BYTES)))
            pieces = self.objects.open(ref, start, end)
            first = await _first(pieces)  # what fails at once is a status
            return _Bytes(ref.digest, first, pieces, held.pop_all(), status, headers)


class _Bytes(StreamingResponse):
    """An object's bytes. When they can't be had any more, the connection is cut, so that nobody takes half for all."""

    def __init__(
        self,
        digest: str,
        first: bytes,
        rest: AsyncIterator[bytes],
        held: ExitStack,
        status: int,
        headers: dict[str, str],
    ) -> None:
        super().__init__(_small(first, rest), status, headers, media_type="application/octet-stream")
        self._digest = digest
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._held:
            await super().__call__(scope, receive, send)

    async def stream_response(self, send: Send) -> None:
        try:
            await super().stream_response(send)
        except (ObjectDamaged, ObjectMissing, ObjectStoreError) as error:
            log.error("an answer with the object %s is cut: %s", self._digest, error)


async def _first(pieces: AsyncIterator[bytes]) -> bytes:
    try:
        return await anext(pieces, b"")
    except ObjectMissing as error:
        raise DoorError(grpc.StatusCode.NOT_FOUND, str(error)) from None
    except ObjectDamaged as error:
        log.error("%s", error)
        raise DoorError(grpc.StatusCode.DATA_LOSS, str(error)) from None


async def _small(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The bytes in pieces that a connection takes well."""
    piece: bytes | None = first
    while piece is not None:
        for at in range(0, len(piece), _PIECE_BYTES):
            yield piece[at : at + _PIECE_BYTES]
        del piece  # else it would stay while the next one is read
        piece = await anext(rest, None)


async def _body(request: Request) -> AsyncIterator[bytes]:
    try:
        async for piece in request.stream():
            yield piece
            await asyncio.sleep(0)  # a body that comes fast leaves the loop to others, too
    except ClientDisconnect:
        raise DoorError(
            grpc.StatusCode.CANCELLED, "the client went away while it sent the object; nothing is kept"
        ) from None


def _length(request: Request) -> int | None:
    """The body's length, as the client says. Raises DoorError for one that no object has."""
    size = count_of(request.headers.get("content-length", ""))
    if size is not None and size > MAX_OBJECT_BYTES:
        problem, hint = f"is {size}", f"an object has at most {MAX_OBJECT_BYTES} bytes; put it as several"
        error = FieldError(field="content-length", problem=problem, hint=hint)
        message = f"content-length: {problem}; {hint}"
        raise DoorError(grpc.StatusCode.INVALID_ARGUMENT, message, [error], http_status=413)
    return size


@contextmanager
def available() -> Iterator[None]:
    """Raises DoorError where the store can't be used."""
    try:
        yield
    except ObjectStoreError as error:
        raise DoorError(grpc.StatusCode.UNAVAILABLE, str(error), retry_after=1.0) from None
