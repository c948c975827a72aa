"""Lets requests wait while a deployment has no ready replica: Envoy asks here before it passes such a request on.

The first one that waits is a demand: the platform is told, so that a deployment at zero replicas gets one. Bounds: so
many requests at a time, and each deployment's `cold_start_seconds`.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

from envoy.service.auth.v3 import external_auth_pb2, external_auth_pb2_grpc
from google.rpc import code_pb2, status_pb2  # type: ignore[import-untyped]

from services.deployments.router.clusters import MOST_HELD
from services.deployments.router.naming import awaited
from services.deployments.router.tables import Tables


class Holding(external_auth_pb2_grpc.AuthorizationServicer):  # type: ignore[misc]
    """Answers Envoy's question whether a request may go on: when it can be served."""

    def __init__(self, tables: Tables, demanded: Callable[[str], None], most: int = MOST_HELD) -> None:
        """`demanded` is told a deployment when a request of its begins to wait."""
        self._tables = tables
        self._demanded = demanded
        self._most = most
        self._applied: dict[str, int] = {}
        """Deployment → number of the table that Envoy has."""
        self._moved = asyncio.Condition()
        self.held: Counter[str] = Counter()
        """Deployment → requests that wait."""

    async def applied(self, numbers: dict[str, int]) -> None:
        """Envoy has these tables."""
        async with self._moved:
            self._applied = numbers
            self._moved.notify_all()

    def number(self, deployment: str) -> int:
        """Of the table that Envoy has; 0 for none."""
        return self._applied.get(deployment, 0)

    def has(self, deployment: str, number: int) -> bool:
        """Whether Envoy has that table, or a later one."""
        return self._applied.get(deployment, 0) >= number

    async def Check(self, request: Any, context: Any) -> Any:
        """Of the protocol."""
        about = request.attributes.context_extensions
        deployment, port = about.get("deployment", ""), about.get("port", "")
        if (table := self._tables.now.get(deployment)) is None:
            return _refusal(404, code_pb2.NOT_FOUND, "the deployment has ended")
        if self._ready(deployment, port):
            return _PASS
        if self.held.total() >= self._most:
            return _refusal(
                503, code_pb2.UNAVAILABLE, "no replica is ready, and too many requests wait for one already"
            )
        self.held[deployment] += 1
        self._demanded(deployment)
        try:
            async with asyncio.timeout(table.cold_start_seconds), self._moved:
                await self._moved.wait_for(lambda: not self._waited_for(deployment) or self._ready(deployment, port))
        except TimeoutError:
            return _refusal(503, code_pb2.UNAVAILABLE, _never_ready(table.cold_start_seconds))
        finally:
            self.held[deployment] -= 1
            if not self.held[deployment]:
                del self.held[deployment]
        if deployment not in self._tables.now:
            return _refusal(404, code_pb2.NOT_FOUND, "the deployment has ended")
        if not self._ready(deployment, port):
            return _refusal(503, code_pb2.UNAVAILABLE, _never_ready(0.0))
        return _PASS

    def _waited_for(self, deployment: str) -> bool:
        """Whether a replica of it may get ready."""
        table = self._tables.now.get(deployment)
        return table is not None and table.cold_start_seconds > 0

    def _ready(self, deployment: str, port: str) -> bool:
        """Whether Envoy knows of a replica that can serve it."""
        table = self._tables.now[deployment]
        return self._applied.get(deployment) == table.number and any(
            port in replica.ports for revision in awaited(table) for replica in revision.replicas
        )


_PASS = external_auth_pb2.CheckResponse(
    status=status_pb2.Status(code=code_pb2.OK), ok_response=external_auth_pb2.OkHttpResponse()
)


def _never_ready(seconds: float) -> str:
    if not seconds:
        return "no replica is ready, and none is waited for; `forgelog deployments show` says how it stands"
    return f"no replica was ready within {seconds:g} s; come again in a second"


def _refusal(status: int, code: int, words: str) -> Any:
    answer = external_auth_pb2.DeniedHttpResponse(body=words)
    answer.status.code = status
    if status == 503:
        header = answer.headers.add()
        header.header.key, header.header.value = "retry-after", "1"
    return external_auth_pb2.CheckResponse(status=status_pb2.Status(code=code, message=words), denied_response=answer)
