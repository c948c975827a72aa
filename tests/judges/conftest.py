"""One platform for all judges."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from events.language.resources import NodeRegistered
from tests.conftest import Servers, own_settings
from tests.integration.cluster import Cluster, cluster


@pytest_asyncio.fixture(scope="package")
async def platform(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    folder: Path = tmp_path_factory.mktemp("judges")
    async with own_settings(servers, folder) as settings, cluster(settings, folder, gateway=True) as platform:
        await platform.event(NodeRegistered)
        yield platform


@pytest_asyncio.fixture(scope="package")
async def http(platform: Cluster) -> AsyncIterator[httpx.AsyncClient]:
    async with platform.http() as client:
        yield client
