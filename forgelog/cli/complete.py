"""The shell's completion of ids: asks the platform, briefly, and offers nothing when it does not answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from forgelog.errors import ForgelogError

if TYPE_CHECKING:
    pass

SECONDS = 1.0
"""A shell that waits longer for its TAB feels broken."""


def ids(list_method: str, key: str, incomplete: str) -> list[str]:
    """The ids of a list (``jobs``, ``nodes``) that begin with what was typed."""

    async def work() -> list[str]:
        from forgelog.client.aio import AsyncClient

        async with AsyncClient(timeout=SECONDS) as client:
            method: Callable[..., Coroutine[Any, Any, Any]] = getattr(client, list_method)
            return [row[key] for row in await method(limit=1000) if row[key].startswith(incomplete)]

    try:
        return asyncio.run(work())
    except ForgelogError:
        return []  # no platform: there is nothing to complete, and a shell is no place for words
