"""``python -m forgelog.worker``: see the package."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys

import uvloop

from forgelog.errors import ForgelogError
from forgelog.worker import processes, starting
from forgelog.worker.process import NotStarted
from forgelog.worker.serving import serve
from forgelog.worker.watch import serving as watching


def main() -> int:
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")  # to stderr: stdout is the stages'
    processes.adopt_orphans()
    try:
        return uvloop.run(_until_told(starting.read()))
    except (starting.CantStart, NotStarted, ForgelogError) as problem:
        print(f"error: {problem}", file=sys.stderr, flush=True)
        return 1


async def _until_told(start: starting.Start) -> int:
    """Serve until SIGTERM, which the end of the job is."""
    serving = asyncio.ensure_future(watching.serve(start) if start.spec.watches else serve(start, os.dup(1)))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, serving.cancel)
    try:
        await serving
    except asyncio.CancelledError:
        return 0
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
