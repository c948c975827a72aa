"""The checks of every HTTP request, for all methods and paths, before any handler. Knows only the two open paths.

1. `Host` is one of the gateway's own names; other names that point here are refused (DNS rebinding).
2. `Origin` is absent or the gateway's own, and `Sec-Fetch-Site` names no other site: browsers send both for web pages.
3. The key (`services.gateway.principal`).
4. JSON in a body: a web page can send other kinds to anyone without being asked (CORS "simple" requests).
5. Text in the path and the query: bytes that are no UTF-8 would all become U+FFFD, and so different names one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import unquote, unquote_to_bytes

import grpc
from starlette.requests import Request

from events.language.common import FieldError, shown
from services.gateway import metrics
from services.gateway.errors import DoorError
from services.gateway.hosts import HINT, NOT_OURS, Hosts
from services.gateway.http_answers import Refusal, error_response
from services.gateway.principal import Access, Principal

OPEN = frozenset({"/healthz", "/readyz"})
"""Paths that answer without a key, and then tell no more than yes or no."""

JSON_TYPES = ("application/json", "application/cloudevents+json", "application/cloudevents-batch+json")
"""What a body may be."""

_PRINCIPAL = "forgelog.principal"

Scope = MutableMapping[str, Any]
Application = Callable[[Scope, Any, Any], Awaitable[None]]


class Gate:
    """An ASGI application before another."""

    def __init__(
        self,
        application: Application,
        access: Access,
        hosts: Hosts,
        refusals: Callable[[str], Refusal] = lambda _: error_response,
    ) -> None:
        """`refusals`: how a refusal is written, by the path that was asked for."""
        self._refusals = refusals
        self._application = application
        self._access = access
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        try:
            self._check(scope)
        except DoorError as refusal:
            metrics.requests.labels("http", "(gate)", str(refusal.http_status)).inc()
            await self._refusals(scope["path"])(refusal)(scope, receive, send)
            return
        await self._application(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        given: dict[str, list[str]] = {}
        for name, value in scope["headers"]:
            given.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
        host = self._host(scope, given)
        for origin in given.get("origin", ()):
            if origin.lower() not in (f"http://{host}", f"https://{host}"):
                raise _foreign("origin", f"{shown(origin)} is another site")
        for site in given.get("sec-fetch-site", ()):
            if site.lower() not in ("same-origin", "none"):
                raise _foreign("sec-fetch-site", f"{shown(site)} tells of another site")
        scope[_PRINCIPAL] = self._principal(scope["path"], given.get("authorization", []))
        if scope["method"] == "POST":
            _check_type(given.get("content-type", []))
        _check_target(scope)

    def _host(self, scope: Scope, given: dict[str, list[str]]) -> str:
        """The name by which the gateway is called, lower-case. A target in absolute form names it too."""
        called = [each.lower() for each in given.get("host", ())]
        if not scope["path"].startswith("/") and scope["path"] != "*":  # as a proxy is asked (RFC 9112, section 3.2.2)
            _, _, rest = scope["raw_path"].partition(b"://")
            authority, _, path = rest.partition(b"/")
            called.append(unquote(authority).lower())
            scope["path"], scope["raw_path"] = unquote(b"/" + path), b"/" + path
        for each in called:
            if self._hosts.problem(each):
                raise _refused("host", f"{shown(each)} {NOT_OURS}", HINT)
        if len(set(called)) != 1:
            raise _refused("host", "names two" if called else "is missing", "name the gateway once")
        return called[0]

    def _principal(self, path: str, credentials: list[str]) -> Principal | None:
        """None for a stranger, who may ask for what is open. Raises DoorError."""
        if not credentials and path in OPEN:
            return None
        if len(credentials) > 1:
            raise DoorError.about("authorization", "is given twice", "give one key")
        return self._access.principal(credentials[0] if credentials else None)


def principal_of(request: Request) -> Principal:
    """Who sent a request to a path that is not open."""
    found = request.scope[_PRINCIPAL]
    assert isinstance(found, Principal)
    return found


def is_stranger(request: Request) -> bool:
    """Whether a request to an open path came without a key."""
    return request.scope[_PRINCIPAL] is None


def decoded(field: str, written: str | bytes) -> str:
    """What is written percent-encoded. Raises DoorError, naming the field, where that is not UTF-8."""
    try:
        return unquote_to_bytes(written).decode()
    except UnicodeDecodeError:
        shown_as = written if isinstance(written, str) else written.decode("latin-1")
        problem, hint = f"{shown(shown_as)} is not text", "percent-encode the bytes of its UTF-8 form"
        raise DoorError.about(field, problem, hint) from None


def _check_target(scope: Scope) -> None:
    if b"%" in (path := scope["raw_path"]):
        decoded("path", path)
    if b"%" in (query := scope["query_string"]):
        for pair in query.split(b"&"):
            name, _, value = pair.partition(b"=")
            decoded(decoded("query", name), value)


def _check_type(types: list[str]) -> None:
    kinds = [each.partition(";")[0].strip().lower() for each in types]
    if len(kinds) == 1 and kinds[0] in JSON_TYPES:
        return
    problem = f"is {shown(', '.join(types))}" if types else "is missing"
    hint = f"send {JSON_TYPES[0]}" + (" (curl: --json instead of -d)" if "x-www-form-urlencoded" in problem else "")
    raise DoorError(
        grpc.StatusCode.INVALID_ARGUMENT,
        f"content-type: {problem}; {hint}",
        [FieldError(field="content-type", problem=problem, hint=hint)],
        http_status=415,
        headers={"accept-post": ", ".join(JSON_TYPES)},
    )


def _foreign(field: str, problem: str) -> DoorError:
    return _refused(field, problem, "the gateway takes nothing from web pages; use a program")


def _refused(field: str, problem: str, hint: str) -> DoorError:
    error = FieldError(field=field, problem=problem, hint=hint)
    return DoorError(grpc.StatusCode.PERMISSION_DENIED, f"{field}: {problem}; {hint}", [error])
