"""Tells the platform what a router has counted, each second, and at once that requests wait for a replica.

Reports are quiet commands: they leave no trace in the log by themselves. One that is lost costs nothing, since the next
one says all that it said; so while Kafka is away they are given up, not kept.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
import uuid
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

from aiokafka.errors import KafkaError

from events.language.base import Command
from events.language.deployments.steering import ReportDemand, ReportTraffic
from events.language.deployments.traffic import ReplicaTraffic, TrafficCounts
from events.log.publish import Outgoing, Publisher
from events.process.settings import Settings
from services.deployments.router.companion import Companion
from services.deployments.router.counting import Counting
from services.deployments.router.envoy import Envoy, EnvoyError

log = logging.getLogger("forgelog.router")

REPORT_SECONDS = 1.0
QUIET_SECONDS = 5.0
"""How often a deployment is told of that has no requests: the platform then knows that the router is there."""
SEND_SECONDS = 5.0
"""Longest wait for Kafka."""

_ACTIVE = re.compile(r"^cluster\.(.+)/(\d+|any)/[^/]+\.upstream_rq_active: (\d+)$")
"""A line of Envoy's statistics: the requests that a cluster has now."""


class Reporter:
    """Reports of one router, from its start on."""

    def __init__(self, settings: Settings, companion: Companion, envoy: Envoy, router: str) -> None:
        self._settings = settings
        self._companion = companion
        self._envoy = envoy
        self._router = router
        self._incarnation = uuid.uuid4().hex
        self._began = time.monotonic()
        self._counting = Counting()
        self._moved = set[str]()
        """Deployments of which requests ended since the last report."""
        self._asked = set[str]()
        """Deployments whose requests began to wait."""
        self._woken = asyncio.Event()
        self._told: dict[str, float] = {}
        """Deployment → when it was last told of."""
        self._active: dict[str, dict[str, int]] = {}
        """Deployment → revision → requests in flight, at the last look."""
        self._lost = False

    def take(self, requests: Iterable[dict[str, Any]]) -> None:
        """Count what became of these requests."""
        self._moved |= self._counting.take(requests)

    def demanded(self, deployment: str) -> None:
        """A request of it waits for a replica: the platform is told at once."""
        if deployment not in self._asked:
            self._asked.add(deployment)
            self._woken.set()

    async def run(self) -> None:
        """Report, until cancelled."""
        while True:
            try:
                async with Publisher(self._settings) as publisher:
                    while True:
                        await self._wait()
                        await self._send(publisher)
            except (KafkaError, OSError, TimeoutError) as error:
                if not self._lost:
                    log.warning("nothing can be reported: %s; it goes on", error or type(error).__name__)
                self._lost = True
                await asyncio.sleep(REPORT_SECONDS)

    async def _wait(self) -> None:
        """Until the next report, or a demand."""
        try:
            async with asyncio.timeout(REPORT_SECONDS):
                await self._woken.wait()
        except TimeoutError:
            pass
        self._woken.clear()

    async def _send(self, publisher: Publisher) -> None:
        asked, self._asked = self._asked, set()
        now = self._companion.tables.now
        commands: list[Command] = [
            ReportDemand(deployment_id=deployment, router=self._router, held=held)
            for deployment in asked
            if deployment in now and (held := self._companion.holding.held[deployment])
        ]
        if not commands:  # else at once, the counts with the next report
            commands = await self.reports()
        items = [
            Outgoing(command, project=now[command.subject()].project, source="forgelog/router") for command in commands
        ]
        if items:
            async with asyncio.timeout(SEND_SECONDS):
                await publisher.publish_many(items)
            self._lost = False

    async def reports(self) -> list[Command]:
        """What is to be told now of each deployment."""
        leaving = await self._look()
        tables, holding = self._companion.tables.now, self._companion.holding
        at = time.monotonic()
        moved, self._moved = self._moved, set()
        found: list[Command] = []
        for deployment in tables:
            active, held = self._active.get(deployment, {}), holding.held[deployment]
            busy = deployment in moved or active or held or deployment in leaving
            if not busy and at - self._told.get(deployment, -QUIET_SECONDS) < QUIET_SECONDS:
                continue
            self._told[deployment] = at
            in_flight = {int(revision): count for revision, count in active.items() if revision.isdigit()}
            counts = TrafficCounts(
                incarnation=self._incarnation,
                seconds=at - self._began,
                routing=holding.number(deployment),
                held=held,
                revisions=self._counting.of(deployment, in_flight),
                leaving=tuple(
                    ReplicaTraffic(replica_id=replica, in_flight=count)
                    for replica, count in leaving.get(deployment, {}).items()
                ),
            )
            found.append(ReportTraffic(deployment_id=deployment, router=self._router, counts=counts))
        self._counting.forget(self._told.keys() - tables.keys())
        self._told = {deployment: told for deployment, told in self._told.items() if deployment in tables}
        return found

    async def _look(self) -> dict[str, dict[str, int]]:
        """Ask Envoy which requests are in flight. Returns those of replicas that are leaving, by deployment; replicas
        without any are told to the companion."""
        try:
            answer = await self._envoy.get(f"/stats?filter={quote('upstream_rq_active$')}&usedonly")
            self._active = in_flight(answer.text)
            if not self._companion.tables.leaving:
                return {}
            return self._leaving((await self._envoy.get("/clusters?format=json")).json())
        except EnvoyError as error:  # it starts again, as a rule
            log.debug("%s", error)
            self._active = {}
            return {}

    def _leaving(self, clusters: Any) -> dict[str, dict[str, int]]:
        open_ = requests_by_address(clusters)
        found: dict[str, dict[str, int]] = {}
        gone = []
        for deployment, replicas in self._companion.tables.leaving.items():
            table = self._companion.tables.now[deployment]
            if not self._companion.holding.has(deployment, table.number):
                continue  # Envoy may still send it some
            for name, one in replicas.items():
                ports = {*one.replica.ports.values()}
                if count := sum(open_.get((deployment, one.replica.address, port), 0) for port in ports):
                    found.setdefault(deployment, {})[name] = count
                else:
                    gone.append((deployment, name))
        self._companion.left(gone)
        return found


def in_flight(statistics: str) -> dict[str, dict[str, int]]:
    """Deployment → revision, or ``any`` → requests in flight, from Envoy's statistics; without those that have none."""
    found: dict[str, dict[str, int]] = {}
    for line in statistics.splitlines():
        if (match := _ACTIVE.match(line)) and (count := int(match[3])):
            revisions = found.setdefault(match[1], {})
            revisions[match[2]] = revisions.get(match[2], 0) + count
    return found


def requests_by_address(clusters: Any) -> dict[tuple[str, str, int], int]:
    """Deployment, address, port → requests in flight, from Envoy's list of clusters."""
    found: dict[tuple[str, str, int], int] = {}
    for cluster in clusters.get("cluster_statuses", ()):
        deployment = cluster["name"].partition("/")[0]
        for host in cluster.get("host_statuses", ()):
            at = host["address"].get("socket_address")
            active = [stat.get("value", 0) for stat in host.get("stats", ()) if stat.get("name") == "rq_active"]
            if at is not None:
                place = deployment, at["address"], at["port_value"]
                found[place] = found.get(place, 0) + sum(map(int, active))
    return found
