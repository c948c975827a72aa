"""Whether the platform can do its work through this gateway, and if not, what is missing."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import Any

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError
from aiokafka.protocol.metadata import MetadataRequest

from events.log.access import client_options
from events.log.topics import CONTEXTS
from events.process.settings import Settings
from services.gateway.forward import Forwarder

log = logging.getLogger("forgelog.gateway")

CHECK_SECONDS = 2.0
"""Longest wait for any one answer."""


class Readiness:
    """Asks Kafka and every service anew each time, all at once; askers at the same time share one round.

    An answer that differs from the one before is logged: a probe is not told what is missing.
    """

    def __init__(self, settings: Settings, forwarder: Forwarder) -> None:
        self._settings = settings
        self._forwarder = forwarder
        self._client: Any = None
        self._round: asyncio.Task[dict[str, str]] | None = None
        self._said: dict[str, str] | None = None
        self.starting: str = "the gateway connects to Kafka"
        """What the gateway itself still has to do; empty once it takes commands."""

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()

    async def missing(self) -> dict[str, str]:
        """What is not ready, and how that shows; empty when all is well."""
        if self._round is None or self._round.done():
            self._round = asyncio.create_task(self._ask())
        return await asyncio.shield(self._round)

    async def _ask(self) -> dict[str, str]:
        contexts = [*CONTEXTS, *(name for name in self._forwarder.addresses if name not in CONTEXTS)]
        kafka, *services = await asyncio.gather(
            self._kafka(), *(self._forwarder.serving(context, CHECK_SECONDS) for context in contexts)
        )
        answers = {"gateway": self.starting, "kafka": kafka, **dict(zip(contexts, services, strict=True))}
        missing = {name: problem for name, problem in answers.items() if problem}
        if missing != self._said:
            self._said = missing
            if missing:
                log.warning("not ready: %s", "; ".join(f"{name} {problem}" for name, problem in missing.items()))
            else:
                log.info("ready")
        return missing

    async def _kafka(self) -> str:
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                if self._client is None:
                    self._client = await self._connected()
                await _asked(self._client)
        except TimeoutError:
            return f"no broker answers at {self._settings.kafka} within {CHECK_SECONDS:g} s"
        except (KafkaError, OSError) as error:
            return f"no broker answers at {self._settings.kafka} ({type(error).__name__})"
        return ""

    async def _connected(self) -> AIOKafkaClient:
        client = AIOKafkaClient(**client_options(self._settings))
        try:
            await client.bootstrap()
        except BaseException:  # also when it took too long
            await client.close()
            raise
        return client


async def _asked(client: AIOKafkaClient) -> None:
    """Returns once a broker has answered. It is asked about no topic: a cluster that others use too may have very many.

    Raises KafkaError when none does.
    """
    problem = KafkaError("no broker is known")
    for broker in random.sample(nodes := list(client.cluster.brokers()), len(nodes)):
        try:
            await client.send(broker.nodeId, MetadataRequest([]))
        except KafkaError as error:
            problem = error
        else:
            return
    raise problem
