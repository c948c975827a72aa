"""A process of Python that another one keeps running, and that ends with it: by its standard input, which closes
however the other one ended."""

from __future__ import annotations

import asyncio
import logging
import sys

PAUSE_SECONDS = 1.0
LONGEST_PAUSE = 30.0
END_SECONDS = 5.0


async def keep(module: str, log: logging.Logger) -> None:
    """Run a module as a process, again whenever it ends, until cancelled; then end it."""
    pause = PAUSE_SECONDS
    while True:
        process = await asyncio.create_subprocess_exec(sys.executable, "-m", module, stdin=asyncio.subprocess.PIPE)
        log.info("%s runs as process %d", module, process.pid)
        try:
            code = await process.wait()
        finally:
            await _end(process)
        log.error("%s ended with %d; it is started again in %g s", module, code, pause)
        await asyncio.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)


async def until_left() -> None:
    """In the process that is kept: until the one that started it is gone, or closes its standard input."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.read()


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    assert process.stdin is not None
    process.stdin.close()
    try:
        async with asyncio.timeout(END_SECONDS):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
