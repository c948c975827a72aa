"""A search goes on while every process of the platform is killed in turn: each trial has its number, and ends once.

    python -m tests.chaos.study [--trials 100] [--parallel 8] [--rounds 2] [--seed 1]

Trials are jobs that log a metric by HTTP, and try again until the gateway takes it. The engine gives up those that do
not promise well. Afterwards the log is read: trials 0 to N - 1, one end each, no value but those that were logged, and
`forgelog tune verify` finds every choice of the engine as it was.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from events.language.experiments import TrialAdded, TrialEnded, TrialProposed, TrialStatus, TuningEvent, TuningStatusSet
from forgelog import AsyncClient
from forgelog.embedded.process import EmbeddedError
from forgelog.errors import ForgelogError
from services.experiments.engine.verify import verify
from tests.chaos import checks
from tests.chaos.arena import PROCESSES, SERVERS, Arena
from tests.chaos.attacks import AGENT_NAMES, SERVICES

PROGRAM = r"""
import json, os, sys, time, urllib.error, urllib.request

token = open(os.environ["FORGELOG_TOKEN_FILE"]).read().strip()
job, attempt = os.environ["FORGELOG_JOB"], int(os.environ["FORGELOG_ATTEMPT"])

def post(path, body, taken=()):
    until = time.monotonic() + 300
    while True:
        headers = {"Authorization": "Bearer " + token, "Content-Type": "application/json"}
        request = urllib.request.Request(
            "http://" + os.environ["FORGELOG_GATEWAY"] + path, json.dumps(body).encode(), headers
        )
        try:
            return urllib.request.urlopen(request, timeout=20).read()
        except urllib.error.HTTPError as error:
            if error.code in taken:
                return
            if error.code < 500 and error.code not in (404, 408, 409, 429) or time.monotonic() > until:
                sys.exit(f"{path}: {error.code} {error.read()}")
        except OSError as error:
            if time.monotonic() > until:
                sys.exit(f"{path}: {error}")
        time.sleep(0.2)

run = f"r-{job}-{attempt}"
process = {"job_id": job, "attempt": attempt}
post("/v1/commands", {"type": "CreateRun", "data": {"run_id": run, "experiment": "study", "process": process}}, (409,))
x = float(os.environ["FORGELOG_PARAM_x"])
for step in range(1, 6):
    value = (x - 0.3) ** 2 + 1 / step
    series = [{"key": "loss", "steps": [step], "times": [1], "values": [value]}]
    post(f"/v1/runs/{run}/points", {"series": series})
    time.sleep(0.1)
"""

PAUSE = 4.0
"""Seconds between two kills."""
LONGEST = 1800.0
"""Seconds for the whole search."""
TRIES = 60
"""Looks for a process that is to be killed."""
ENGINE = "engine"


def targets() -> list[str]:
    """Every process of the platform, and the one that searches."""
    services = sorted({PROCESSES.get(name, name) for name in SERVICES})
    return [*services, *AGENT_NAMES, *SERVERS, "supervisor", ENGINE]


async def kill(arena: Arena, name: str) -> bool:
    """Whether there was such a process."""
    if name == ENGINE:
        found = [
            child
            for pid in arena.pids("experiments")
            for child in psutil.Process(pid).children()
            if "services.experiments.engine" in child.cmdline()
        ]
        for child in found:
            child.kill()
        return bool(found)
    there = bool(arena.pids(name))
    arena.signal(name, signal.SIGKILL)
    return there


async def killing(arena: Arena, killed: Counter[str], chance: random.Random, rounds: int) -> None:
    """Each in turn, in so many rounds."""
    for _ in range(rounds):
        names = targets()
        chance.shuffle(names)
        for name in names:
            for _ in range(TRIES):  # it may be down because of the one before
                with suppress(psutil.Error):
                    if await kill(arena, name):
                        killed[name] += 1
                        break
                await asyncio.sleep(0.5)
            await asyncio.sleep(PAUSE)
            while not arena.platform.supervised:  # a broker that was killed before may keep it from coming up in time
                with suppress(EmbeddedError):
                    await arena.platform.up()


async def until_ended(arena: Arena, id: str) -> str:
    """The status that the tuning ends with, asked for again and again; that which it has if it takes too long."""
    status, until = "unknown", time.monotonic() + LONGEST
    async with AsyncClient(arena.gateway, token=arena.platform.key, timeout=30) as client:
        while status in ("unknown", "running", "paused") and time.monotonic() < until:
            with suppress(ForgelogError, OSError):
                status = str((await client.tunings.get(id)).status)
            await asyncio.sleep(1.0)
    return status


def problems(events: list[TuningEvent], trials: int) -> list[str]:
    """What does not hold."""
    found = []
    added = [event.number for event in events if isinstance(event, TrialAdded)]
    if added != list(range(trials)):
        found.append(f"the trials are {added}")
    ends = Counter(event.number for event in events if isinstance(event, TrialEnded))
    found += [f"trial {number} has {ends[number]} ends" for number in range(trials) if ends[number] != 1]
    values = {
        event.number: (float(event.parameters[0].value) - 0.3) ** 2
        for event in events
        if isinstance(event, TrialProposed)
    }
    for event in events:
        if isinstance(event, TrialEnded):
            logged = {str(values[event.number] + 1 / step) for step in range(1, 6)}
            wanted = {str(values[event.number] + 1 / 5)} if event.status is TrialStatus.COMPLETED else logged
            if event.status is TrialStatus.FAILED:
                found.append(f"trial {event.number} has failed: {event.reason}")
            elif not {*event.objective_values} <= wanted:
                found.append(f"trial {event.number} is {event.status} with {event.objective_values}, of {wanted}")
    if sum(isinstance(event, TuningStatusSet) for event in events) != 1:
        found.append("the tuning did not end once")
    verified = verify(events)
    return [*found, *verified.different, *verified.unfounded]


async def play(trials: int, parallel: int, rounds: int, seed: int) -> list[str]:
    """What does not hold. The platform's folder stays if there is anything."""
    folder = Path(tempfile.mkdtemp(prefix="forgelog-study-"))
    async with Arena(folder) as arena:
        async with AsyncClient(arena.gateway, token=arena.platform.key) as client:
            plan: dict[str, Any] = {
                "algorithm": "tpe",
                "seed": seed,
                "space": [{"name": "x", "kind": "float", "low": 0, "high": 1}],
                "pruning": {"rule": "asha", "min_steps": 2},
            }
            job = {"name": "trial", "command": [sys.executable, "-S", "-c", PROGRAM], "resources": {"cpus": 0.05}}
            limits = {"trials": trials, "parallel": parallel}
            id = await client.tunings.create(
                "study", limits=limits, plan=plan, job=job, objectives=[{"metric": "loss"}]
            )
        began, killed = time.monotonic(), Counter[str]()
        attack = asyncio.create_task(killing(arena, killed, random.Random(seed), rounds))
        ended = asyncio.create_task(until_ended(arena, id))
        try:
            await asyncio.wait([attack, ended], return_when=asyncio.FIRST_COMPLETED)
            if attack.done():
                attack.result()  # raises what ended it
            status = await ended
        finally:
            for task in (attack, ended):
                task.cancel()
            await asyncio.gather(attack, ended, return_exceptions=True)
        took = time.monotonic() - began
        await arena.recover()
        log = checks.Log()
        await log.read(arena)
        events = [r.data for r in log.of(TuningEvent) if isinstance(r.data, TuningEvent) and r.data.tuning_id == id]
        ends = Counter(event.status.value for event in events if isinstance(event, TrialEnded))
        told = ", ".join(f"{name} {killed[name]}" for name in targets())
        print(f"{status} after {took:.0f} s; {dict(ends)}; killed: {told}")
        found = [*problems(events, trials), *(f"{name} was never killed" for name in targets() if not killed[name])]
    if found:
        print(f"the platform's folder is {folder}")
    else:
        shutil.rmtree(folder)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.study", description=__doc__.split("\n")[0])
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--parallel", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=2, help="of kills, each of every process in turn")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    found = asyncio.run(play(asked.trials, asked.parallel, asked.rounds, asked.seed))
    for problem in found:
        print(problem)
    print("clean" if not found else f"{len(found)} PROBLEMS")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
