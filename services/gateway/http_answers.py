"""HTTP answers: JSON, errors as JSON, streams as NDJSON or server-sent events."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from time import perf_counter
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Match, Route
from starlette.types import Scope

from events.language.wording import close_to
from services.gateway import metrics
from services.gateway.errors import HTTP_STATUS, DoorError, as_json, code_name, defect
from services.gateway.forward import Relayed
from services.gateway.transcode import dumps

log = logging.getLogger("forgelog.gateway")

KEEPALIVE_SECONDS = 15.0
"""Longest silence of an event stream: proxies close silent connections."""

FIRST_SECONDS = 0.25
"""How long a stream's first answer is waited for before its status goes out: a refusal is to be a status."""

MOST_SHOWN = 100
"""Most characters of a path in an error."""

_STATUS_CODES = {404: "not_found", 405: "method_not_allowed", 400: "invalid_argument"}

Handler = Callable[[Request], Awaitable[Response]]


def json_response(data: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Plain data as an answer."""
    return raw_response(dumps(data), status, headers)


def raw_response(body: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """JSON text as an answer."""
    return Response(body + b"\n", status, headers, media_type="application/json")


def error_response(error: DoorError | Relayed) -> Response:
    """A refusal as an answer."""
    body, headers = error_body(error), {}
    if error.retry_after:
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after)))
    if isinstance(error, Relayed):
        return json_response(body, HTTP_STATUS[error.code], headers)
    if error.command_id:
        body["id"] = error.command_id
    return json_response(body, error.http_status, {**headers, **error.headers})


Refusal = Callable[[DoorError | Relayed], Response]
"""How a door writes a refusal."""


def answering(name: str, handler: Handler, refusal: Refusal = error_response) -> Handler:
    """The handler, counted and timed under `name`, its failures turned into answers by `refusal`."""
    timer = metrics.seconds.labels("http", name)

    async def answer(request: Request) -> Response:
        started = perf_counter()
        try:
            response = await handler(request)
        except (DoorError, Relayed) as error:
            response = refusal(error)
        except HTTPException as error:
            response = http_error(request, error)
        except Exception:
            log.exception("%s %s failed", request.method, request.url.path)
            response = refusal(defect())
        timer.observe(perf_counter() - started)
        metrics.requests.labels("http", name, str(response.status_code)).inc()
        return response

    return answer


class ClosedRoute(Route):
    """The one route of its path: a method that it does not take is refused, though a wild card would take it."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, child_scope = super().matches(scope)
        return (Match.FULL if match is Match.PARTIAL else match), child_scope


def http_error(request: Request, error: Exception) -> Response:
    """What the router itself refuses: no such path, or not with this method."""
    assert isinstance(error, HTTPException)
    path, headers = request.url.path, dict(error.headers or {})
    text = error.detail
    if error.status_code == HTTPStatus.NOT_FOUND:
        text = f"there is no {shown_path(path)}; {_instead(request)}"
    elif error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers.pop("Allow", None)  # of one of its routes
        headers["allow"] = ", ".join(sorted(_taken(request)))
        text = f"{shown_path(path)} does not take {request.method}; it takes {headers['allow']}"
    code = _STATUS_CODES.get(error.status_code, "error")
    return json_response({"error": as_json(code, text, ())}, error.status_code, headers)


def _taken(request: Request) -> set[str]:
    """The methods of all routes that the router asks."""
    found: set[str] = set()
    for route in request.app.routes:
        match, _ = route.matches(request.scope)
        if match is not Match.NONE:
            found |= route.methods or set()
        if match is Match.FULL:
            break
    return found


def shown_path(path: str) -> str:
    """A path as a message quotes it: never long."""
    return path if len(path) <= MOST_SHOWN else path[: MOST_SHOWN - 3] + "..."


def _instead(request: Request) -> str:
    """Which path was meant, or which there are: those that begin alike, else what all are about."""
    asked = request.url.path
    paths = list(dict.fromkeys(route.path for route in request.app.routes if route.path != "/"))
    if len(asked) <= MOST_SHOWN:
        family = _family(asked)
        if alike := [path for path in paths if _family(path) == family]:
            # What all of them begin with would make any two of them alike.
            rests = {_filled(path, asked).removeprefix(family): path for path in alike}
            rest = asked.removeprefix(family).rstrip("/")
            near = rest if rest in rests else close_to(rest, rests) or None
            if near in rests:
                return f"did you mean {rests[near]}?"
            return f"there are {', '.join(alike[:_MOST_ALIKE])}{' and more' if alike[_MOST_ALIKE:] else ''}"
        if close := close_to(asked, paths):
            return f"did you mean {close}?"
    return f"there are {', '.join(dict.fromkeys(map(_family, paths)))}; / lists all paths"


_MOST_ALIKE = 8


def _family(path: str) -> str:
    """The first parts of a path, which name what it is about: ``/v1/jobs`` of ``/v1/jobs/{job_id}/tasks``."""
    return "/".join(path.split("/{")[0].split("/")[:3])


def _filled(path: str, asked: str) -> str:
    """A route's path with the parts of the one that was asked for in place of its variables."""
    given = asked.split("/")
    parts = path.split("/")
    return "/".join(given[n] if part.startswith("{") and n < len(given) else part for n, part in enumerate(parts))


@dataclass(frozen=True, slots=True)
class Form:
    """How the items of a stream are written."""

    media_type: str
    item: Callable[[bytes], bytes]
    error: Callable[[DoorError | Relayed], bytes]
    keepalive: bytes = b""


def error_body(error: DoorError | Relayed) -> dict[str, Any]:
    """``{"error": {code, message, errors}}``."""
    body = as_json(code_name(error.code), _text(error), error.errors)
    if error.retry_after:
        body["retry_after_ms"] = int(error.retry_after * 1000)
    return {"error": body}


def _error_json(error: DoorError | Relayed) -> bytes:
    return dumps(error_body(error))


def _text(error: DoorError | Relayed) -> str:
    return error.message if isinstance(error, DoorError) else error.details


LINES = Form("application/x-ndjson", lambda item: item + b"\n", lambda error: _error_json(error) + b"\n")
EVENTS = Form(
    "text/event-stream",
    lambda item: b"data: " + item + b"\n\n",
    lambda error: b"event: error\ndata: " + _error_json(error) + b"\n\n",
    b": still here\n\n",
)
TEXT = Form(
    "text/plain; charset=utf-8",
    lambda item: item,
    lambda error: f"\n[{code_name(error.code)}: {_text(error)}]\n".encode(),
)


def form_of(request: Request) -> Form:
    """JSON answers one a line, or as events when the client accepts ``text/event-stream``."""
    return EVENTS if "text/event-stream" in request.headers.get("accept", "") else LINES


async def stream_response(items: AsyncGenerator[bytes], form: Form, headers: Mapping[str, str]) -> Response:
    """A stream. What fails at once is raised, so that it becomes the status; what fails later is the last item."""
    first: asyncio.Future[bytes] = asyncio.ensure_future(anext(items))
    await asyncio.wait([first], timeout=FIRST_SECONDS)
    if first.done() and isinstance(first.exception(), DoorError | Relayed):
        first.result()
    shown = {**headers, "cache-control": "no-store"}
    return StreamingResponse(_written(items, first, form), 200, shown, media_type=form.media_type)


async def _written(items: AsyncGenerator[bytes], following: asyncio.Future[bytes], form: Form) -> AsyncIterator[bytes]:
    try:
        while True:
            while not (await asyncio.wait([following], timeout=KEEPALIVE_SECONDS))[0]:
                if form.keepalive:
                    yield form.keepalive
            try:
                item = following.result()
            except StopAsyncIteration:
                return
            except (DoorError, Relayed) as error:
                yield form.error(error)
                return
            yield form.item(item)
            following = asyncio.ensure_future(anext(items))
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await items.aclose()
