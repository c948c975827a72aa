"""One router for all tests of this folder that leave it running. Without Envoy none of them runs."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from forgelog.embedded.ports import free_port

if TYPE_CHECKING:
    from tests.integration.router.rig import Rig


@pytest.fixture(scope="session", autouse=True)
def _envoy() -> None:
    pytest.importorskip("envoy.service.discovery.v3", reason="needs xds-protos (the extra serving)")
    from services.deployments.router.envoy import EnvoyError, find

    try:
        find("")
    except EnvoyError as error:
        pytest.skip(str(error))


@pytest_asyncio.fixture(scope="session")
async def router() -> AsyncIterator[Rig]:
    from tests.integration.router.rig import Rig

    folder = Path(tempfile.mkdtemp(prefix="router-"))  # short, for its sockets
    try:
        async with Rig(folder, free_port()).running() as rig:
            yield rig
    finally:
        shutil.rmtree(folder)
