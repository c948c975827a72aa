"""Points of runs are sent three times while the service that stores them is killed again and again: each is there once.

    python -m tests.chaos.points [--points N] [--runs N] [--every SECONDS] [--seed N]

1. A platform of its own, and some runs. Every batch of their points is sent three times: all of them in some disorder,
   and then all again, by callers that try again until the gateway has it.
2. Meanwhile, and until all is stored, the process that stores them is killed with -9, again and again: so many seconds
   after it serves, and a little later each time, so that it gets done on any machine. The gateway is killed each fifth
   time as well.
3. Then the runs end. Their seals have the number and the digest that follow from what was sent.
4. `forgelog rebuild experiments --streams` gives the same.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import grpc
import numpy as np
from blake3 import blake3

from bench.servers import servers
from events.process.settings import Settings
from events.streams.columns import Columns, digest, from_bytes, merge
from forgelog import AsyncClient
from forgelog.errors import ForgelogError
from forgelog_pb.experiments.v1.points_pb2 import PointBatch
from forgelog_pb.gateway.v1.points_pb2 import LogRequest, LogResponse
from tests.access import environment
from tests.integration.cluster import GATEWAY, Cluster, cluster

TIMES = 3
"""How often each batch is sent."""
BATCH = 5_000
DISORDER = 20
"""Places by which a batch may come too early or too late."""
SERIES = ("accuracy", "loss")
CALLERS = 8
LATER = 1.2
"""How much longer the service is left alone than the time before."""
LOG = "/forgelog.gateway.v1.Points/Log"
SERVICE = "experiments"
PATIENCE = 900.0
REBUILD_PATIENCE = 3_600.0
"""Seconds that the tables of all points may take to be built again, on a machine that does other things too."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Planned:
    """A batch, as it is sent and as it counts."""

    run: str
    request: bytes
    columns: dict[str, Columns]


def planned(run: str, count: int, seed: int) -> Iterator[Planned]:
    """So many points of a run, in batches. Steps rise and fall, some stand for several points, some values are no
    numbers."""
    chance = np.random.default_rng(seed)
    size = BATCH // len(SERIES)
    for first in range(0, count // len(SERIES), size):
        batch = PointBatch(run_id=run)
        columns = {}
        for key in SERIES:
            places = np.arange(first, min(first + size, count // len(SERIES)), dtype="<i8")
            steps = chance.permutation(places // 3)
            times = (1_778_301_120_000 + places).astype("<i8")
            values = chance.normal(size=len(places)).astype("<f8")
            values[::997] = np.nan
            data = steps.astype("<i8").tobytes(), times.tobytes(), values.tobytes()
            batch.series.add(key=key, steps=data[0], times=data[1], values=data[2])
            columns[key] = from_bytes(*data)
        yield Planned(run, LogRequest(batch=batch).SerializeToString(), columns)


def disordered(requests: list[bytes], seed: int) -> list[bytes]:
    """All of them, as often as they are sent."""
    chance = random.Random(seed)
    found: list[bytes] = []
    for _ in range(TIMES):
        places = {number: number + chance.uniform(0, DISORDER) for number in range(len(requests))}
        found += [requests[number] for number in sorted(places, key=places.__getitem__)]
    return found


def expected(batches: list[Planned]) -> tuple[int, str]:
    """Number and digest of a run's points, as a seal has them."""
    hashed, total = blake3(), 0
    for key in SERIES:
        points, found = digest([merge([each.columns[key] for each in batches])])
        hashed.update("\0".join((key, "", "", str(points), found.hex())).encode() + b"\n")
        total += points
    return total, hashed.hexdigest()


async def send(platform: Cluster, requests: Iterator[bytes], again: Counter[str]) -> list[str]:
    """One caller: each request, until it is answered. The positions of all."""
    positions = []
    async with platform.channel() as channel:
        call = channel.unary_unary(LOG)
        for request in requests:
            until = time.monotonic() + PATIENCE
            while True:
                try:
                    answer = LogResponse.FromString(await call(request, timeout=20.0))
                    positions.append(answer.position)
                    break
                except grpc.aio.AioRpcError as error:
                    if error.code() not in _AGAIN or time.monotonic() > until:
                        raise
                    again[error.code().name.lower()] += 1
                    await asyncio.sleep(0.1)
    return positions


_AGAIN = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.CANCELLED,
    }
)


async def kill(platform: Cluster, every: float, killed: Counter[str]) -> None:
    """The service, `every` seconds after it serves, and later each time; each fifth time the gateway first. Until
    cancelled."""
    while True:
        await asyncio.sleep(every * LATER ** killed[SERVICE])
        names = (GATEWAY, SERVICE) if killed[SERVICE] % 5 == 4 else (SERVICE,)
        for name in names:
            await asyncio.to_thread(platform.kill, name)
            killed[name] += 1
            platform.start(name)
        for name in names:
            await platform.healthy(name)


async def beside(killing: asyncio.Future[None], work: asyncio.Future[T]) -> T:
    """What comes of work that goes on while something is killed. Raises what ends either."""
    both: set[asyncio.Future[Any]] = {killing, work}
    await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    if killing.done():
        work.cancel()
        killing.result()
    return await work


async def stored(client: AsyncClient, runs: list[str]) -> None:
    """Returns when all that was sent is in the tables."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            await client.runs.metrics(runs)
            return
        except ForgelogError:
            if time.monotonic() > until:
                raise
        await asyncio.sleep(0.2)


async def sealed(client: AsyncClient, run: str) -> Any:
    """The seal of a run that has ended, once it is there."""
    until = time.monotonic() + PATIENCE
    while True:
        with suppress(ForgelogError):
            return (await client.seals.get(run)).seal.sealed
        if time.monotonic() > until:
            raise RuntimeError(f"{run} is not sealed")
        await asyncio.sleep(0.5)


async def story(settings: Settings, folder: Path, points: int, runs: int, every: float, seed: int) -> dict[str, Any]:
    """What came of it. Raises RuntimeError where something is lost, or there twice."""
    async with (
        cluster(settings, folder, nodes=0, gateway=True) as platform,
        AsyncClient(platform.gateway, token=platform.key) as client,
    ):
        names = [await client.runs.create("chaos") for _ in range(runs)]
        batches = {run: [*planned(run, points // runs, seed + number)] for number, run in enumerate(names)}
        wanted = {run: expected(own) for run, own in batches.items()}
        requests = disordered([each.request for turn in zip(*batches.values(), strict=True) for each in turn], seed)
        given, again, killed = iter(requests), Counter[str](), Counter[str]()
        began = time.monotonic()
        killing = asyncio.create_task(kill(platform, every, killed))
        try:
            sending = asyncio.gather(*(send(platform, given, again) for _ in range(CALLERS)))
            for positions in await beside(killing, sending):
                client._core.wrote(positions)
            sent = time.monotonic() - began
            await beside(killing, asyncio.ensure_future(stored(client, names)))
            kept = time.monotonic() - began
        finally:
            killing.cancel()
            await asyncio.gather(killing, return_exceptions=True)
        for name in (SERVICE, GATEWAY):
            with suppress(KeyError):
                platform.kill(name)
            platform.start(name)
            await platform.healthy(name)
        for run in names:
            await client.runs.end(run)
        told = {run: await sealed(client, run) for run in names}
        differ = [run for run in names if (told[run].points, told[run].digest) != wanted[run]]
        if differ:
            raise RuntimeError(f"{differ[0]}: wanted {wanted[differ[0]]}, sealed {told[differ[0]]}")
        began = time.monotonic()
        rebuilt = await _rebuilt(platform)
        took = time.monotonic() - began
        for run in names:
            answer = await client.seals.verify(run)
            if not answer.intact or answer.late_points:
                raise RuntimeError(f"{run} after the rebuild: {answer}")
        return {
            "points": sum(count for count, _ in wanted.values()),
            "sent": TIMES * points,
            "killed": dict(killed),
            "tried again": dict(again),
            "seconds until all were sent": round(sent, 1),
            "seconds until all were stored": round(kept, 1),
            "rebuilt": rebuilt,
            "seconds of the rebuild": round(took, 1),
            "digest": blake3("".join(told[run].digest for run in names).encode()).hexdigest(),
        }


async def _rebuilt(platform: Cluster) -> str:
    """What the command says that rebuilds the tables of points."""
    own = {
        **environment(platform.settings),
        "FORGELOG_PREFIX": platform.settings.prefix,
        "FORGELOG_SCHEMA": platform.settings.schema_,
        "FORGELOG_DATA": str(platform.folder),
    }
    words = ("rebuild", SERVICE, "--streams")
    done = await platform.command(platform.folder, *words, more=own, patience=REBUILD_PATIENCE)
    if done.returncode:
        raise RuntimeError(f"forgelog rebuild: {done.stderr}")
    return done.stdout.strip() or done.stderr.strip()


async def play(points: int, runs: int, every: float, seed: int) -> dict[str, Any]:
    folder = Path(tempfile.mkdtemp(prefix="forgelog-points-"))
    try:
        async with servers() as given:
            settings = Settings(**given, prefix="chaos.", schema_="chaospoints")
            return await story(settings, folder, points, runs, every, seed)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.points", description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=5_000_000)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--every", type=float, default=2.0, help="seconds that the service is left alone")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    told = asyncio.run(play(given.points, given.runs, given.every, given.seed))
    sys.stdout.write(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
