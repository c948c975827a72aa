"""What stands between Optuna's own client, which can't say who it is, and a platform's gateway.

Each call is passed on as it is, with the key, the project, and an id by which a repeat is known: so a call that the
gateway could not answer, since it was being restarted, is sent again and takes effect once. It listens on this machine
alone, since whoever reaches it acts with that key on that project's studies. Must not know what the calls say.
"""

from __future__ import annotations

import asyncio
import time
from types import TracebackType
from typing import Any

import grpc
import grpc.aio

from events.process.channels import client_options, server_options
from events.process.front_door import open_channel
from forgelog.client.keyed import KeyedChannel
from forgelog.command_ids import new_id
from forgelog.errors import InvalidInput, Unavailable

SERVICE = "/optuna.StorageService/"

PATIENCE = 60.0
"""Seconds for which a call is tried again while the gateway is away."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0


class OptunaProxy(grpc.GenericRpcHandler):  # type: ignore[type-arg]
    """An async context manager; listens while it is open."""

    def __init__(self, gateway: str, key: str, project: str = "", port: int = 0) -> None:
        """`gateway`: its `normalized` address. `project`: ``organization/project``; empty: the default one. `port`: 0
        takes one that is free."""
        try:
            channel = open_channel(gateway, client_options(-1))
        except ValueError as error:
            raise InvalidInput(str(error)) from None
        self._channel = KeyedChannel(channel, key)
        self._given = (("forgelog-project", project),) if project else ()
        self._server = grpc.aio.server(options=server_options(most_received=-1, most_sent=-1))
        self._server.add_generic_rpc_handlers((self,))
        self.port = port
        """Where it listens, once it is open."""

    async def __aenter__(self) -> OptunaProxy:
        try:
            self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        except RuntimeError:
            await self._channel.close(None)
            raise Unavailable(f"can't listen on port {self.port}: it is taken; give another with --port") from None
        await self._server.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._server.stop(1.0)
        await self._channel.close(None)

    async def lasting(self) -> None:
        """Wait without an end."""
        await self._server.wait_for_termination()

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        if not details.method.startswith(SERVICE):
            return None
        method = self._channel.unary_unary(details.method)

        async def pass_on(request: bytes, context: Any) -> bytes:
            metadata = (*self._given, ("forgelog-command-id", new_id()))
            until, pause = time.monotonic() + PATIENCE, _FIRST_PAUSE
            while True:
                try:
                    return bytes(await method(request, metadata=metadata))
                except grpc.aio.AioRpcError as error:
                    if error.code() is not grpc.StatusCode.UNAVAILABLE or time.monotonic() > until:
                        details = tuple(error.trailing_metadata() or ())
                        await context.abort(error.code(), error.details() or "", details)
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)

        return grpc.unary_unary_rpc_method_handler(pass_on)
