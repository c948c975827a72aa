"""`AsyncClient`: everything a user does with the platform, as coroutines over the gateway's one gRPC port.

A client reads its own writes: it remembers the newest position of each partition that its commands led to, and its
queries wait for them. Knows nothing of terminals. The synchronous client, `forgelog/client/sync.py`, is generated from
this module and those that it imports: `proto/sync_client.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any

from forgelog.client.channel import DEFAULT_TIMEOUT
from forgelog.client.core import Core, Wait, namespace
from forgelog.client.flat import AsyncFlat
from forgelog.client.jobs import AsyncJob, AsyncJobs
from forgelog.client.log import AsyncLog
from forgelog.client.nodes import AsyncNodes
from forgelog.client.plain import Answer
from forgelog.client.queues import AsyncQueues

if TYPE_CHECKING:
    from forgelog.client.backfills import AsyncBackfills
    from forgelog.client.captures import AsyncCaptures
    from forgelog.client.datasets import AsyncDatasets
    from forgelog.client.deployments import AsyncDeployments
    from forgelog.client.endpoint_keys import AsyncEndpointKeys
    from forgelog.client.experiments import AsyncExperiments
    from forgelog.client.lineage import AsyncLineage
    from forgelog.client.logged_models import AsyncLoggedModels
    from forgelog.client.models import AsyncModels
    from forgelog.client.notices import AsyncNotices
    from forgelog.client.output import AsyncOutput
    from forgelog.client.pipeline_data import AsyncPipelineData
    from forgelog.client.pipeline_runs import AsyncPipelineRuns
    from forgelog.client.pipeline_templates import AsyncPipelineTemplates
    from forgelog.client.pipelines import AsyncPipelines
    from forgelog.client.purges import AsyncPurges
    from forgelog.client.results import AsyncResults
    from forgelog.client.runs import AsyncRuns
    from forgelog.client.seals import AsyncSeals
    from forgelog.client.templates import AsyncTemplates
    from forgelog.client.tunings import AsyncTunings

__all__ = ["AsyncClient", "AsyncJob"]


class AsyncClient(AsyncFlat):
    """A client of one platform; use it as an async context manager, or `close` it.

    `address` is the gateway's ``host:port``, or ``https://host`` past a proxy with TLS. Left out, it is that of
    ``FORGELOG_GATEWAY``, else of the platform of the data folder (``FORGELOG_DATA``, the nearest ``.forgelog``,
    ``~/.forgelog``), which must be up: else `Unavailable` is raised. `token` is the platform's key; left out, it is
    that of ``FORGELOG_TOKEN``, else of the file that ``FORGELOG_TOKEN_FILE`` names, else of the data folder if the
    address is its platform's.

    `project` is ``organization/project``. `actor` need not be given: who acts is whose key it is, and a command that
    says otherwise is refused. `timeout` is in seconds and holds for each call, retries included. Where a call takes
    several names, ids or words, one may be given by itself.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        project: str | None = None,
        actor: str | None = None,
        token: str | None = None,
        timeout: float = DEFAULT_TIMEOUT,
    ) -> None:
        self._core = Core(address, project=project, actor=actor, token=token, timeout=timeout)

    jobs = namespace(AsyncJobs)
    output: namespace[AsyncOutput] = namespace()
    queues = namespace(AsyncQueues)
    nodes = namespace(AsyncNodes)
    log = namespace(AsyncLog)
    experiments: namespace[AsyncExperiments] = namespace()
    runs: namespace[AsyncRuns] = namespace()
    captures: namespace[AsyncCaptures] = namespace()
    seals: namespace[AsyncSeals] = namespace()
    results: namespace[AsyncResults] = namespace()
    purges: namespace[AsyncPurges] = namespace()
    tunings: namespace[AsyncTunings] = namespace()
    models: namespace[AsyncModels] = namespace()
    logged_models: namespace[AsyncLoggedModels] = namespace()
    datasets: namespace[AsyncDatasets] = namespace()
    templates: namespace[AsyncTemplates] = namespace()
    deployments: namespace[AsyncDeployments] = namespace()
    endpoint_keys: namespace[AsyncEndpointKeys] = namespace()
    backfills: namespace[AsyncBackfills] = namespace()
    pipelines: namespace[AsyncPipelines] = namespace()
    pipeline_runs: namespace[AsyncPipelineRuns] = namespace()
    pipeline_templates: namespace[AsyncPipelineTemplates] = namespace()
    pipeline_data: namespace[AsyncPipelineData] = namespace()
    lineage: namespace[AsyncLineage] = namespace()
    notices: namespace[AsyncNotices] = namespace()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End the connection; the next call opens another."""
        await self._core.connection.close()

    @property
    def address(self) -> str:
        """The gateway's ``host:port``."""
        return self._core.connection.address

    @property
    def project(self) -> str:
        """The project of its commands; empty: the platform's default."""
        return self._core.project

    @property
    def channel(self) -> Any:
        """The open channel; for stubs of services that the client has no methods for."""
        return self._core.channel

    async def publish(self, command: Any, *, id: str = "", wait: Wait = True, timeout: float | None = None) -> Answer:
        """Publish a command and, unless told not to `wait`, return what became of it.

        ``wait="conclusion"`` waits on until what the command creates in several steps is there, or is refused: the
        record then has ``conclusion``, the event that says so. A command of one step has none, and is refused so.

        `command` is one of the language's commands, or a pair of its type (``CancelJob``) and its fields. `id` is the
        idempotency key: a repeat yields the first outcome. The record has ``id``, ``subject``, ``result``,
        ``positions`` and ``events``. Raises `Refused`, `Timeout`, `Unavailable`.
        """
        return await self._core.publish(command, id=id, wait=wait, timeout=timeout)

    async def publish_many(
        self, commands: Iterable[Any], *, wait: Wait = True, timeout: float | None = None
    ) -> list[Answer]:
        """Publish several commands in one go and return what became of each, in their order; `wait` as in `publish`.

        A refused one is not raised: its record has ``result == "rejected"`` and a ``rejection``.
        """
        return await self._core.publish_many(commands, wait=wait, timeout=timeout)
