"""Whether what the platform says of its health is true: unready while something stood still, ready afterwards."""

from __future__ import annotations

import asyncio
import http.client
import json
import time
from dataclasses import dataclass, field

from events.log.topics import CONTEXTS
from tests.chaos.arena import PATIENCE, Arena

CHECK_EVERY = 0.5
ANSWER = 4.0
"""Seconds for `/readyz`, which asks everybody for two."""

NOTICED = {**dict.fromkeys(CONTEXTS, 8.0), "gateway": 8.0, "kafka": 8.0, "postgres": 25.0}
"""Seconds of standing still after which it must have been said. (A database that answered is asked every ten.)"""


@dataclass(slots=True)
class Look:
    at: float
    ready: bool
    told: str


@dataclass
class Health:
    """Asks `/readyz` again and again."""

    arena: Arena
    looks: list[Look] = field(default_factory=list)

    async def watch(self) -> None:
        """Until cancelled."""
        while True:
            began = time.monotonic()
            ready, told = await asyncio.to_thread(readiness, self.arena.gateway, self.arena.platform.key)
            self.looks.append(Look(began, ready, told))
            await asyncio.sleep(CHECK_EVERY)

    async def problems(self) -> list[str]:
        """What was not true in this round, which is over: the platform is whole."""
        found = [
            f"{name} stood still for {until - since:.0f} s and /readyz said ready all the time"
            for name, since, until in self.arena.stood
            if until - since >= NOTICED.get(name, float("inf"))
            and not any(since <= look.at <= until + ANSWER and not look.ready for look in self.looks)
        ]
        self.arena.stood.clear()
        self.looks.clear()
        return [*found, *await self._ready()]

    async def _ready(self) -> list[str]:
        until = time.monotonic() + PATIENCE
        while True:
            ready, told = await asyncio.to_thread(readiness, self.arena.gateway, self.arena.platform.key)
            report = self.arena.platform.report()
            contexts = await self.arena.platform.contexts(report)
            behind = [
                f"{lag['kind']} {lag['place']}: {lag['left']}"
                for each in contexts
                for lag in each["lags"]
                if lag["oldest_seconds"] > ANSWER
            ]
            if ready and report["state"] == "up" and all(each["ready"] for each in contexts) and not behind:
                return []
            if time.monotonic() > until:
                said = {each["context"]: each["waits"] for each in contexts}
                return [f"the platform is whole, and says: /readyz {told}, status {report['state']}, {said}, {behind}"]
            await asyncio.sleep(CHECK_EVERY)


def readiness(address: str, key: str) -> tuple[bool, str]:
    """Whether `/readyz` says that the platform is ready, and what it says."""
    host, _, port = address.rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=ANSWER)
    try:
        connection.request("GET", "/readyz", headers={"Authorization": f"Bearer {key}"})
        answer = connection.getresponse()
        return answer.status == 200, str(json.loads(answer.read())["missing"])
    except (OSError, http.client.HTTPException, ValueError) as error:
        return False, f"no answer ({type(error).__name__})"
    finally:
        connection.close()
