"""The platform that a spool is sent to, through the client."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from forgelog.capture import Captured
from forgelog.client.aio import AsyncClient
from forgelog.tracking.points import Batch
from forgelog_pb.experiments.v1 import points_pb2
from forgelog_pb.gateway.v1 import points_pb2 as gateway_pb
from forgelog_pb.gateway.v1 import points_pb2_grpc as gateway_rpc

TIMEOUT = 15.0
"""Seconds of a call, its tries together."""

_CONCLUDED = ("CreateRun",)


class Connected:
    """A `draining.Platform`."""

    def __init__(self, project: str, address: str | None = None) -> None:
        """Raises `Unavailable`, `InvalidInput`."""
        self._client = AsyncClient(address, project=project or None, timeout=TIMEOUT)

    async def close(self) -> None:
        await self._client.close()

    async def command(self, kind: str, body: dict[str, Any], id: str) -> None:
        wait: Any = "conclusion" if kind in _CONCLUDED else True
        await self._client.publish((f"forgelog.experiments.v1.{kind}", body), id=id, wait=wait)

    async def points(self, batch: Batch) -> None:
        request = gateway_pb.LogRequest(batch=batch.message(points_pb2.PointBatch()))
        stub: Any = gateway_rpc.PointsStub(self._client.channel)
        await self._client._core.ask(stub.Log, request, f"run {batch.run_id}")

    async def capture(self, run_id: str, captured: Captured) -> None:
        await self._client.captures.save(run_id, captured)

    async def files(self, run_id: str, source: Path, folder: str, *, named: bool) -> None:
        log = self._client.runs.log_artifact if named else self._client.runs.log_artifacts
        await log(run_id, source, folder=folder)
