"""Objects by HTTP: the one door to the object store for nodes and clients, which have no credentials of the store.

    PUT  /v1/objects/{digest}    keep bytes
    GET  /v1/objects/{digest}    the bytes, or a range of them (HEAD: their length)
    POST /v1/objects:missing     which of these have to be put

Bytes pass in parts, both ways: a request holds at most `HELD_BYTES`, however large its object is, and all of them
together at most `Bounds.object_bytes`. Hashing and the store's work are done in threads. Knows no event that names an
object.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import ExitStack

import grpc
from pydantic import ValidationError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from events.language.base import Model
from events.language.common import FieldError
from events.language.objects import MAX_OBJECT_BYTES, ObjectRef
from events.language.problems import field_errors
from events.objects.address import parse_address
from events.objects.hashing import PART_BYTES
from events.objects.store import ObjectDamaged, ObjectMissing, ObjectRefused, Objects, ObjectStoreError
from services.gateway.byte_ranges import Unsatisfiable, range_of
from services.gateway.errors import DoorError
from services.gateway.http_answers import answering, json_response
from services.gateway.http_bodies import json_of, plain_only, read_body
from services.gateway.http_gate import principal_of
from services.gateway.http_side import STREAMED
from services.gateway.limits import Limit
from services.gateway.principal import Access

log = logging.getLogger("forgelog.gateway")

OBJECT = "/v1/objects/{digest}"
MISSING = "/v1/objects:missing"

HELD_BYTES = 2 * PART_BYTES
"""Most bytes that a request holds at a time."""
MAX_ASKED = 5_000
"""Most objects in a question for those that are missing."""
_MAX_ASKED_BYTES = 1 << 20
_PIECE_BYTES = 1 << 20
"""What is handed to a connection at a time."""


class _Asked(Model):
    """The body of a question for objects that are missing."""

    objects: tuple[ObjectRef, ...]


class ObjectDoor:
    """The routes. `url` is where objects are; the store is opened at the first request. Raises ValueError."""

    def __init__(self, url: str, access: Access, most_bytes: int) -> None:
        self._objects = Objects(url)
        self._access = access
        self._held = Limit("bytes of objects", most_bytes)

    def routes(self) -> list[Route]:
        return [
            Route(MISSING, answering(MISSING, self._missing), methods=["POST"]),
            Route(OBJECT, answering(OBJECT, self._object), methods=["GET", "PUT"]),
        ]

    async def _object(self, request: Request) -> Response:
        self._access.authorize(principal_of(request), OBJECT)
        digest = _digest(request)
        _no_parameters(request)
        try:
            return await (self._put if request.method == "PUT" else self._get)(request, digest)
        except ObjectStoreError as error:
            raise _unavailable(error) from None

    async def _put(self, request: Request, digest: str) -> Response:
        plain_only(request)
        if "content-range" in request.headers:
            raise DoorError.about("content-range", "is not taken", "put the whole object")
        size = _length(request)
        request.scope[STREAMED] = True
        with self._held.take(HELD_BYTES if size is None else min(size, HELD_BYTES)):
            try:
                ref = await self._objects.put(_body(request), expect=digest, size=size)
            except ObjectRefused as refused:
                field, _, problem = str(refused).partition(": ")
                raise DoorError.about(field, problem, "send the bytes that the digest is of") from None
        return json_response(ref.model_dump())

    async def _get(self, request: Request, digest: str) -> Response:
        ref = await self._objects.stat(digest)
        if ref is None:
            raise DoorError(grpc.StatusCode.NOT_FOUND, f"there is no object {digest} in the store")
        headers = {
            "accept-ranges": "bytes",
            "etag": f'"{digest}"',
            # the gateway's pages are its own: a browser that is led here shows nothing of what somebody put
            "content-disposition": "attachment",
            "x-content-type-options": "nosniff",
        }
        try:
            part = range_of(request.headers.getlist("range"), ref.size, request.headers.get("if-range"), digest)
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
        with ExitStack() as held:
            held.enter_context(self._held.take(min(end - start, HELD_BYTES)))
            pieces = self._objects.open(ref, start, end)
            first = await _first(pieces)  # what fails at once is a status
            return _Bytes(digest, first, pieces, held.pop_all(), status, headers)

    async def _missing(self, request: Request) -> Response:
        self._access.authorize(principal_of(request), MISSING)
        _no_parameters(request)
        with self._held.take(_MAX_ASKED_BYTES):
            data = json_of(await read_body(request, _MAX_ASKED_BYTES))
            if isinstance(data, dict) and isinstance(listed := data.get("objects"), list) and len(listed) > MAX_ASKED:
                raise DoorError.about("objects", f"are {len(listed)}", f"ask for at most {MAX_ASKED} at a time")
            try:
                asked = _Asked.model_validate(data)
            except ValidationError as error:
                errors = field_errors(error, _Asked)
                text = f"{errors[0].field}: {errors[0].problem}"
                raise DoorError(grpc.StatusCode.INVALID_ARGUMENT, text, errors) from None
            try:
                missing = await self._objects.missing(tuple(dict.fromkeys(asked.objects)))
            except ObjectStoreError as error:
                raise _unavailable(error) from None
        return json_response({"missing": [ref.model_dump() for ref in missing]})


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


def _digest(request: Request) -> str:
    try:
        return parse_address(request.path_params["digest"])
    except ValueError as error:
        raise DoorError.about("digest", str(error), "give the BLAKE3 of the bytes: 64 hexadecimal digits") from None


def _length(request: Request) -> int | None:
    """The body's length, as the client says. Raises DoorError for one that no object has."""
    text = request.headers.get("content-length", "")
    if not text.isdigit():
        return None
    if (size := int(text)) > MAX_OBJECT_BYTES:
        problem, hint = f"is {size}", f"an object has at most {MAX_OBJECT_BYTES} bytes; put it as several"
        error = FieldError(field="content-length", problem=problem, hint=hint)
        message = f"content-length: {problem}; {hint}"
        raise DoorError(grpc.StatusCode.INVALID_ARGUMENT, message, [error], http_status=413)
    return size


def _no_parameters(request: Request) -> None:
    for name in request.query_params:
        raise DoorError.about(name[:200], "there is no such parameter", "leave it out")


def _unavailable(error: ObjectStoreError) -> DoorError:
    return DoorError(grpc.StatusCode.UNAVAILABLE, str(error), retry_after=1.0)
