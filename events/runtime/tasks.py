"""Ending tasks for certain."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine
from typing import Any

_AGAIN_SECONDS = 1.0


async def end_all(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancel tasks and return when all have ended, however they end.

    One cancellation is not enough: `asyncio.wait_for` before Python 3.12, which Kafka's client uses, loses one that
    comes in the moment its work is done (https://github.com/python/cpython/issues/86296).
    """
    pending = {task for task in tasks if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_AGAIN_SECONDS)


async def run_together(*works: Coroutine[Any, Any, None]) -> None:
    """Run them until all have ended or one fails, whose error is raised; none is left running."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()
    finally:
        await end_all(tasks)
