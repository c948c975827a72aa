"""One platform for all judges."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from events.language.resources import NodeRegistered
from events.runtime.keys import OWNER, key_path, read_key
from tests import PATIENCE
from tests.conftest import Servers, own_settings
from tests.integration.cluster import Cluster, cluster


@pytest_asyncio.fixture(scope="package")
async def platform(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    folder: Path = tmp_path_factory.mktemp("judges")
    async with own_settings(servers, folder) as settings, cluster(settings, folder, gateway=True) as platform:
        await platform.event(NodeRegistered)
        yield platform


@pytest.fixture(scope="package")
def bearer(platform: Cluster) -> dict[str, str]:
    """The header that opens the gateway."""
    owner = key_path(platform.folder, OWNER)
    return {"authorization": f"Bearer {read_key(owner)}"} if owner.exists() else {}


@pytest_asyncio.fixture(scope="package")
async def http(platform: Cluster, bearer: dict[str, str]) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"http://{platform.gateway}", headers=bearer, timeout=PATIENCE) as client:
        yield client
