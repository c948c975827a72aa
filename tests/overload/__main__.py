"""``make overload``: far more than the platform can do, for a minute, and a flood past the gateway; then the figures.

    python -m tests.overload [--seconds N] [--times N] [--flood N] [--output table|markdown]

Shows latency and memory over time, and exits with 1 when something was lost, grew, or needed help.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import shutil
import sys
import tempfile
from pathlib import Path

from forgelog.embedded.platform import Choice, Options, Platform
from tests.overload.rush import Target, play
from tests.overload.show import show


async def run(folder: Path, seconds: float, times: float, flood: int, markdown: bool) -> bool:
    platform = Platform(folder / "platform")
    await platform.up(Options(servers=Choice.EMBEDDED, agents=1))
    try:
        state = await platform.wait()
        settings = platform.settings.model_copy(update=state.servers)

        def pids() -> dict[str, int]:
            now = platform.state()
            return {child.name: child.pid for child in now.children if child.pid} if now is not None else {}

        target = Target(state.gateway, platform.key, settings, pids)
        found = await play(target, seconds=seconds, times=times, flooded=flood)
        show(found, markdown=markdown)
        return not found.problems
    finally:
        await platform.down()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.overload", description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--times", type=float, default=5, help="submits a second, as a multiple of the capacity")
    parser.add_argument("--flood", type=int, default=50_000, help="submits sent straight to Kafka afterwards")
    parser.add_argument("--output", choices=("table", "markdown"), default="table")
    asked = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    folder = Path(tempfile.mkdtemp(prefix="forgelog-overload-"))
    good = asyncio.run(run(folder, asked.seconds, asked.times, asked.flood, asked.output == "markdown"))
    if good:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        print(f"its folder stays: {folder}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
