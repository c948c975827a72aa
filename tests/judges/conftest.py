"""What the judges judge: the platform that modules share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest_asyncio

from tests.integration.calm import Calm
from tests.integration.cluster import Cluster


@pytest_asyncio.fixture(scope="module")
async def platform(calm: Calm) -> Cluster:
    return await calm.platform()


@pytest_asyncio.fixture(scope="module")
async def http(platform: Cluster) -> AsyncIterator[httpx.AsyncClient]:
    async with platform.http() as client:
        yield client
