"""Kafka clients are stopped however their use ends: one that is left over fills the log for as long as it lives."""

from __future__ import annotations

import asyncio

import pytest

from events.log.connect import connected, start, stop


class Client:
    """Takes a while to stop."""

    def __init__(self, fails: Exception | None = None) -> None:
        self.fails = fails
        self.may_stop = asyncio.Event()
        self.stopping = asyncio.Event()
        self.stopped = False

    async def start(self) -> None:
        if self.fails is not None:
            raise self.fails

    async def stop(self) -> None:
        self.stopping.set()
        await self.may_stop.wait()
        self.stopped = True


class Unstoppable(Client):
    async def stop(self) -> None:
        raise OSError("broken")


async def test_a_stop_that_is_cancelled_comes_to_its_end() -> None:
    client = Client()
    use = asyncio.create_task(stop(client))
    await client.stopping.wait()
    for _ in range(2):
        use.cancel()
        await asyncio.sleep(0)
        assert not use.done()
    client.may_stop.set()
    with pytest.raises(asyncio.CancelledError):
        await use
    assert client.stopped


async def test_all_are_stopped_though_one_fails() -> None:
    client = Client()
    client.may_stop.set()
    with pytest.raises(OSError, match="broken"):
        await stop(Unstoppable(), client)
    assert client.stopped


async def test_one_that_can_not_start_is_stopped() -> None:
    client = Client(OSError("no broker"))
    client.may_stop.set()
    with pytest.raises(OSError, match="no broker"):
        await start(client)
    assert client.stopped


async def test_a_use_that_is_cancelled_twice_stops_its_client() -> None:
    client = Client()

    async def use() -> None:
        async with connected(client):
            await asyncio.Event().wait()

    using = asyncio.create_task(use())
    await asyncio.sleep(0)
    using.cancel()
    await client.stopping.wait()
    using.cancel()
    client.may_stop.set()
    with pytest.raises(asyncio.CancelledError):
        await using
    assert client.stopped
