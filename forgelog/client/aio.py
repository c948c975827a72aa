"""`AsyncClient`: everything a user does with the platform, as coroutines over the gateway's one gRPC port.

A client reads its own writes: it remembers the newest position of each partition that its commands led to, and its
queries wait for them. Knows nothing of terminals; the synchronous client is a thin coat around this one.
"""

from __future__ import annotations

from types import TracebackType

from forgelog.client.jobs import AsyncJob
from forgelog.client.log import LogCalls
from forgelog.client.queues import QueueCalls
from forgelog.client.resources import ResourceCalls

__all__ = ["AsyncClient", "AsyncJob"]


class AsyncClient(QueueCalls, ResourceCalls, LogCalls):
    """A client of one platform; use it as an async context manager, or `close` it.

    `address` is the gateway's ``host:port``. Left out, it is that of ``FORGELOG_GATEWAY``, else of the platform of the
    data folder (``FORGELOG_DATA``, the nearest ``.forgelog``, ``~/.forgelog``), which must be up: else `Unavailable` is
    raised. `token` is the platform's key; left out, it is that of ``FORGELOG_TOKEN``, else of the file that
    ``FORGELOG_TOKEN_FILE`` names, else of the data folder if the address is its platform's.

    `project` is ``organization/project``. `actor` need not be given: who acts is whose key it is, and a command that
    says otherwise is refused. `timeout` is in seconds and holds for each call, retries included.
    """

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
