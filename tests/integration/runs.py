"""Waiting for what becomes of runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

from forgelog import AsyncClient
from tests import PATIENCE


async def once(client: AsyncClient, run: str, so: Callable[[Any], bool]) -> Any:
    """The run as soon as it is so."""
    async with asyncio.timeout(PATIENCE), aclosing(client.runs.watch([run])) as rows:
        async for row in rows:
            if so(row):
                return row
    raise AssertionError("a watch has no end")


async def ended(client: AsyncClient, run: str) -> Any:
    return await once(client, run, lambda row: row["ended_at"] is not None)
