"""The raw limit of starting processes, in a fresh small process: forking a large one takes ten times as long.

python -m bench.spawn COUNT prints two numbers: processes a second, and milliseconds until one runs (median).
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import time

import uvloop


async def rate(count: int) -> float:
    """Processes a second of `asyncio.create_subprocess_exec`, as many at once as there are CPUs, twice."""
    at_once = asyncio.Semaphore(2 * (os.cpu_count() or 1))

    async def one() -> None:
        async with at_once:
            process = await asyncio.create_subprocess_exec("true")
            await process.wait()

    began = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(count)))
    return count / (time.perf_counter() - began)


async def start() -> float:
    """Milliseconds of one bare spawn, until the child runs."""
    taken = []
    for _ in range(30):
        began = time.perf_counter()
        process = await asyncio.create_subprocess_exec("true")
        taken.append((time.perf_counter() - began) * 1000)
        await process.wait()
    return statistics.median(taken)


async def main(count: int) -> None:
    print(await rate(count), await start())


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
