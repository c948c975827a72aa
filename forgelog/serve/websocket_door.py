"""The Open Inference Protocol v2 over WebSockets: each message is a request as JSON, each answer a message.

Requests of a connection are answered in their order. With the parameter ``stream`` a model's parts come as messages of
their own, and the last of them says ``final``. What is wrong with a request is an answer with its ``id`` and ``error``;
the connection goes on.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any

import orjson
from starlette.websockets import WebSocket, WebSocketDisconnect

from forgelog.serve import rest
from forgelog.serve.engine import Engine
from forgelog.serve.http_answers import Receive, Scope, Send
from forgelog.serve.problems import ServingError, invalid


class WebSocketDoor:
    """An ASGI application for the paths of a model's infer."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        socket = WebSocket(scope, receive, send)
        await socket.accept()
        version = self._engine.version if "/versions/" in scope["path"] else ""
        try:
            while True:
                message = await socket.receive()
                if message["type"] == "websocket.disconnect":
                    return
                text = message.get("text")
                given = message.get("bytes") if text is None else text.encode()
                async with aclosing(self._answers(given or b"", version)) as answers:  # type: ignore[type-var]
                    async for answer in answers:
                        await socket.send_text(answer.decode())
        except WebSocketDisconnect:
            return

    async def _answers(self, given: bytes, version: str) -> AsyncIterator[bytes]:
        id: Any = ""
        try:
            body = rest.read_json(given)
            id = body.get("id", "")
            asked = self._asked(body, version)
            if not asked.request.parameters.get("stream"):
                yield rest.write_answer(self._engine, asked, await self._engine.infer(asked.request))[0]
                return
            async with aclosing(self._engine.stream(asked.request)) as answers:  # type: ignore[type-var]
                async for answer in answers:
                    yield rest.write_answer(self._engine, asked, answer)[0]
            yield orjson.dumps({"id": id, "final": True})
        except ServingError as error:
            told = {"error": error.message, "code": error.fault.code.lower()}
            yield orjson.dumps({"id": id, **told} if isinstance(id, str) else told)

    def _asked(self, body: Mapping[str, Any], version: str) -> rest.Asked:
        model = body.get("model_name", self._engine.spec.model.name)
        if not isinstance(model, str):
            raise invalid("model_name should be a text")
        asked = rest.request_of(self._engine, body, memoryview(b""), "websocket", model, version)
        if asked.binary or any(each.binary for each in asked.wanted):
            raise invalid("messages are JSON; ask for no binary_data here, or by HTTP")
        return asked
