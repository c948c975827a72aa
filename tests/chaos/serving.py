"""A deployment is asked without a pause while what serves it is killed, hung, rolled out and taken away.

    python -m tests.chaos.serving [--down SECONDS] [--rate REQUESTS]

1. A platform of its own, a model in two replicas, and two routers at one port.
2. Requests go on at a steady rate, whatever is answered. Meanwhile, one after the other: a replica is killed, and one
   is hung; the model is rolled out by each strategy, and undone; companions are killed and routers are restarted; Kafka
   and Postgres stand still, and a replica is killed meanwhile; an Envoy is killed.
3. No request may fail but those that were in flight on the Envoy that was killed, and those of the replica that hangs
   are answered by the other one within seconds.
4. 200 requests come to a deployment without a replica: all are answered, and one decision brought the replica.

Prints what came of each, and exits with 1 if it was not so.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import orjson
import psutil

from bench.servers import servers
from events.language.deployments.steering import ScalingDecided
from events.language.jobs import JobStarted
from events.process.settings import Settings
from forgelog import AsyncClient
from forgelog.embedded.ports import free_port
from tests.integration.cluster import Cluster, cluster
from tests.serving.processes import digits, write_digits_model

NAME, SLEEPER = "chaos-digits", "chaos-sleeper"
CALM_SECONDS = 3.0
"""How long requests go on after each step."""
PATIENCE = 300.0
MANY = 200
"""Requests at zero replicas."""
LONGEST_HUNG = 12.0
"""Seconds in which the requests of a replica that hangs are answered by another one: two probes of 2 s, 1 s of grace,
and a machine on which all this runs."""

Step = Callable[[], Awaitable[object]]


@dataclass(slots=True)
class Came:
    """What came of the requests that were sent during one step."""

    requests: int = 0
    problems: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    allowed: int = 0
    """How many may fail."""

    @property
    def failed(self) -> int:
        return self.problems.total()

    def told(self) -> str:
        why = "".join(f", {count} x {problem}" for problem, count in self.problems.items())
        return f"{self.requests} requests, {self.failed} failed{why}; the slowest took {self.slowest:.2f} s"


class Load:
    """Asks at a steady rate. Each request counts for the step in which it was sent."""

    def __init__(self, url: str, rate: float) -> None:
        pixels, _ = digits()
        tensor = {"name": "x", "datatype": "FP32", "shape": [1, 64], "data": pixels[0].tolist()}
        self._content = orjson.dumps({"inputs": [tensor], "outputs": [{"name": "label"}]})
        self._url, self._rate = url, rate
        self.steps: dict[str, Came] = {}
        self._in_flight: dict[int, Came] = {}
        """By number: for which step each counts that is not answered."""
        self._sent = count()
        self.stopped = False
        self._now = Came()

    def begin(self, step: str) -> Came:
        self._now = self.steps[step] = Came()
        return self._now

    def may_fail(self) -> None:
        """What is in flight may fail, and counts for the present step, whenever it was sent."""
        self._now.allowed = len(self._in_flight)
        self._in_flight = dict.fromkeys(self._in_flight, self._now)

    async def run(self) -> None:
        """Until `stopped`; what was sent is awaited."""
        async with new_client() as http, asyncio.TaskGroup() as asking:
            due = time.monotonic()
            while not self.stopped:
                asking.create_task(self._ask(http, self._now))
                due += 1 / self._rate
                await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def _ask(self, http: httpx.AsyncClient, came: Came) -> None:
        began, number, problems = time.monotonic(), next(self._sent), Counter[str]()
        came.requests += 1
        self._in_flight[number] = came
        try:
            await ask(http, self._url, self._content, problems)
        finally:
            came = self._in_flight.pop(number)
            came.problems += problems
            came.slowest = max(came.slowest, time.monotonic() - began)

    async def at_once(self, url: str, requests: int) -> Came:
        """So many requests at the same time."""
        came = Came(requests=requests)
        async with new_client() as http:
            await asyncio.gather(*(ask(http, url, self._content, came.problems) for _ in range(requests)))
        return came


def new_client() -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=32)
    return httpx.AsyncClient(timeout=PATIENCE, trust_env=False, limits=limits)


async def ask(http: httpx.AsyncClient, url: str, content: bytes, problems: Counter[str]) -> None:
    """One request; what is wrong with its answer is counted."""
    try:
        answer = await http.post(url, content=content, headers={"content-type": "application/json"})
    except httpx.TransportError as error:
        problems[type(error).__name__] += 1
        return
    if answer.status_code != 200:
        problems[f"{answer.status_code} {answer.text[:120]}"] += 1


class Story:
    """What is done to a platform that serves."""

    def __init__(self, platform: Cluster, client: AsyncClient, port: int, folder: Path) -> None:
        self.platform, self.client = platform, client
        self.port, self.folder = port, folder

    @property
    def routers(self) -> tuple[str, str]:
        return "router-a", "router-b"

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.port}/v2/models/{name}/infer"

    # Routers

    def start_router(self, name: str) -> None:
        told = self.platform._told("deployments") | {
            "FORGELOG_LISTEN": "127.0.0.1:0",
            "FORGELOG_ROUTER_LISTEN": f"127.0.0.1:{self.port}",
            "FORGELOG_ROUTER_FOLDER": str(self.folder / name),
            "FORGELOG_ROUTER_NAME": name,
            "FORGELOG_ROUTER_SHARE": "2",
            "FORGELOG_ROUTER_THREADS": "1",
        }
        self.platform._run(name, "services.deployments.router", told)

    def envoy(self, router: str) -> psutil.Process:
        return psutil.Process(orjson.loads((self.folder / router / "envoy.json").read_bytes())["pid"])

    async def companions_killed(self) -> None:
        for name in self.routers:
            self.platform.kill(name)
        await asyncio.sleep(CALM_SECONDS)
        for name in self.routers:
            self.start_router(name)

    async def routers_restarted(self) -> None:
        for name in self.routers:
            await asyncio.to_thread(self.platform.end, name)
            self.start_router(name)
            await self.listening(2)

    async def listening(self, count: int) -> None:
        """Wait until so many Envoys listen at the port."""
        async with asyncio.timeout(PATIENCE):
            while True:
                listening = (each for each in psutil.net_connections("tcp4") if each.status == psutil.CONN_LISTEN)
                if len({each.pid for each in listening if each.laddr[1:] == (self.port,)}) >= count:
                    return
                await asyncio.sleep(0.1)

    # Replicas

    async def replica(self) -> psutil.Process:
        """The process of one that is ready."""
        ready = [each for each in await self.client.deployments.replicas(NAME) if each.status == "ready"]
        job = ready[0].job_id
        starts = [record.data for record in self.platform.seen if isinstance(record.data, JobStarted)]
        return psutil.Process(next(start.tasks[0].pid for start in reversed(starts) if start.job_id == job))

    async def replica_killed(self) -> None:
        (await self.replica()).kill()

    async def replica_hung(self) -> None:
        hung = await self.replica()
        hung.suspend()
        async with asyncio.timeout(PATIENCE):
            while hung.is_running() and hung.status() != psutil.STATUS_ZOMBIE:  # until its node's agent ends it
                await asyncio.sleep(0.2)

    async def settled(self) -> None:
        """Wait until its newest revision is in place, and has the replicas that it is to have."""
        await self.client.deployments.wait(NAME, timeout=PATIENCE)
        async with asyncio.timeout(PATIENCE):
            while True:
                row = await self.client.deployments.get(NAME)
                if row.status == "running" and row.ready == row.wanted and not row.rollout_revision:
                    return
                await asyncio.sleep(0.2)

    # Rollouts

    async def rolled_out(self, strategy: str, number: int) -> None:
        await self.client.deployments.deploy(NAME, spec(strategy, number))
        if strategy == "canary":
            await self.client.deployments.wait(NAME, timeout=PATIENCE)
            await asyncio.sleep(CALM_SECONDS)
        if strategy != "rolling":
            async with asyncio.timeout(PATIENCE):
                while (await self.client.deployments.get(NAME)).ready < (4 if strategy == "blue_green" else 3):
                    await asyncio.sleep(0.2)
            await self.client.deployments.promote_rollout(NAME, whole=True)
            if strategy == "blue_green" and (await self.client.deployments.get(NAME)).rollout_revision:
                await asyncio.sleep(CALM_SECONDS)
                await self.client.deployments.promote_rollout(NAME)

    # Servers

    async def servers_down(self, seconds: float) -> None:
        """Kafka and Postgres stand still; a replica is killed meanwhile."""
        victim = await self.replica()
        with still([*of_servers()]):
            await asyncio.sleep(seconds / 4)
            victim.kill()
            await asyncio.sleep(seconds * 3 / 4)


def of_servers() -> Iterator[psutil.Process]:
    """The broker and the database that this process started, with their own."""
    for child in psutil.Process().children():
        if child.name().startswith(("java", "postgres")):
            yield child
            yield from child.children(recursive=True)


@contextmanager
def still(processes: list[psutil.Process]) -> Iterator[None]:
    """They do not run."""
    if not processes:
        raise RuntimeError("Kafka and Postgres were given; start without FORGELOG_TEST_KAFKA to have them stopped")
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            process.resume()


def spec(strategy: str = "rolling", number: int = 0) -> dict[str, Any]:
    return {
        "model": {"name": NAME},
        "replicas": 2,
        "resources": {"cpus": 0.1, "memory_bytes": 300 << 20},
        "environment": {"variables": {"ROUND": str(number)}},
        "rollout": {"strategy": strategy, "canary": {"steps": [50], "interval_seconds": 600}},
        "drain_seconds": 10,
    }


@asynccontextmanager
async def served(settings: Settings, folder: Path) -> AsyncIterator[Story]:
    """A platform with two replicas and two routers, all of which serve."""
    async with AsyncExitStack() as stack:
        platform = await stack.enter_async_context(cluster(settings, folder / "platform", gateway=True))
        client = await stack.enter_async_context(AsyncClient(platform.gateway, token=platform.key))
        story = Story(platform, client, free_port(), folder)
        for name in story.routers:
            stack.callback(end_envoy, story, name)
        write_digits_model(folder / "model")
        await client.models.register(NAME)
        await client.models.create_version(NAME, folder=folder / "model", model_format="onnx")
        await client.deployments.create(NAME, spec())
        for name in story.routers:
            story.start_router(name)
        await client.deployments.wait(NAME, timeout=PATIENCE)
        await story.listening(2)
        yield story


def end_envoy(story: Story, router: str) -> None:
    with suppress(OSError, psutil.NoSuchProcess):  # it ended with its router
        story.envoy(router).kill()


async def from_zero(story: Story, load: Load) -> str:
    """What is wrong with requests at zero replicas; empty if nothing is."""
    scaling = {"min_replicas": 0, "max_replicas": 2, "targets": [{"metric": "rps", "value": 1_000}]}
    await story.client.deployments.create(SLEEPER, {**spec(), "replicas": 0, "scaling": scaling})
    await story.client.deployments.wait(SLEEPER, timeout=PATIENCE)
    await asyncio.sleep(CALM_SECONDS)  # routers hear of it
    came = await load.at_once(story.url(SLEEPER), MANY)
    decided = story.platform.all(ScalingDecided, lambda event: event.deployment_id == SLEEPER)
    ups = [each.decision for each in decided if each.decision.inputs.replicas == 0 < each.decision.replicas]
    print(f"{MANY} requests at zero replicas: {came.failed} failed, {len(ups)} decisions for a replica", flush=True)
    await story.client.deployments.terminate(SLEEPER)
    return "" if not came.failed and len(ups) == 1 else f"at zero replicas: {came.problems}, {len(ups)} decisions"


async def play(down: float, rate: float) -> list[str]:
    """What was not as it should be."""
    folder = Path(tempfile.mkdtemp(prefix="fl-chaos-"))
    (folder / "platform").mkdir()
    wrong: list[str] = []
    try:
        async with AsyncExitStack() as stack:
            given = await stack.enter_async_context(servers())
            settings = Settings(**given, prefix="chaos.", schema_="chaosserving")
            story = await stack.enter_async_context(served(settings, folder))
            load = Load(story.url(NAME), rate)
            running = asyncio.create_task(load.run())

            async def envoy_killed() -> None:
                load.may_fail()
                story.envoy("router-b").kill()

            steps: dict[str, Step] = {
                "nothing happens": lambda: asyncio.sleep(CALM_SECONDS),
                "a replica is killed": story.replica_killed,
                "a replica hangs": story.replica_hung,
                "rolling": lambda: story.rolled_out("rolling", 1),
                "undo": lambda: story.client.deployments.undo_rollout(NAME),
                "blue-green": lambda: story.rolled_out("blue_green", 2),
                "canary": lambda: story.rolled_out("canary", 3),
                "companions are killed": story.companions_killed,
                "routers are restarted": story.routers_restarted,
                f"Kafka and Postgres are away for {down:g} s, a replica is killed": lambda: story.servers_down(down),
                "an Envoy is killed": envoy_killed,
            }
            for name, step in steps.items():
                came = load.begin(name)
                await step()
                await story.settled()
                await asyncio.sleep(CALM_SECONDS)
                print(f"{name}: {came.told()}", flush=True)
            load.stopped = True
            await running
            wrong += [
                f"{name}: {dict(came.problems)}" for name, came in load.steps.items() if came.failed > came.allowed
            ]
            if (slowest := load.steps["a replica hangs"].slowest) > LONGEST_HUNG:
                wrong.append(f"a replica hangs: a request took {slowest:.1f} s")
            if problem := await from_zero(story, load):
                wrong.append(problem)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.serving", description=__doc__.splitlines()[0])
    parser.add_argument("--down", type=float, default=60.0, help="seconds that Kafka and Postgres stand still")
    parser.add_argument("--rate", type=float, default=20.0, help="requests a second")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    wrong = asyncio.run(play(given.down, given.rate))
    for each in wrong:
        print(f"WRONG: {each}")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
