"""Starts and stops Kafka clients without leaks, even if the caller is cancelled while they connect."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol, TypeVar


class Client(Protocol):
    """An aiokafka consumer or producer."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...


C = TypeVar("C", bound=Client)


async def start(client: Client) -> None:
    """Connect. A failure or a cancellation leaves no connection and no task behind."""
    try:
        await client.start()
    except BaseException:
        await stop(client)
        raise


async def stop(*clients: Client) -> None:
    """Disconnect all clients, even if one fails or the caller is cancelled meanwhile. (A client that is only half
    stopped requests metadata as long as the process lives.) Raises the first failure, or the cancellation."""
    ending = [asyncio.ensure_future(client.stop()) for client in clients]
    cancelled: asyncio.CancelledError | None = None
    while not all(end.done() for end in ending):
        try:
            await asyncio.wait(ending)
        except asyncio.CancelledError as error:
            cancelled = error
    failures = [failure for end in ending if not end.cancelled() and (failure := end.exception()) is not None]
    if cancelled is not None:
        raise cancelled
    if failures:
        raise failures[0]


@asynccontextmanager
async def connected(client: C) -> AsyncIterator[C]:
    """The client, connected within the block."""
    await start(client)
    try:
        yield client
    finally:
        await stop(client)
