"""Behind the gateway: whoever reaches a service's port without the platform's key is refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio

from events.log.topics import CONTEXTS
from events.runtime.callers import service_channel, services_key
from events.runtime.keys import new_api_key
from events.runtime.settings import Settings
from forgelog_pb.log.v1.queries_pb2 import GetStatusRequest
from forgelog_pb.log.v1.queries_pb2_grpc import LogQueriesStub
from tests.conftest import Servers, own_settings
from tests.integration.cluster import Cluster, cluster

pytestmark = pytest.mark.slow


@pytest_asyncio.fixture(scope="module")
async def platform(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    folder = tmp_path_factory.mktemp("doors")
    async with own_settings(servers, folder) as settings, cluster(settings, folder, gateway=True) as made:
        yield made


def own(platform: Cluster) -> Settings:
    """What the platform's own processes are told."""
    return platform.settings.model_copy(update={"data": Path(platform.folder)})


async def status(channel: grpc.aio.Channel, context: str) -> Any:
    return await LogQueriesStub(channel).GetStatus(GetStatusRequest(context=context), timeout=30)  # type: ignore[misc]


@pytest.mark.parametrize("context", CONTEXTS)
async def test_a_services_port_needs_the_platforms_key(platform: Cluster, context: str) -> None:
    for stranger in (
        grpc.aio.insecure_channel(platform.address(context)),
        service_channel(platform.address(context), new_api_key()),
    ):
        async with stranger:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await status(stranger, context)
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
        assert "key" in str(refused.value.details())
    async with service_channel(platform.address(context), services_key(own(platform))) as channel:
        assert (await status(channel, context)).ready
