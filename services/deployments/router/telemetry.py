"""Sends what became of requests, from the spool to the topics ``inference.deployments`` and ``traffic.deployments``.

Nothing waits for it but itself: while Kafka is away it is given again and again what it could not send, and Envoy's log
grows meanwhile, up to its bound.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping

import orjson
from aiokafka.errors import KafkaError

from events.language.deployments.routing import DeploymentObservability, RoutingTable
from events.language.streams import REQUESTS, TRAFFIC
from events.log.producer import Producer, ToSend
from events.process.settings import Settings
from services.deployments.router.minutes import minutes
from services.deployments.router.records import Record, record, recorded
from services.deployments.router.spool import Part, Spool

log = logging.getLogger("forgelog.router")

LOOK_SECONDS = 1.0
SEND_SECONDS = 10.0
"""Longest wait for Kafka."""
AT_ONCE = 200
"""Requests of a record: with the longest texts they are well below what a record may have."""

_NO_TABLE = DeploymentObservability()


class Telemetry:
    """Tells of the requests of one router."""

    def __init__(self, settings: Settings, spool: Spool, tables: Mapping[str, RoutingTable], router: str) -> None:
        """`tables`: those that there are now, by deployment."""
        self._settings = settings
        self._spool = spool
        self._tables = tables
        self._router = router
        self._lost = False

    async def run(self) -> None:
        """Send what comes, until cancelled."""
        producer = Producer(self._settings)  # connects when there is something to send
        try:
            while True:
                if (part := self._spool.next()) is None:
                    await asyncio.sleep(LOOK_SECONDS)
                elif await self._sent(producer, part):
                    self._spool.done()
        finally:
            self._spool.close()
            await producer.close()

    async def _sent(self, producer: Producer, part: Part) -> bool:
        """Whether Kafka has it."""
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await producer.send_all(list(to_send(part, self._tables, self._router, self._settings.prefix)))
        except (KafkaError, OSError, TimeoutError) as error:
            if not self._lost:
                log.warning("requests can't be recorded now: %s; they wait on the disk", error or type(error).__name__)
            self._lost = True
            await asyncio.sleep(LOOK_SECONDS)
            return False
        self._lost = False
        return True


def to_send(part: Part, tables: Mapping[str, RoutingTable], router: str, prefix: str) -> Iterator[ToSend]:
    """The records of a part's requests and their counts, those of a deployment together."""
    found: dict[str, list[tuple[int, Record]]] = {}
    for number, line in enumerate(part.lines, part.number):
        deployment = line.get("deployment")
        table = tables.get(deployment) if isinstance(deployment, str) else None
        if (made := record(line, router, table)) is not None:
            found.setdefault(made["deployment_id"], []).append((number, made))
    for deployment, all_ in found.items():
        policy = tables[deployment].observability if deployment in tables else _NO_TABLE
        if policy.metrics:
            counted = {
                "source": part.source,
                "sequence": part.sequence,
                "deployment_id": deployment,
                "minutes": minutes(request for _, request in all_),
            }
            yield ToSend(prefix + TRAFFIC.name, orjson.dumps(counted), deployment.encode())
        share = policy.access_log
        requests = [(number, made) for number, made in all_ if recorded(made, share, part.source, number)]
        for first in range(0, len(requests), AT_ONCE):
            some = requests[first : first + AT_ONCE]
            content = {
                "source": part.source,
                "deployment_id": deployment,
                "numbers": [number for number, _ in some],
                "requests": [request for _, request in some],
            }
            yield ToSend(prefix + REQUESTS.name, orjson.dumps(content), deployment.encode())
