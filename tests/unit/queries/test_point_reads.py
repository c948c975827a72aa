"""Many callers' point reads share a query, and each gets its own answer, or the error."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from events.queries.queries import PointReads


class Read:
    """Stands for a `ReadModel` whose queries end when they are let."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.rows: dict[str, bytes] = {"a": b"1", "b": b"2"}
        self.error: Exception | None = None
        self.let = asyncio.Event()

    @asynccontextmanager
    async def view(self) -> AsyncIterator[Any]:
        yield self

    async def fetch(self, _sql: str, keys: list[str]) -> list[tuple[str, bytes]]:
        self.asked.append(sorted(keys))
        rows = [(key, self.rows[key]) for key in keys if key in self.rows]
        await self.let.wait()
        if self.error is not None:
            raise self.error
        return rows


async def test_callers_that_wait_share_the_next_query() -> None:
    read = Read()
    reads = PointReads(read, "sql")  # type: ignore[arg-type]
    first = asyncio.create_task(reads.get("a"))
    while not read.asked:
        await asyncio.sleep(0)
    later = [asyncio.create_task(reads.get(key)) for key in ("b", "a", "none", "b")]
    await asyncio.sleep(0)
    read.rows["a"] = b"newer"  # who asked after this is not answered by the query under way
    read.let.set()
    assert await first == b"1"
    assert await asyncio.gather(*later) == [b"2", b"newer", None, b"2"]
    assert read.asked == [["a"], ["a", "b", "none"]]


async def test_an_error_reaches_every_caller_and_the_next_query_is_asked_anew() -> None:
    read = Read()
    reads = PointReads(read, "sql")  # type: ignore[arg-type]
    read.error = OSError("gone")
    read.let.set()
    failed = await asyncio.gather(*(reads.get("a") for _ in range(3)), return_exceptions=True)
    assert [type(each) for each in failed] == [OSError] * 3
    read.error = None
    assert await reads.get("a") == b"1"


async def test_a_caller_that_goes_away_takes_nobody_along() -> None:
    read = Read()
    reads = PointReads(read, "sql")  # type: ignore[arg-type]
    gone, stays = asyncio.create_task(reads.get("a")), asyncio.create_task(reads.get("a"))
    while not read.asked:
        await asyncio.sleep(0)
    gone.cancel()
    read.let.set()
    assert await stays == b"1"
    with pytest.raises(asyncio.CancelledError):
        await gone
