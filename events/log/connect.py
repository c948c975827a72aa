"""Kafka clients that are stopped however their use ends, also when it is cancelled while they connect."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol, TypeVar


class Client(Protocol):
    """An aiokafka consumer or producer."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...


C = TypeVar("C", bound=Client)


async def start(client: Client) -> None:
    """Connect; what fails or is cancelled midway leaves no connection and no task behind."""
    try:
        await client.start()
    except BaseException:
        await client.stop()
        raise


@asynccontextmanager
async def connected(client: C) -> AsyncIterator[C]:
    """The client, connected within the block."""
    await start(client)
    try:
        yield client
    finally:
        await client.stop()
