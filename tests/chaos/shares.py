"""Weights over many requests, and sessions while weights change, through a real Envoy.

    python -m tests.chaos.shares [--requests N] [--sessions N]

1. A tenth of N requests goes to a canary, within one percent of all.
2. Sessions are dealt by the same weights; then the weights change twice. None of them moves.

Prints both, and exits with 1 if it was not so.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import tempfile
from collections import deque
from pathlib import Path

from forgelog.embedded.ports import free_port
from tests.integration.router.rig import Rig, process, revision
from tests.integration.router.test_traffic import shares

AT_ONCE = 50
"""Connections."""
AWAY = 0.01
WEIGHT = 1_000


async def weighted(router: Rig, requests: int) -> float:
    """The canary's share."""
    found = 0
    async with process() as (_, old), process() as (_, new):
        table = router.table(revision(1, 10_000 - WEIGHT, old), revision(2, WEIGHT, new))
        await router.put(table)
        path, part, total = f"/serve/local/default/{table['name']}/", 20_000, 0
        while total < requests:
            came = await shares(router, path, min(part, requests - total))
            found, total = found + came["2"], total + came.total()
    return found / total


async def moved(router: Rig, sessions: int) -> int:
    """How many sessions changed their revision."""
    async with process() as (_, old), process() as (_, new):
        table = router.table(
            revision(1, 10_000 - WEIGHT, old), revision(2, WEIGHT, new), session={"enabled": True, "ttl_seconds": 3600}
        )
        await router.put(table)
        path = f"/serve/local/default/{table['name']}/"
        first = await asked(router, path, [""] * sessions)
        cookies = [cookie for _, cookie in first]
        changed = 0
        for weight in (5_000, 9_900):
            await router.put({**table, "revisions": [revision(1, 10_000 - weight, old), revision(2, weight, new)]})
            again = await asked(router, path, cookies)
            changed += sum(one[0] != other[0] for one, other in zip(first, again, strict=True))
    return changed


async def asked(router: Rig, path: str, cookies: list[str]) -> list[tuple[str, str]]:
    """The revision that answered each session, and its cookie."""
    found: dict[int, tuple[str, str]] = {}
    waiting = deque(enumerate(cookies))

    async def some() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", router.config.port)
        while waiting:
            number, cookie = waiting.popleft()
            writer.write(f"GET {path} HTTP/1.1\r\nhost: a\r\ncookie: {cookie}\r\n\r\n".encode())
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:])}
            await reader.readexactly(int(headers["content-length"]))
            found[number] = headers["x-forgelog-revision"], headers["set-cookie"].partition(";")[0]
        writer.close()

    await asyncio.gather(*(some() for _ in range(AT_ONCE)))
    return [found[number] for number in range(len(cookies))]


async def play(requests: int, sessions: int) -> bool:
    folder = Path(tempfile.mkdtemp(prefix="fl-shares-"))
    try:
        async with Rig(folder, free_port()).running() as router:
            share = await weighted(router, requests)
            print(f"{share:.3%} of {requests} requests to a revision with {WEIGHT / 100:g} %", flush=True)
            changed = await moved(router, sessions)
            print(f"{changed} of {sessions} sessions moved while weights changed twice", flush=True)
            return abs(share - WEIGHT / 10_000) <= AWAY and not changed
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.shares", description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--sessions", type=int, default=1_000)
    given = parser.parse_args()
    sys.exit(not asyncio.run(play(given.requests, given.sessions)))


if __name__ == "__main__":
    main()
