"""Waits for the seal of a run's points."""

from __future__ import annotations

import asyncio
from typing import Any

from forgelog import AsyncClient, NotFound
from tests import PATIENCE


async def sealed(client: AsyncClient, run: str) -> Any:
    """The seal of a run that has ended, verified, as soon as there is one."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                return await client.seals.verify(run)
            except NotFound:
                await asyncio.sleep(0.1)
