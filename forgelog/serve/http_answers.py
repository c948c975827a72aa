"""Bodies and answers of HTTP: bounded reading, errors as JSON, headers. Knows no model."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from http import HTTPStatus
from typing import Any

import orjson

from forgelog.serve.inflating import inflate
from forgelog.serve.problems import Fault, ServingError

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

JSON = b"application/json"
BYTES = b"application/octet-stream"


TRAILERS = "forgelog.trailers"
"""In the last message of a body without a length: the fields of its trailer (see `http_protocol`)."""


class Gone(Exception):
    """The client went away before its request was whole."""


def header(scope: Scope, name: bytes) -> str | None:
    for key, value in scope["headers"]:
        if key == name:
            text: str = value.decode("latin-1")
            return text
    return None


async def read_body(scope: Scope, receive: Receive, most: int) -> bytes:
    """A request's body, inflated. Raises `ServingError` for one of more than `most` bytes, which is not read then."""
    if (length := header(scope, b"content-length")) is not None and int(length) > most:
        raise _too_large(most)
    message = await receive()
    if not message.get("more_body", False) and message["type"] == "http.request":
        body: bytes = message.get("body", b"")
    else:
        body = await _rest(message, receive, most)
    if len(body) > most:
        raise _too_large(most)
    coding = header(scope, b"content-encoding")
    return inflate(body, coding, most) if coding else body


def given_again(body: bytes) -> Receive:
    """A body that was read, for an application that reads it itself."""
    messages: Iterator[MutableMapping[str, Any]] = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def receive() -> MutableMapping[str, Any]:
        return next(messages, {"type": "http.disconnect"})

    return receive


async def _rest(message: MutableMapping[str, Any], receive: Receive, most: int) -> bytes:
    pieces, came = [], 0
    while True:
        if message["type"] != "http.request":
            raise Gone
        piece = message.get("body", b"")
        came += len(piece)
        if came > most:
            raise _too_large(most)
        pieces.append(piece)
        if not message.get("more_body", False):
            return b"".join(pieces)
        message = await receive()


async def answer(
    send: Send, status: int, body: bytes, kind: bytes = JSON, headers: Mapping[str, str] | None = None
) -> None:
    listed = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
    for name, value in (headers or {}).items():
        listed.append((name.encode(), value.encode("latin-1", "replace")))
    await send({"type": "http.response.start", "status": status, "headers": listed})
    await send({"type": "http.response.body", "body": body})


async def answer_json(send: Send, value: Any, status: int = 200) -> None:
    await answer(send, status, orjson.dumps(value))


ERROR = "x-forgelog-error"
"""Header, and metadata of gRPC: what the router writes down of an error."""


def error_answer(error: ServingError, told: str = "") -> tuple[int, bytes, dict[str, str]]:
    """The protocol's error: status, a JSON object with ``error``, and headers. `told`: what the router may write down
    of it."""
    headers = {ERROR: told} if told else {}
    if error.fault is Fault.UNAVAILABLE:
        headers["retry-after"] = "1"
    if error.fault is Fault.TOO_LARGE:
        headers["connection"] = "close"  # the rest of its body is not read
    return error.fault.status, orjson.dumps({"error": error.message}), headers


async def answer_error(send: Send, error: ServingError, told: str = "") -> None:
    """Sends `error_answer`."""
    status, body, headers = error_answer(error, told)
    await answer(send, status, body, JSON, headers)


def whole_answer(
    status: int, body: bytes, kind: bytes = JSON, headers: Mapping[str, str] | None = None
) -> tuple[bytes, bytes]:
    """An answer as HTTP/1.1, for a connection that goes on: its head without the empty line, and its body."""
    told = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
    head = f"HTTP/1.1 {status} {_REASONS[status]}\r\ncontent-length: {len(body)}\r\n{told}content-type: "
    return b"".join((head.encode("latin-1", "replace"), kind, b"\r\n")), body


_REASONS = {status.value: status.phrase for status in HTTPStatus}


def _too_large(most: int) -> ServingError:
    return ServingError(Fault.TOO_LARGE, f"the body has more than {most:,} bytes; divide it into several requests")
