"""Requests that the model server does not know, passed on as they are to a program that it stands before."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx

from events.process.replica_keys import HEADER
from forgelog.serve.http_answers import Receive, Scope, Send
from forgelog.serve.problems import Fault, ServingError

_OWN = frozenset(
    {b"connection", b"keep-alive", b"transfer-encoding", b"te", b"trailer", b"upgrade", b"host", b"proxy-connection"}
) | {HEADER.encode()}
"""Headers of one connection only (RFC 9110, 7.6.1), and that which is the model server's own."""


class PassingOn:
    """An ASGI application that another server answers for."""

    def __init__(self, port: int, timeout: float) -> None:
        self._client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=timeout, trust_env=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        raw = scope.get("raw_path") or scope["path"].encode()
        url = httpx.URL(path=raw.decode("latin-1"), query=scope["query_string"] or None)
        headers = [(name, value) for name, value in scope["headers"] if name not in _OWN]
        has_body = any(name in (b"content-length", b"transfer-encoding") for name, _ in scope["headers"])
        request = self._client.build_request(
            scope["method"], url, headers=headers, content=_body(receive) if has_body else None
        )
        try:
            response = await self._client.send(request, stream=True)
        except httpx.TimeoutException:
            raise ServingError(Fault.TOO_LATE, "the deployment's program did not answer in time") from None
        except httpx.TransportError as error:
            raise ServingError(Fault.UNAVAILABLE, f"the deployment's program does not answer: {error}") from None
        try:
            kept = [(name, value) for name, value in response.headers.raw if name.lower() not in _OWN]
            await send({"type": "http.response.start", "status": response.status_code, "headers": kept})
            async for piece in response.aiter_raw():
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            await response.aclose()

    async def close(self) -> None:
        await self._client.aclose()


async def _body(receive: Receive) -> AsyncIterator[bytes]:
    while True:
        message = await receive()
        if piece := message.get("body", b""):
            yield piece
        if not message.get("more_body", False):
            return
