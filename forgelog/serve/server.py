"""The process: ports, the engine, and how both end.

1. Listen at once, and say that the replica is not ready.
2. Get the files, load the model in a thread, warm it up; then say that it is ready.
3. On SIGTERM or SIGINT say that it is not, end what was taken, and close.

A model or a script that is stuck ends the process with exit code 70: no thread can be ended otherwise.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import uvicorn

from events.language.deployments.endpoint_types import EndpointType
from events.process import exit_message
from forgelog.serve import http_protocol
from forgelog.serve.callers import Callers
from forgelog.serve.engine import Engine
from forgelog.serve.files import held_files
from forgelog.serve.graphql_door import make_graphql
from forgelog.serve.grpc_door import GrpcDoor
from forgelog.serve.http_answers import Receive, Scope, Send, answer_error, answer_json
from forgelog.serve.http_door import Application, HttpDoor
from forgelog.serve.passing_on import PassingOn
from forgelog.serve.problems import Fault, NotServableHere, ServingError
from forgelog.serve.runtimes import load_model
from forgelog.serve.runtimes.base import ModelFiles
from forgelog.serve.runtimes.command import CommandModel
from forgelog.serve.starting import Start
from forgelog.serve.websocket_door import WebSocketDoor

EXIT_STUCK = 70
"""EX_SOFTWARE of sysexits.h."""
EXIT_ENDED = 1
_STUCK_SECONDS = 1.0
"""How long other requests have to be answered when a model is stuck."""

logger = logging.getLogger("forgelog.serve")


async def serve(start: Start, release: str) -> int:
    """Until a signal, or until it can't go on. The exit code. Raises `NotServable`."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    with ExitStack() as stack:
        listening = [stack.enter_context(_listening(address, start.http_port)) for address in start.addresses]
        port = Ports()
        http = _Http(listening, start.spec.limits.max_body_bytes)
        await http.start()
        try:
            loading = asyncio.create_task(_load(start, stack, stopping, port))
            ended = asyncio.create_task(stopping.wait())
            await asyncio.wait([loading, ended], return_when=asyncio.FIRST_COMPLETED)
            if not loading.done():
                loading.cancel()  # a thread that loads ends with the process
                os._exit(0)
            engine, behind = loading.result()
            return await _serve_engine(engine, behind, start, release, http, stopping, port)
        finally:
            await http.close()


class Ports:
    """What the engine's failure leaves for the exit code."""

    code = 0


async def _load(
    start: Start, stack: ExitStack, stopping: asyncio.Event, port: Ports
) -> tuple[Engine, PassingOn | None]:
    spec = start.spec
    if (folder := start.folder) is None:
        folder = await asyncio.to_thread(stack.enter_context, held_files(spec.model.bundle))
    files = ModelFiles(folder, spec.model.file)
    model = await asyncio.to_thread(load_model, files, spec.runtime, spec.model)

    def failed(reason: str) -> None:
        _told_end(reason)
        port.code = EXIT_STUCK
        asyncio.get_running_loop().call_later(_STUCK_SECONDS, os._exit, EXIT_STUCK)

    engine = Engine(spec, model, failed, _labels(folder))
    behind = None
    if isinstance(model, CommandModel):
        behind = PassingOn(model.port, spec.limits.timeout_seconds)
        watching = asyncio.get_running_loop().run_in_executor(None, model.process.wait)

        def gone(_: object) -> None:
            if not stopping.is_set():
                _told_end(f"its program ended with exit code {model.process.returncode}")
                port.code = EXIT_ENDED
                stopping.set()

        watching.add_done_callback(gone)
    return engine, behind


async def _serve_engine(
    engine: Engine,
    behind: PassingOn | None,
    start: Start,
    release: str,
    http: _Http,
    stopping: asyncio.Event,
    port: Ports,
) -> int:
    kinds = engine.spec.endpoints
    websocket = WebSocketDoor(engine) if EndpointType.WEBSOCKET in kinds else None
    await engine.start()
    graphql = make_graphql(engine) if EndpointType.GRAPHQL in kinds else None
    callers = Callers(start.key, engine.spec.health.path, start.names)
    door = HttpDoor(engine, release, websocket=websocket, graphql=graphql, behind=behind, callers=callers)
    http.serve(door, door)
    grpc = None
    if EndpointType.GRPC in kinds:
        grpc = GrpcDoor(engine, release, callers)
        bound = start.grpc_port
        for address in start.addresses:
            bound = grpc.server.add_insecure_port(f"{_bracketed(address)}:{bound}")
        await grpc.start()
    ports = f"HTTP {http.port}" + (f", gRPC {bound}" if grpc is not None else "")
    print(f"{engine.spec.model.name} version {engine.version} is ready: {ports}", flush=True)
    await stopping.wait()
    print("stopping: requests that were taken are answered", flush=True)
    draining = asyncio.create_task(engine.drain())
    if grpc is not None:
        await grpc.stop(engine.spec.limits.drain_seconds)
    await draining
    if behind is not None:
        await behind.close()
    return port.code


class _Http:
    """The HTTP server, whose application comes when there is a model."""

    def __init__(self, sockets: list[socket.socket], most_bytes: int) -> None:
        self._application: Application = _starting
        self._protocol = http_protocol.new_protocol()
        self._sockets = sockets
        self.port = sockets[0].getsockname()[1]
        options = http_protocol.options(self._current, most_bytes, self._protocol)
        self._server = uvicorn.Server(uvicorn.Config(**options))

    def serve(self, application: Application, at_once: http_protocol.AtOnce) -> None:
        """From now on."""
        self._application = application
        self._protocol.at_once = at_once

    async def _current(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._application(scope, receive, send)

    async def start(self) -> None:
        self._server.config.load()
        self._server.lifespan = self._server.config.lifespan_class(self._server.config)
        await self._server.startup(sockets=self._sockets)
        self._loop = asyncio.create_task(self._server.main_loop())

    async def close(self) -> None:
        self._server.should_exit = True
        await self._loop
        await self._server.shutdown(sockets=self._sockets)


async def _starting(scope: Scope, receive: Receive, send: Send) -> None:
    """Before there is a model."""
    if scope["type"] == "http" and scope["path"] == "/v2/health/live":
        await answer_json(send, {"live": True})
    elif scope["type"] == "http":
        await answer_error(send, ServingError(Fault.UNAVAILABLE, "the replica takes no requests: it is starting"))
    else:
        await receive()
        await send({"type": "websocket.close", "code": 1013, "reason": "the replica is starting"})


@contextmanager
def _listening(address: str, port: int) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((address, port))
        found.listen(2048)
        found.setblocking(False)
    except OSError as error:
        found.close()
        raise NotServableHere(f"{_bracketed(address)}:{port} can't be listened on: {error.strerror}") from None
    with found:
        yield found


def _told_end(reason: str) -> None:
    logger.error("the replica ends: %s", reason)
    exit_message.leave(reason)


def _labels(folder: Path) -> list[str]:
    """Names of classes, one in a line of ``labels.txt``."""
    path = folder / "labels.txt"
    return path.read_text(errors="replace").splitlines() if path.is_file() else []


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address
