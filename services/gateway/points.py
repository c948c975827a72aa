"""Points of runs that come in by gRPC or HTTP: checked, and written to their topic. The one place for these doors.

What is checked here is what the service's intake checks again for points that come by Kafka: same functions, same
words. Knows no transport.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

import grpc
from aiokafka.errors import KafkaError

from events.language.common import Refused
from events.language.experiments.points import SeriesName, check_batch, name_of
from events.language.streams import POINTS
from events.log.envelope import Position
from events.log.producer import Producer, ToSend
from events.process.settings import Settings
from forgelog_pb.experiments.v1.queries_pb2 import GetRunRequest, GetRunResponse
from services.gateway import metrics
from services.gateway.catalog import Catalog
from services.gateway.errors import DoorError
from services.gateway.forward import Forwarder, Relayed
from services.gateway.known_runs import Asked, KnownRuns
from services.gateway.limits import Bounds, Limit
from services.gateway.principal import Access, Principal

log = logging.getLogger("forgelog.gateway")

ACTION = "/forgelog.gateway.v1.Points/Log"
SECONDS = 15.0
"""Longest wait for Kafka to store a batch."""
_ASK_SECONDS = 10.0


class PointsDoor:
    """Takes batches of points. One per process."""

    def __init__(
        self, settings: Settings, catalog: Catalog, forwarder: Forwarder, bounds: Bounds, access: Access
    ) -> None:
        self._topic = settings.prefix + POINTS.name
        self._access = access
        self._forwarder = forwarder
        self._get_run = catalog.by_path("/forgelog.experiments.v1.ExperimentQueries/GetRun")
        self._requests = Limit("batches of points", bounds.requests)
        self._bytes = Limit("bytes of points", bounds.bytes)
        self._producer: Producer | None = None
        self.runs = KnownRuns()

    def open(self, producer: Producer) -> None:
        """From now on points are written by this producer."""
        self.runs.forget()
        self._producer = producer

    async def drain(self, seconds: float) -> None:
        """Take no more; return when those under way are done, or `seconds` have passed."""
        self._producer = None
        until = time.monotonic() + seconds
        while self._requests.count and time.monotonic() < until:
            await asyncio.sleep(0.02)

    async def log(
        self, principal: Principal, batch: Any, seconds: float = SECONDS, size: int | None = None
    ) -> tuple[Position, int]:
        """Check a `PointBatch` and write it; returns when Kafka has it: its position, and how many points it has.

        `size`: bytes that it came in; of its message if left out. Raises DoorError.
        """
        self._access.authorize(principal, ACTION)
        value = batch.SerializeToString()
        with self._requests.take(), self._bytes.take(len(value)):
            try:
                count = check_batch(batch, max(size or 0, len(value)))
            except Refused as refused:
                metrics.refused.labels(refused.code.value).inc()
                raise DoorError.of(refused) from None
            await self._admit(principal, batch)
            return await self._write(batch.run_id, value, seconds), count

    async def _admit(self, principal: Principal, batch: Any) -> None:
        run_id = batch.run_id
        try:
            await self.runs.admit(run_id, map(name_of, batch.series), lambda: self._ask(principal, run_id))
        except DoorError as error:
            metrics.refused.labels(error.code.name.lower()).inc()
            raise

    async def _write(self, run_id: str, value: bytes, seconds: float) -> Position:
        if self._producer is None:
            text = "the gateway takes no points now: it is starting or stopping, see /readyz; try again"
            raise DoorError(grpc.StatusCode.UNAVAILABLE, text, retry_after=1.0)
        now = int(time.time() * 1000)
        started = time.perf_counter()
        try:
            async with asyncio.timeout(max(seconds, 0.001)):
                record = ToSend(self._topic, value, run_id.encode(), timestamp_ms=now)
                (at,) = await self._producer.send_all([record])
        except (KafkaError, OSError, TimeoutError) as error:
            log.warning("writing points of %s failed: %s: %s", run_id, type(error).__name__, error)
            raise DoorError(
                grpc.StatusCode.UNAVAILABLE,
                f"the log can't be reached ({type(error).__name__}); whether it has the points is not known: send them "
                "again, a repeat does no harm",
                retry_after=1.0,
            ) from None
        metrics.publish_seconds.observe(time.perf_counter() - started)
        return Position(POINTS.name, at.partition, at.offset)

    async def _ask(self, principal: Principal, run: str) -> Asked | None:
        request = GetRunRequest(run_id=run).SerializeToString()
        try:
            data = await self._forwarder.unary(principal, self._get_run, request, (), _ASK_SECONDS)
        except Relayed as error:
            if error.code is grpc.StatusCode.NOT_FOUND:
                return None
            raise
        answer = GetRunResponse.FromString(data)
        series = (SeriesName(each.key, each.model_id, each.dataset) for each in answer.metrics)
        return Asked(answer.run.HasField("deleted_at"), frozenset(series), answer.run.HasField("purged_at"))
