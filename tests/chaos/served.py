"""Deployments among what users do, an attack on what serves one, and what must hold of them after every round.

Replicas are jobs without an end, so each deployment is terminated in the round that began it. They tell the witness of
their start, as all tasks do.
"""

from __future__ import annotations

import asyncio
import random
import signal
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Any

import httpx
import orjson
import psutil

from events.language.deployments.enums import DeploymentStatus
from events.language.deployments.events import (
    DeploymentStatusChanged,
    ReplicaEnded,
    ReplicaRequested,
    RevisionCreated,
    RoutingChanged,
)
from events.log.ids import named_id
from forgelog.client.aio import AsyncClient
from forgelog.errors import ForgelogError
from tests.chaos.arena import PATIENCE, Arena
from tests.chaos.checks import Log
from tests.chaos.workload import Workload
from tests.replica_server import WHO, answering

SERVER = answering(WHO)
SCRIPT = """
echo "start $FORGELOG_JOB $FORGELOG_TASK $FORGELOG_ATTEMPT" >> "$WITNESS/said"
exec python3 -S -c "$SERVER"
"""
REPLICAS = 2


def spec(load: Workload, number: int, replicas: int = REPLICAS) -> dict[str, Any]:
    variables = {"WITNESS": str(load.witness), "SERVER": SERVER, "NUMBER": str(number)}
    return {
        "command": "sh",
        "args": ["-c", SCRIPT],
        "environment": {"variables": variables},
        "resources": {"cpus": 0.05, "memory_bytes": 64 << 20},
        "replicas": replicas,
        "drain_seconds": 0,
    }


async def say(load: Workload, command: str, deployment: str, **body: Any) -> None:
    """A command of a deployment, straight to Kafka."""
    whole = {"deployment_id": deployment, **body}
    await load.publish(command, whole, key=deployment, id=load.new_id(), context="deployments")


async def begin(load: Workload) -> tuple[str, str]:
    """A new deployment's name and id."""
    name = f"served-{load.new_id()[:12]}"
    deployment = named_id(name)
    load.deployments.add(deployment)
    await say(load, "CreateDeployment", deployment, name=name, spec=spec(load, 0))
    return name, deployment


async def changing(load: Workload) -> None:
    """A user who rolls out, scales and ends a deployment, and waits for nothing in between."""
    _, deployment = await begin(load)
    await asyncio.sleep(load.random.uniform(0, 4))
    await say(load, "UpdateDeployment", deployment, spec=spec(load, 1))
    await asyncio.sleep(load.random.uniform(0, 4))
    await say(load, "ScaleDeployment", deployment, replicas=load.random.choice((0, 1, 3)))
    await asyncio.sleep(load.random.uniform(0, 4))
    await say(load, "TerminateDeployment", deployment)


# The attack


async def serving_killed(arena: Arena, load: Workload, chance: random.Random) -> str:
    """SIGKILL to replicas, the router, its Envoy, the service and an agent, amid a rollout; it is served then."""
    name, deployment = await begin(load)
    await running(arena, name, 1)
    killed = []
    await say(load, "UpdateDeployment", deployment, spec=spec(load, 1))
    for _ in range(chance.randint(3, 5)):
        victim = chance.choice(("replica", "replica", "router", "envoy", "deployments", "agent-0"))
        pids = await victims(arena, name, victim)
        for pid in pids:
            with suppress(psutil.NoSuchProcess):
                psutil.Process(pid).send_signal(signal.SIGKILL)
        killed.append(victim if pids else f"{victim} (that was not there)")
        await asyncio.sleep(chance.uniform(0.1, 2))
    await running(arena, name, 2)
    await say(load, "TerminateDeployment", deployment)
    return f"kill {', '.join(killed)} amid a rollout"


async def victims(arena: Arena, name: str, victim: str) -> list[int]:
    """Processes to kill."""
    if victim == "replica":
        answer = await answered(arena, name)
        return [int(answer.split()[1])] if answer else []
    if victim == "envoy":
        try:
            return [orjson.loads((arena.data / "routers" / "router-0" / "envoy.json").read_bytes())["pid"]]
        except OSError:
            return []
    return arena.pids(victim)


async def running(arena: Arena, name: str, revision: int) -> None:
    """Wait until the platform says that it runs as it is to, and the router answers with that revision."""

    async def there() -> bool:
        async with AsyncClient(arena.gateway, token=arena.platform.key) as client:
            row = await client.deployments.get(name)
        whole = (row.status, row.ready, row.revision, row.rollout_revision) == ("running", REPLICAS, revision, 0)
        return whole and (await answered(arena, name)).startswith(f"{revision} ")

    await _until(there, f"{name} does not serve revision {revision} from {REPLICAS} replicas")


async def answered(arena: Arena, name: str) -> str:
    """What a replica says through the router; empty for no such answer."""
    with suppress(httpx.HTTPError, OSError, ValueError):
        port = int((arena.data / "routers" / "port").read_text())
        async with httpx.AsyncClient(timeout=10, trust_env=False) as http:
            answer = await http.get(f"http://127.0.0.1:{port}/serve/local/default/{name}/")
        return answer.text if answer.status_code == 200 else ""
    return ""


async def _until(holds: Callable[[], Awaitable[bool]], otherwise: str) -> None:
    try:
        async with asyncio.timeout(PATIENCE):
            while True:
                with suppress(ForgelogError):
                    if await holds():
                        return
                await asyncio.sleep(0.3)
    except TimeoutError:
        raise AssertionError(f"{otherwise} after {PATIENCE:.0f} s") from None


# What must hold


def histories(log: Log) -> Iterator[str]:
    """Each deployment's history is complete and in order: revisions and tables of routes are counted from 1 without a
    gap, a table has all the weight or none and replicas that there are, and every replica that was asked for ended."""
    revisions: dict[str, int] = defaultdict(int)
    tables: dict[str, RoutingChanged] = {}
    replicas: dict[str, set[int]] = defaultdict(set)
    over = set[str]()
    for record in log.records:
        event = record.data
        if isinstance(event, RevisionCreated):
            if event.revision != revisions[event.deployment_id] + 1:
                yield f"{record.position}: revision {event.revision} after {revisions[event.deployment_id]}"
            revisions[event.deployment_id] = event.revision
        elif isinstance(event, ReplicaRequested):
            if event.replica in replicas[event.deployment_id]:
                yield f"{record.position}: replica {event.replica} of {event.deployment_id} was asked for twice"
            replicas[event.deployment_id].add(event.replica)
        elif isinstance(event, ReplicaEnded):
            if event.replica not in replicas[event.deployment_id]:
                yield f"{record.position}: replica {event.replica} of {event.deployment_id} ended twice, or never was"
            replicas[event.deployment_id].discard(event.replica)
        elif isinstance(event, RoutingChanged):
            yield from _of_table(event, tables.get(event.deployment_id), replicas[event.deployment_id])
            tables[event.deployment_id] = event
        elif isinstance(event, DeploymentStatusChanged):
            if event.deployment_id in over:
                yield f"{record.position}: {event.deployment_id} is {event.status} after its end"
            if event.status is DeploymentStatus.TERMINATED:
                over.add(event.deployment_id)
    for deployment in over:
        if replicas[deployment]:
            yield f"{deployment} is terminated; its replicas {sorted(replicas[deployment])} have not ended"
        if deployment not in tables or not tables[deployment].table.terminated:
            yield f"{deployment} is terminated; routers were not told"


def _of_table(event: RoutingChanged, before: RoutingChanged | None, replicas: set[int]) -> Iterator[str]:
    table, last = event.table, 0 if before is None else before.table.number
    if table.number != last + 1:
        yield f"{event.deployment_id} has table {table.number} after {last}"
    if (weight := sum(each.weight for each in table.revisions)) not in (0, 10_000):
        yield f"the weights of {event.deployment_id} in table {table.number} are {weight} together"
    named = {int(one.replica_id.rpartition(".")[2]) for each in table.revisions for one in each.replicas}
    if strangers := named - replicas:
        yield f"table {table.number} of {event.deployment_id} has replicas {sorted(strangers)} that there are not"
