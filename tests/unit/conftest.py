"""The short tests come last, and none of them needs a platform."""

from __future__ import annotations

import sys

import pytest_asyncio


@pytest_asyncio.fixture(scope="package", autouse=True)
async def no_platform() -> None:
    """End the platform that a worker's modules have shared (`tests.integration.calm`): at rest, too, it takes a twelfth
    of a core."""
    if module := sys.modules.get("tests.integration.calm"):
        for calm in list(module.Calm.running):
            await calm.close()
