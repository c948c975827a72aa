"""One job of the client, with the calls of `AsyncJobs` as methods."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from forgelog.client.fetching import FetchedFile
from forgelog.client.plain import Answer
from forgelog.client.rows import AttemptRow, EventRow, JobRow, LogPiece, OutputRow, TaskRow, WhyAnswer

if TYPE_CHECKING:
    from forgelog.client.jobs import AsyncJobs

CONTEXT = "jobs"


class AsyncJob:
    """One job. `status` and the other attributes of the short view are as of the last answer."""

    id: str
    """The job's id."""
    name: str
    """The job's name; empty until it is known."""
    last: JobRow | None
    """The job as it was last seen."""

    def __init__(self, client: AsyncJobs, id: str, name: str = "") -> None:
        self._client = client
        self.id, self.name, self.last = id, name, None

    def __repr__(self) -> str:
        return f"<Job {self.id} {self.name!r} {self.status or 'not asked yet'}>"

    @property
    def status(self) -> str:
        """Where it was when last asked; empty before."""
        return str(self.last.status) if self.last is not None else ""

    @property
    def exit_code(self) -> int | None:
        """What it exited with when last asked; None before its end, and if it was cancelled before it ran."""
        return self.last.exit_code if self.last is not None else None

    def _saw(self, job: JobRow) -> JobRow:
        self.last, self.name = job, job.name
        return job

    async def refresh(self, *, at: datetime | None = None) -> JobRow:
        """The job in short, now or as of a moment."""
        job = (await self._client.get(self.id, at=at)).job
        return job if at is not None else self._saw(job)

    async def spec(self) -> Answer:
        """As it was submitted, defaults filled in."""
        return (await self._client.get(self.id)).spec

    async def wait(self, *, timeout: float | None = None) -> JobRow:
        """Wait for its end. Raises `Timeout` after so many seconds; the job goes on."""
        return self._saw((await self._client.wait([self.id], timeout=timeout))[0])

    async def wait_ready(self, *, timeout: float | None = None) -> JobRow:
        """Wait until every task of a service may be called; see `AsyncJobs.wait_ready`."""
        return self._saw(await self._client.wait_ready(self.id, timeout=timeout))

    async def watch(self) -> AsyncIterator[JobRow]:
        """As it is now, and whenever it changes, until its end."""
        async for job in self._client.watch([self.id], until_ended=True):
            yield self._saw(job)

    def logs(
        self,
        *,
        tasks: str = "",
        attempt: int = 0,
        stream: str = "",
        follow: bool = False,
        tail_bytes: int | None = None,
        at: datetime | None = None,
    ) -> AsyncIterator[LogPiece]:
        """What it printed; see `AsyncJobs.logs`."""
        return self._client.logs(
            self.id, tasks=tasks, attempt=attempt, stream=stream, follow=follow, tail_bytes=tail_bytes, at=at
        )

    async def tasks(self, *, status: Iterable[str] = (), at: datetime | None = None) -> list[TaskRow]:
        """Its tasks by number, or those of these statuses."""
        return await self._client.tasks(self.id, status=status, at=at)

    async def attempts(self, *, task: int | None = None, at: datetime | None = None) -> list[AttemptRow]:
        """Every attempt that had a process or an end, of all tasks or one."""
        return await self._client.attempts(self.id, task=task, at=at)

    async def outputs(self, *, task: int | None = None, at: datetime | None = None) -> list[OutputRow]:
        """The files that it keeps of its tasks; see `AsyncJobs.outputs`."""
        return await self._client.outputs(self.id, task=task, at=at)

    async def fetch(
        self, into: str | Path = ".", *, task: int | None = None, pattern: str = "", force: bool = False
    ) -> Sequence[FetchedFile]:
        """Fetch files that it keeps into a folder; see `AsyncJobs.fetch`."""
        return await self._client.fetch(self.id, into=into, task=task, pattern=pattern, force=force)

    async def cancel(self, *, tasks: str | None = None, reason: str = "") -> Answer:
        """Stop it, or some of its tasks (``0-3,7``); the outcome's ``result`` is ``unchanged`` if it had ended."""
        return await self._client.cancel(self.id, tasks=tasks, reason=reason)

    async def requeue(self, *, tasks: str | None = None, reason: str = "") -> Answer:
        """Run its failed and cancelled tasks again, or some of them. Raises `Refused` while it has not ended."""
        return await self._client.requeue(self.id, tasks=tasks, reason=reason)

    async def why(self, *, at: datetime | None = None) -> WhyAnswer:
        """Why it waits; see `AsyncJobs.why`."""
        return await self._client.why(self.id, at=at)

    async def history(self, *, at: datetime | None = None) -> list[EventRow]:
        """Its events, oldest first."""
        return await self._client._log.history(CONTEXT, self.id, at=at)
