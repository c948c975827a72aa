"""The node's membership in its pool: registers it, keeps it alive by heartbeats, and knows when contact is lost.

Must not know what runs on the node.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import time
from collections.abc import Callable
from contextlib import suppress

import psutil
from aiokafka.errors import KafkaError

from events.language.common import NODE_ACTOR, ErrorCode
from events.language.resources import HeartbeatNode, RegisterNode
from events.language.resources.hardware import NodeSpec
from events.log.outcomes import Outcome, Outcomes
from events.log.publish import Publisher
from events.process.settings import Settings
from services.resources.agent.config import Config
from services.resources.agent.store import Store

log = logging.getLogger("forgelog.agent.membership")

PATIENCE = 5.0
"""Seconds to wait for the pool's answer before the registration is published again."""
LONGEST_PAUSE = 10.0
ASK_AGAIN = 30.0
"""Seconds until a node that another agent holds is asked for again, unless the log says before that it is free."""


class AgentError(Exception):
    """The agent can't go on; the text says why and what to do."""


def boot_id() -> str:
    """Changes with every boot of the machine (random(4))."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


class Membership:
    def __init__(
        self, settings: Settings, config: Config, store: Store, publisher: Publisher, outcomes: Outcomes
    ) -> None:
        self._pool = settings.pool
        self._config = config
        self._store = store
        self._publisher = publisher
        self._outcomes = outcomes
        self.agent_id = os.urandom(8).hex()
        self.instance_id = store.instance_id
        self._boot_id = boot_id()
        self._registrations = 0
        self._beats = 0
        self._heard = -math.inf
        """When the last message was sent that reached the log (monotonic seconds)."""
        self._registered = asyncio.Event()
        self._freed = asyncio.Event()

    async def register(self, spec: NodeSpec) -> int:
        """Announce the node; the offset of the pool's answer. Waits while another agent holds the node.

        Raises AgentError if it is refused for good.
        """
        self._registered.clear()
        self._note("")
        self._registrations += 1
        command = RegisterNode(
            pool=self._pool,
            node_id=self._config.node,
            spec=spec,
            boot_id=self._boot_id,
            agent_id=self.agent_id,
            instance_id=self.instance_id,
        )
        pause = 0.1
        while True:
            id = f"reg-{self.agent_id}-{self._registrations}"
            sent = time.monotonic()
            try:
                outcome = await self._ask(command, id)
            except (KafkaError, OSError, TimeoutError) as error:
                log.warning("registering: %s; trying again in %.1f s", error or "no answer", pause)
            else:
                rejected = outcome.rejected
                if rejected is None:
                    self._heard = sent
                    self._registered.set()
                    self._note("", registered=True)
                    return outcome.position.offset
                if rejected.code is ErrorCode.FAILED_PRECONDITION:
                    await self._until_freed(rejected.message)
                    continue
                if rejected.code not in (ErrorCode.INTERNAL, ErrorCode.ABORTED):
                    problems = "; ".join(f"{error.field} {error.problem}" for error in rejected.errors)
                    raise AgentError(f"pool {self._pool} does not take node {self._config.node}: {problems}")
                log.warning("registering: %s; trying again in %.1f s", rejected.message, pause)
                self._registrations += 1
            await asyncio.sleep(pause)
            pause = min(LONGEST_PAUSE, pause * 2)

    async def _until_freed(self, why: str) -> None:
        """Another agent holds the node: wait until the log says that it is free, or it is time to ask again."""
        log.error("not registered, so nothing is started here: %s", why)
        self._note(why)
        self._freed.clear()
        self._registrations += 1
        with suppress(TimeoutError):
            await asyncio.wait_for(self._freed.wait(), ASK_AGAIN)

    def freed(self) -> None:
        """The log says that no agent holds the node."""
        self._freed.set()

    def _note(self, problem: str, *, registered: bool = False) -> None:
        """Tell those who look at the agent's folder how far it is."""
        self._store.save_membership({"agent_id": self.agent_id, "registered": registered, "problem": problem})

    async def _ask(self, command: RegisterNode, id: str) -> Outcome:
        answer = self._outcomes.expect(id)
        await asyncio.wait_for(self._publisher.publish(command, id=id, actor=self._actor), PATIENCE)
        return await asyncio.wait_for(asyncio.shield(answer), PATIENCE)

    @property
    def _actor(self) -> str:
        return f"{NODE_ACTOR}{self._config.node}"

    def sent(self, command_id: str) -> bool:
        """Whether a heartbeat is this agent's own."""
        return command_id.startswith(f"beat-{self.agent_id}-")

    @property
    def silent_seconds(self) -> float:
        """For how long nothing of this agent has reached the log, at most."""
        return time.monotonic() - self._heard

    async def keep_alive(self, running: Callable[[], int]) -> None:
        """Heartbeats while the node is registered, until cancelled. `running` counts the tasks."""
        every = self._config.heartbeat_seconds
        psutil.cpu_percent(None)  # the first call only starts the measurement
        while True:
            await self._registered.wait()
            sent = time.monotonic()
            self._beats += 1
            beat = HeartbeatNode(
                pool=self._pool,
                node_id=self._config.node,
                agent_id=self.agent_id,
                cpu_percent=min(100.0, psutil.cpu_percent(None)),
                memory_used_bytes=psutil.virtual_memory().used,
                running_tasks=running(),
            )
            id = f"beat-{self.agent_id}-{self._beats}"
            try:
                await asyncio.wait_for(self._publisher.publish(beat, id=id, actor=self._actor), every * 2)
                self._heard = max(self._heard, sent)
            except (KafkaError, OSError, TimeoutError) as error:
                log.warning("heartbeat: %s", error or "no answer from Kafka")
            await asyncio.sleep(max(0.0, sent + every - time.monotonic()))
