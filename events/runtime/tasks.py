"""Ending tasks for certain."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine
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
    await _run(works, lambda ended: len(ended) == len(works))


async def run_beside(main: Coroutine[Any, Any, None], *works: Coroutine[Any, Any, None]) -> None:
    """Run them as `run_together` does, but only until `main` has ended."""
    await _run((main, *works), lambda ended: 0 in ended)


async def _run(works: Collection[Coroutine[Any, Any, None]], enough: Callable[[Collection[int]], bool]) -> None:
    """`enough`: told which have ended, by their number."""
    tasks = {asyncio.create_task(work): number for number, work in enumerate(works)}
    names = [getattr(work, "__qualname__", "work") for work in works]
    ended: set[int] = set()
    try:
        while not enough(ended):
            left = [task for task, number in tasks.items() if number not in ended]
            done, _ = await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                if task.cancelled():
                    raise RuntimeError(f"{names[tasks[task]]} ended cancelled, and nobody asked for it")
                task.result()
                ended.add(tasks[task])
    finally:
        await end_all(tasks.keys())
