"""`Client`: the asynchronous client for programs without coroutines. Each call runs on a loop in a thread of its own.

A thin coat: every method has the arguments, the answer and the errors of its namesake in `AsyncClient`.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator, Mapping
from concurrent.futures import Future
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from forgelog.client.aio import AsyncClient, AsyncJob
from forgelog.client.channel import DEFAULT_TIMEOUT
from forgelog.client.plain import Record

if TYPE_CHECKING:
    from events.language.jobspec import JobSpec

T = TypeVar("T")


class _Loop:
    """An event loop in a daemon thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="forgelog-client", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine there and wait for it; an interrupt here cancels it there."""
        future: Future[T] = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except KeyboardInterrupt:
            future.cancel()
            raise

    def iterate(self, source: AsyncIterator[T]) -> Iterator[T]:
        """An asynchronous iterator as a plain one; closing it closes the source."""

        async def following() -> tuple[T] | None:
            try:
                return (await anext(source),)
            except StopAsyncIteration:
                return None

        async def close() -> None:
            if (end := getattr(source, "aclose", None)) is not None:
                await end()

        try:
            while (item := self.run(following())) is not None:
                yield item[0]
        finally:
            self.run(close())

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class Client:
    """A client of one platform; a context manager, or `close` it. See `AsyncClient` for what the arguments mean."""

    def __init__(
        self,
        address: str | None = None,
        *,
        project: str | None = None,
        actor: str | None = None,
        timeout: float = DEFAULT_TIMEOUT,
    ) -> None:
        self._async = AsyncClient(address, project=project, actor=actor, timeout=timeout)
        self._loop = _Loop()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connection and the thread."""
        self._loop.run(self._async.close())
        self._loop.stop()

    @property
    def address(self) -> str:
        """The gateway's ``host:port``."""
        return self._async.address

    # Commands

    def publish(self, command: Any, *, id: str = "", wait: bool = True, timeout: float | None = None) -> Record:
        return self._loop.run(self._async.publish(command, id=id, wait=wait, timeout=timeout))

    def publish_many(self, commands: Iterable[Any], *, timeout: float | None = None) -> list[Record]:
        return self._loop.run(self._async.publish_many(commands, timeout=timeout))

    # Jobs

    def submit(
        self,
        described: JobSpec | Mapping[str, Any] | str | Path | None = None,
        *,
        id: str = "",
        timeout: float | None = None,
        in_current_folder: bool = False,
        **fields: Any,
    ) -> Job:
        more = {"in_current_folder": in_current_folder, **fields}
        return Job(self, self._loop.run(self._async.submit(described, id=id, timeout=timeout, **more)))

    def submit_many(
        self,
        described: str | Path | Iterable[JobSpec | Mapping[str, Any]],
        *,
        timeout: float | None = None,
        in_current_folder: bool = False,
    ) -> list[Job]:
        submitting = self._async.submit_many(described, timeout=timeout, in_current_folder=in_current_folder)
        return [Job(self, job) for job in self._loop.run(submitting)]

    def run(self, described: JobSpec | Mapping[str, Any] | str | Path | None = None, **fields: Any) -> int:
        return self._loop.run(self._async.run(described, **fields))

    def job(self, id: str) -> Job:
        return Job(self, self._async.job(id))

    def get(self, id: str, *, at: datetime | None = None) -> Record:
        return self._loop.run(self._async.get(id, at=at))

    def jobs(self, **filters: Any) -> list[Record]:
        return self._loop.run(self._async.jobs(**filters))

    def tasks(self, id: str, **filters: Any) -> list[Record]:
        return self._loop.run(self._async.tasks(id, **filters))

    def attempts(self, id: str, **filters: Any) -> list[Record]:
        return self._loop.run(self._async.attempts(id, **filters))

    def watch_jobs(self, ids: Iterable[str] = (), **filters: Any) -> Iterator[Record]:
        return self._loop.iterate(self._async.watch_jobs(ids, **filters))

    def wait(self, ids: Iterable[str], *, timeout: float | None = None) -> list[Record]:
        return self._loop.run(self._async.wait(ids, timeout=timeout))

    def logs(self, id: str, **wanted: Any) -> Iterator[Record]:
        return self._loop.iterate(self._async.logs(id, **wanted))

    def cancel(self, id: str, *, tasks: str | None = None, reason: str = "") -> Record:
        return self._loop.run(self._async.cancel(id, tasks=tasks, reason=reason))

    def requeue(self, id: str, *, tasks: str | None = None) -> Record:
        return self._loop.run(self._async.requeue(id, tasks=tasks))

    def why(self, id: str, *, at: datetime | None = None) -> Record:
        return self._loop.run(self._async.why(id, at=at))

    def queues(self, *, at: datetime | None = None) -> list[Record]:
        return self._loop.run(self._async.queues(at=at))

    def entries(self, queue: str = "", *, at: datetime | None = None, limit: int | None = 100) -> list[Record]:
        return self._loop.run(self._async.entries(queue, at=at, limit=limit))

    def configure_queue(self, queue: str, *, policy: str = "", status: str = "") -> Record:
        return self._loop.run(self._async.configure_queue(queue, policy=policy, status=status))

    # Nodes

    def nodes(self, **filters: Any) -> list[Record]:
        return self._loop.run(self._async.nodes(**filters))

    def node(self, id: str, *, pool: str = "", at: datetime | None = None) -> Record:
        return self._loop.run(self._async.node(id, pool=pool, at=at))

    def pools(self, *, at: datetime | None = None) -> list[Record]:
        return self._loop.run(self._async.pools(at=at))

    def allocations(self, **filters: Any) -> list[Record]:
        return self._loop.run(self._async.allocations(**filters))

    def cordon(self, node: str, *, reason: str = "", pool: str = "") -> Record:
        return self._loop.run(self._async.cordon(node, reason=reason, pool=pool))

    def uncordon(self, node: str, *, pool: str = "") -> Record:
        return self._loop.run(self._async.uncordon(node, pool=pool))

    def drain(self, node: str, *, reason: str = "", grace: float | None = None, pool: str = "") -> Record:
        return self._loop.run(self._async.drain(node, reason=reason, grace=grace, pool=pool))

    def label(self, node: str, labels: Mapping[str, str | None], *, pool: str = "") -> Record:
        return self._loop.run(self._async.label(node, labels, pool=pool))

    def taint(self, node: str, taints: Iterable[Mapping[str, str]], *, pool: str = "") -> Record:
        return self._loop.run(self._async.taint(node, taints, pool=pool))

    def remove_node(self, node: str, *, reason: str = "", pool: str = "") -> Record:
        return self._loop.run(self._async.remove_node(node, reason=reason, pool=pool))

    # The log

    def history(
        self, context: str, id: str, *, at: datetime | None = None, flow: bool = False, limit: int | None = None
    ) -> list[Record]:
        return self._loop.run(self._async.history(context, id, at=at, flow=flow, limit=limit))

    def watch(self, context: str, **wanted: Any) -> Iterator[Record]:
        return self._loop.iterate(self._async.watch(context, **wanted))

    def status(self, context: str) -> Record:
        return self._loop.run(self._async.status(context))


class Job:
    """One job; see `AsyncJob`."""

    def __init__(self, client: Client, job: AsyncJob) -> None:
        self._client = client
        self._async = job

    def __repr__(self) -> str:
        return repr(self._async)

    @property
    def id(self) -> str:
        return self._async.id

    @property
    def name(self) -> str:
        return self._async.name

    @property
    def status(self) -> str:
        """Where it was when last asked; empty before."""
        return self._async.status

    @property
    def exit_code(self) -> int | None:
        return self._async.exit_code

    def refresh(self, *, at: datetime | None = None) -> Record:
        return self._run(self._async.refresh(at=at))

    def spec(self) -> Record:
        return self._run(self._async.spec())

    def wait(self, *, timeout: float | None = None) -> Record:
        return self._run(self._async.wait(timeout=timeout))

    def watch(self) -> Iterator[Record]:
        return self._client._loop.iterate(self._async.watch())

    def logs(self, **wanted: Any) -> Iterator[Record]:
        return self._client._loop.iterate(self._async.logs(**wanted))

    def tasks(self, *, status: Iterable[str] = (), at: datetime | None = None) -> list[Record]:
        return self._run(self._async.tasks(status=status, at=at))

    def attempts(self, *, task: int | None = None, at: datetime | None = None) -> list[Record]:
        return self._run(self._async.attempts(task=task, at=at))

    def cancel(self, *, tasks: str | None = None, reason: str = "") -> Record:
        return self._run(self._async.cancel(tasks=tasks, reason=reason))

    def requeue(self, *, tasks: str | None = None) -> Record:
        return self._run(self._async.requeue(tasks=tasks))

    def why(self, *, at: datetime | None = None) -> Record:
        return self._run(self._async.why(at=at))

    def history(self, *, at: datetime | None = None) -> list[Record]:
        return self._run(self._async.history(at=at))

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._client._loop.run(work)
