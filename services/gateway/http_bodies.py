"""A request's body: read up to a bound, and as JSON. The same for commands and queries; knows neither."""

from __future__ import annotations

from typing import Any

import grpc
from pydantic_core import from_json
from starlette.requests import ClientDisconnect, Request

from events.language.common import MAX_COMMAND_BYTES, FieldError, Refused, shown
from events.log.repeats import refuse_repeats
from events.process.counts import count_of
from services.gateway.errors import DoorError


def body_size(request: Request, limit: int) -> int:
    """Bytes that the body will have, as the client says; of one that does not say, the most it may have."""
    length = count_of(request.headers.get("content-length", ""))
    return limit if length is None else min(length, limit)


async def read_body(request: Request, limit: int) -> bytes:
    """The body, at most `limit` bytes of it. Raises DoorError (413, before all of it has come; 415)."""
    plain_only(request)
    too_large = DoorError(
        grpc.StatusCode.INVALID_ARGUMENT,
        f"the request's body has more than {limit} bytes; a command may have at most {MAX_COMMAND_BYTES}: keep large "
        f"inputs in files or objects and name their place",
        http_status=413,
    )
    length = count_of(request.headers.get("content-length", ""))
    if length is not None and length > limit:
        raise too_large
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > limit:
                raise too_large
    except ClientDisconnect:
        raise DoorError(grpc.StatusCode.CANCELLED, "the client went away while it sent the body") from None
    return bytes(body)


def plain_only(request: Request) -> None:
    """Bodies are bounded as they come: one that unpacks to more than its length is not taken (RFC 9110,
    sections 8.4 and 15.5.16)."""
    coding = request.headers.get("content-encoding", "").strip().lower()
    if coding in ("", "identity"):
        return
    problem, hint = f"{shown(coding)} is not taken", "send the body as it is, without an encoding"
    raise DoorError(
        grpc.StatusCode.INVALID_ARGUMENT,
        f"content-encoding: {problem}; {hint}",
        [FieldError(field="content-encoding", problem=problem, hint=hint)],
        http_status=415,
        headers={"accept-encoding": "identity"},
    )


def json_of(body: bytes) -> Any:
    """A body as plain data. Raises DoorError when it is no JSON, or a key stands twice in one object."""
    try:
        refuse_repeats(body)
        return from_json(body, cache_strings="keys")
    except Refused as refused:
        raise DoorError.of(refused) from None
    except ValueError as error:
        raise DoorError(grpc.StatusCode.INVALID_ARGUMENT, f"the body is not JSON: {error}") from None
