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
    """Run them until all have ended or one fails, whose error is raised; none is left running. One that ends cancelled,
    though nobody cancelled the whole, fails too (RuntimeError): the others would go on without its work, unnoticed."""
    tasks = [asyncio.create_task(work) for work in works]
    await _run(tasks, until=tasks)


async def run_beside(main: Coroutine[Any, Any, None], *works: Coroutine[Any, Any, None]) -> None:
    """Run them as `run_together` does, but only until `main` has ended."""
    tasks = [asyncio.create_task(work) for work in (main, *works)]
    await _run(tasks, until=tasks[:1])


async def _run(tasks: Collection[asyncio.Task[None]], until: Collection[asyncio.Task[None]]) -> None:
    pending = set(tasks)
    try:
        while not pending.isdisjoint(until):
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                if task.cancelled():
                    name = getattr(task.get_coro(), "__qualname__", task.get_name())
                    raise RuntimeError(f"{name} ended cancelled, and nobody asked for it")
                task.result()
    finally:
        await end_all(tasks)
