"""A program logs to a run while its platform goes down, and is killed before that is up: each point is there once.

    python -m tests.chaos.tracking [--points N] [--away SECONDS]

1. A platform of its own, by `forgelog up`, and a program that logs half of its points.
2. `forgelog down`. The program logs the other half, for most of the time for which the platform stays away, and then
   kills its sender and itself with -9.
3. `forgelog up`, and `forgelog runs sync`.
4. The platform has all points, each once, and the run is killed. What a call of `log` took is told.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from forgelog import AsyncClient

FORGELOG = (sys.executable, "-c", "from forgelog.cli import main; main()")
PATIENCE = 600.0

_PROGRAM = """
import json, os, signal, sys, time
from pathlib import Path
import forgelog

points, seconds, folder = int(sys.argv[1]), float(sys.argv[2]), Path(sys.argv[3])
run = forgelog.run("chaos")
taken = []

def log(first, last, over):
    began = time.monotonic()
    for step in range(first, last):
        at = time.perf_counter_ns()
        run.log(loss=step, step=step)
        taken.append(time.perf_counter_ns() - at)
        if step % 1000 == 0:  # spread over the time
            time.sleep(max(0.0, began + over * (step - first) / (last - first) - time.monotonic()))

log(0, points // 2, 1.0)
(folder / "half").touch()
while not (folder / "down").exists():
    time.sleep(0.05)
log(points // 2, points, seconds)
taken.sort()
told = {"run": run.id, "dropped": run.dropped, "mean": sum(taken) / points / 1000, "most": taken[-1] / 1000,
        "median": taken[points // 2] / 1000, "p99": taken[points * 99 // 100] / 1000}
(folder / "told").write_text(json.dumps(told))
os.kill(run._sender._process.pid, signal.SIGKILL)
os.kill(os.getpid(), signal.SIGKILL)
"""


async def story(points: int, away: float) -> dict[str, object]:
    """What came of it. Raises RuntimeError where something is lost or there twice."""
    folder = Path(tempfile.mkdtemp(prefix="forgelog-tracking-"))
    environment = {**os.environ, "FORGELOG_DATA": str(folder / "data")}
    for name in ("FORGELOG_GATEWAY", "FORGELOG_TOKEN", "FORGELOG_TOKEN_FILE", "FORGELOG_SPOOL"):
        environment.pop(name, None)

    def forgelog(*words: str) -> str:
        done = subprocess.run([*FORGELOG, *words], env=environment, capture_output=True, text=True, timeout=PATIENCE)
        if done.returncode:
            raise RuntimeError(f"forgelog {' '.join(words)}: {done.stderr}")
        return done.stderr

    try:
        await asyncio.to_thread(forgelog, "up")
        command = [sys.executable, "-W", "ignore", "-c", _PROGRAM, str(points), str(away * 0.8), str(folder)]
        program = await asyncio.to_thread(subprocess.Popen, command, env=environment)
        try:
            await _until(lambda: (folder / "half").exists(), program)
            await asyncio.to_thread(forgelog, "down")
            down = time.monotonic()
            (folder / "down").touch()
            await asyncio.to_thread(program.wait, PATIENCE)
        finally:
            program.kill()
        if program.returncode != -signal.SIGKILL:
            raise RuntimeError(f"the program ended with {program.returncode}")
        told: dict[str, object] = json.loads((folder / "told").read_text())
        await asyncio.sleep(max(0.0, down + away - time.monotonic()))
        told["away"] = time.monotonic() - down
        await asyncio.to_thread(forgelog, "up")
        began = time.monotonic()
        told["synced"] = (await asyncio.to_thread(forgelog, "runs", "sync")).strip()
        told["seconds"] = time.monotonic() - began
        os.environ["FORGELOG_DATA"] = str(folder / "data")
        async with AsyncClient() as client:
            told["stored"] = await _stored(client, str(told["run"]), points)
            told["status"] = (await client.runs.get(str(told["run"])))["status"]
        if told["status"] != "killed":
            raise RuntimeError(f"the run is {told['status']}")
        return told
    finally:
        await asyncio.to_thread(forgelog, "down")
        shutil.rmtree(folder, ignore_errors=True)


async def _stored(client: AsyncClient, run: str, points: int) -> int:
    """Points of the run, once they are as many; each has a step of its own, so each is there once."""
    until = time.monotonic() + PATIENCE
    while True:
        rows = await client.runs.metrics([run])
        count = rows[0]["count"] if rows else 0
        if count >= points or time.monotonic() > until:
            break
        await asyncio.sleep(0.5)
    found = (count, rows[0]["first_step"], rows[0]["step"], rows[0]["min"], rows[0]["max"]) if rows else ()
    if found != (points, 0, points - 1, 0.0, points - 1.0):
        raise RuntimeError(f"{points} points were logged, and there are {found}")
    return int(count)


async def _until(so: Callable[[], bool], program: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + PATIENCE
    while not so():
        if program.poll() is not None or time.monotonic() > until:
            raise RuntimeError(f"the program ended with {program.poll()}, or takes too long")
        await asyncio.sleep(0.05)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.tracking", description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=1_000_000)
    parser.add_argument("--away", type=float, default=60.0, help="seconds for which the platform is down")
    given = parser.parse_args()
    told = asyncio.run(story(given.points, given.away))
    print(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()
