"""Jobs through the client: submit, look, wait, follow, cancel, ask why. Knows no node and no log.

`JobCalls` has the calls by id; `AsyncJob` is one job with the same calls as methods.
"""

from __future__ import annotations

import asyncio
import codecs
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from forgelog.client.bundles import BundleCalls
from forgelog.client.core import PAGE
from forgelog.client.plain import Answer, plain, timestamp
from forgelog.client.references import Candidate, chosen
from forgelog.client.rows import AttemptRow, EventRow, JobAnswer, JobRow, LogPiece, TaskRow, WhyAnswer
from forgelog.client.specs import in_callers_folder, jobs_of, one_of
from forgelog.client.words import enum_words
from forgelog.errors import InvalidInput, NotFound, Problem, Timeout, exit_status
from forgelog_pb.jobs.v1 import queries_pb2 as pb
from forgelog_pb.jobs.v1 import queries_pb2_grpc as rpc
from forgelog_pb.jobs.v1 import types_pb2 as types
from forgelog_pb.scheduling.v1 import queries_pb2 as queue_pb
from forgelog_pb.scheduling.v1 import queries_pb2_grpc as queue_rpc

if TYPE_CHECKING:
    from events.language.jobs.spec import JobSpec

CONTEXT = "jobs"
ENDED = ("completed", "failed", "cancelled")


class JobCalls(BundleCalls):
    """`forgelog.jobs.v1.JobQueries`, and the commands on jobs."""

    # Submit

    async def submit(
        self,
        described: JobSpec | Mapping[str, Any] | str | Path | None = None,
        *,
        id: str = "",
        timeout: float | None = None,
        in_current_folder: bool = False,
        **fields: Any,
    ) -> AsyncJob:
        """Submit one job: a manifest's path, a dict with a manifest's keys, keyword arguments, or a `JobSpec`.

        `id` is the command's id: a repeat under it is the same job. A job runs in its ``working_directory``; a
        relative one begins at the manifest's folder, else at the current one. A job that names none runs in an empty
        folder of its own, or with `in_current_folder` in the caller's, on nodes that see the same folder there. With
        ``upload`` (a folder) it runs on any node, in a copy of that folder.

        Raises `InvalidInput` (with every error of a manifest), `Refused`, `Timeout`, `Unavailable`.
        """
        jobs = jobs_of(described, fields)
        if in_current_folder:
            jobs = in_callers_folder(jobs)
        (job,) = await self._uploaded([one_of(jobs, described)])
        outcome = await self._submit(job.job_id, job.spec({}), id, timeout)
        return self._handle(outcome.subject, job.name)

    async def submit_many(
        self,
        described: str | Path | Iterable[JobSpec | Mapping[str, Any]],
        *,
        timeout: float | None = None,
        in_current_folder: bool = False,
    ) -> list[AsyncJob]:
        """Submit every job of a manifest (dependencies first), or of several descriptions, in their order.

        Stops at the first refusal, which is raised; jobs before it are submitted.
        """
        if isinstance(described, str | Path):
            jobs = jobs_of(described, {})
        else:
            jobs = [replace(one_of(jobs_of(item, {}), item), index=index) for index, item in enumerate(described)]
        if in_current_folder:
            jobs = in_callers_folder(jobs)
        jobs = await self._uploaded(jobs)
        ids: dict[int, str] = {}
        for job in jobs:
            ids[job.index] = (await self._submit(job.job_id, job.spec(ids), "", timeout)).subject
        names = {job.index: job.name for job in jobs}
        return [self._handle(ids[index], names[index]) for index in sorted(ids)]

    async def _submit(self, job_id: str, spec: JobSpec, id: str, timeout: float | None) -> Answer:
        from events.language.common import DEFAULT_PROJECT
        from events.language.jobs import SubmitJob
        from events.log.ids import id_ending

        ending = id_ending(self._project or DEFAULT_PROJECT)
        if job_id and not job_id.endswith(ending):
            job_id += ending
        if spec.queue not in self._queues:
            await self._check_queue(spec.queue)
        return await self.publish(SubmitJob(job_id=job_id, spec=spec), id=id, timeout=timeout)

    async def _check_queue(self, name: str) -> None:
        """Refuse a queue that does not exist, with those that do: scheduling itself would cancel the job, later.

        Raises `InvalidInput`.
        """
        request = queue_pb.ListQueuesRequest(options=self._options("scheduling", None))
        answer = await self._ask(queue_rpc.SchedulingQueriesStub(self.channel).ListQueues, request, "queues")
        self._queues.update(item.queue for item in answer.queues)
        if name not in self._queues:
            hint = f"'forgelog queue create {name}' makes it"
            known = ", ".join(item.queue for item in answer.queues)
            raise InvalidInput(f"there is no queue {name!r}; there are: {known}", [Problem("queue", "unknown", hint)])

    async def run(self, described: JobSpec | Mapping[str, Any] | str | Path | None = None, **fields: Any) -> int:
        """Submit one job, wait for its end, and return its exit code; 143 if it was cancelled before it ran."""
        job = await self.submit(described, **fields)
        ended = await job.wait()
        return exit_status(ended.status, ended.exit_code)

    # Look

    def job(self, id: str) -> AsyncJob:
        """A handle on a job; nothing is asked yet."""
        return self._handle(id)

    def _handle(self, id: str, name: str = "") -> AsyncJob:
        return AsyncJob(self, id, name)

    async def get(self, id: str, *, at: datetime | None = None) -> JobAnswer:
        """A job: ``job`` in short and ``spec``. Raises `NotFound`."""
        request = pb.GetJobRequest(job_id=id, options=self._options(CONTEXT, at))
        answer = await self._ask(rpc.JobQueriesStub(self.channel).GetJob, request, f"job {id}")
        return cast("JobAnswer", plain(answer))

    async def jobs(
        self,
        *,
        project: str = "",
        queue: str = "",
        owner: str = "",
        status: Iterable[str] = (),
        labels: Mapping[str, str] | None = None,
        name: str = "",
        since: datetime | None = None,
        before: datetime | None = None,
        at: datetime | None = None,
        limit: int | None = 100,
    ) -> list[JobRow]:
        """Jobs, newest first; `limit` None gives all. `name` is a part of the name; `since` and `before` bound the
        time of submission."""
        request = pb.ListJobsRequest(
            project=project,
            queue=queue,
            owner=owner,
            statuses=enum_words(types.JobStatus.DESCRIPTOR, status, "status"),
            labels=labels or {},
            name=name,
            submitted_after=timestamp(since, "since") if since else None,
            submitted_before=timestamp(before, "before") if before else None,
            options=self._options(CONTEXT, at),
        )
        return await self._pages(rpc.JobQueriesStub(self.channel).ListJobs, request, "jobs", "jobs", limit)

    async def find(self, text: str, *, at: datetime | None = None) -> str:
        """The id of the job that a person means: by its id, its name, or the beginning of its id.

        Raises `NotFound` if there is none, and `InvalidInput` that lists them if it may be one of several.
        """
        try:
            return str((await self.get(text, at=at)).job.job_id)
        except NotFound:
            pass  # not an id, then
        options = self._options(CONTEXT, at)
        request = pb.ListJobsRequest(called=text, options=options)
        rows = await self._pages(rpc.JobQueriesStub(self.channel).ListJobs, request, "jobs", "jobs", PAGE)
        candidates = [
            Candidate(row.job_id, row.name, row.status not in ENDED, f"{row.status}, {row.name}") for row in rows
        ]
        return chosen(text, candidates, kind="job", listing="forgelog ps -a", at=at)

    async def tasks(
        self, id: str, *, status: Iterable[str] = (), at: datetime | None = None, limit: int | None = None
    ) -> list[TaskRow]:
        """A job's tasks by number."""
        request = pb.ListTasksRequest(
            job_id=id,
            statuses=enum_words(types.JobStatus.DESCRIPTOR, status, "status"),
            options=self._options(CONTEXT, at),
        )
        return await self._pages(rpc.JobQueriesStub(self.channel).ListTasks, request, "tasks", f"job {id}", limit)

    async def attempts(
        self, id: str, *, task: int | None = None, at: datetime | None = None, limit: int | None = None
    ) -> list[AttemptRow]:
        """Every attempt that had a process or an end, by task and attempt."""
        request = pb.ListAttemptsRequest(job_id=id, task=task, options=self._options(CONTEXT, at))
        return await self._pages(rpc.JobQueriesStub(self.channel).ListAttempts, request, "attempts", f"job {id}", limit)

    async def watch_jobs(
        self, ids: Iterable[str] = (), *, project: str = "", queue: str = "", owner: str = "", until_ended: bool = False
    ) -> AsyncIterator[JobRow]:
        """Jobs as they are now, and again whenever they change; goes on when the connection breaks, without telling
        twice of what has not changed meanwhile.

        With `until_ended` it ends when each of `ids` has.
        """
        wanted = list(ids)

        def request() -> Any:
            return pb.WatchJobsRequest(
                job_ids=wanted,
                project=project,
                queue=queue,
                owner=owner,
                until_ended=until_ended,
                options=self._options(CONTEXT, None),
            )

        stub = rpc.JobQueriesStub(self.channel)
        shown: dict[str, datetime | None] = {}
        async for answer in self._connection.resumed(stub.WatchJobs, request, what="watch", endless=not until_ended):
            job = cast("JobRow", plain(answer.job))
            if shown.get(job.job_id) != job.updated_at:
                shown[job.job_id] = job.updated_at
                yield job

    async def wait(self, ids: Iterable[str], *, timeout: float | None = None) -> list[JobRow]:
        """Wait until all these jobs have ended and return them, in the order asked for. Raises `Timeout`."""
        wanted = list(ids)
        ended: dict[str, JobRow] = {}

        async def watch() -> None:
            async for job in self.watch_jobs(wanted, until_ended=True):
                if job.status in ENDED:
                    ended[job.job_id] = job
                else:
                    ended.pop(job.job_id, None)

        try:
            await asyncio.wait_for(watch(), timeout)
        except TimeoutError:
            left = [id for id in wanted if id not in ended]
            raise Timeout(f"{', '.join(left[:5])} had not ended after {timeout:g} s; it goes on") from None
        return [ended[id] for id in wanted]

    # Output

    async def logs(
        self,
        id: str,
        *,
        tasks: str = "",
        attempt: int = 0,
        stream: str = "",
        follow: bool = False,
        tail_bytes: int | None = None,
        at: datetime | None = None,
    ) -> AsyncIterator[LogPiece]:
        """What tasks printed, in pieces: ``task``, ``attempt``, ``stream``, ``offset``, ``data`` (bytes), ``text``.

        With `follow` it goes on until the job has ended and all it printed has come; `at`: what had arrived by then.
        `stream` is ``stdout``, ``stderr`` or both; `tasks` are such as ``0-3,7``. Text that ends amid a character waits
        for its rest. The last piece has `eof`; `truncated` and `missing_bytes` tell of what is not there.
        """
        if stream not in ("", "stdout", "stderr"):
            raise InvalidInput(f"stream: {stream!r} is neither stdout nor stderr")
        cursor = ""

        def request() -> Any:
            return pb.FollowLogsRequest(
                job_id=id,
                tasks=tasks,
                attempt=attempt,
                stream=f"LOG_STREAM_{stream.upper() or 'UNSPECIFIED'}",
                follow=follow,
                tail_bytes=tail_bytes if not cursor else None,
                cursor=cursor,
                options=self._options(CONTEXT, at),
            )

        decoders: Any = defaultdict(lambda: codecs.getincrementaldecoder("utf-8")(errors="replace"))
        stub = rpc.JobQueriesStub(self.channel)
        async for answer in self._connection.resumed(stub.FollowLogs, request, what=f"logs of {id}", endless=False):
            cursor, record = answer.cursor, cast("LogPiece", plain(answer))
            decoder = decoders[answer.task, answer.attempt, answer.stream]
            record["text"] = decoder.decode(answer.data, final=answer.eof)
            yield record

    # Act

    async def cancel(self, id: str, *, tasks: str | None = None, reason: str = "") -> Answer:
        """Stop a job, or some of its tasks (``0-3,7``). Waiting ones never start; running ones get TERM, then KILL."""
        body: dict[str, Any] = {"job_id": id, "reason": reason}
        if tasks is not None:
            body["tasks"] = tasks
        return await self.publish(("forgelog.jobs.v1.CancelJob", body))

    async def requeue(self, id: str, *, tasks: str | None = None, reason: str = "") -> Answer:
        """Run failed and cancelled tasks of an ended job again."""
        body: dict[str, Any] = {"job_id": id, "reason": reason}
        if tasks is not None:
            body["tasks"] = tasks
        return await self.publish(("forgelog.jobs.v1.RequeueJob", body))


class _OtherCalls(Protocol):
    """What a job asks of its client beside `JobCalls`."""

    async def why(self, id: str, *, at: datetime | None = None) -> WhyAnswer: ...

    async def history(self, context: str, id: str | None = None, *, at: datetime | None = None) -> list[EventRow]: ...


class AsyncJob:
    """One job. `status` and the other attributes of the short view are as of the last answer."""

    def __init__(self, client: JobCalls, id: str, name: str = "") -> None:
        self._client = client
        self._others = cast("_OtherCalls", client)
        self.id = id
        self.name = name
        self.last: JobRow | None = None
        """The job as it was last seen."""

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

    async def watch(self) -> AsyncIterator[JobRow]:
        """As it is now, and whenever it changes, until its end."""
        async for job in self._client.watch_jobs([self.id], until_ended=True):
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
        """What it printed; see `AsyncClient.logs`."""
        return self._client.logs(
            self.id, tasks=tasks, attempt=attempt, stream=stream, follow=follow, tail_bytes=tail_bytes, at=at
        )

    async def tasks(self, *, status: Iterable[str] = (), at: datetime | None = None) -> list[TaskRow]:
        """Its tasks by number, or those of these statuses."""
        return await self._client.tasks(self.id, status=status, at=at)

    async def attempts(self, *, task: int | None = None, at: datetime | None = None) -> list[AttemptRow]:
        """Every attempt that had a process or an end, of all tasks or one."""
        return await self._client.attempts(self.id, task=task, at=at)

    async def cancel(self, *, tasks: str | None = None, reason: str = "") -> Answer:
        """Stop it, or some of its tasks (``0-3,7``); the outcome's ``result`` is ``unchanged`` if it had ended."""
        return await self._client.cancel(self.id, tasks=tasks, reason=reason)

    async def requeue(self, *, tasks: str | None = None, reason: str = "") -> Answer:
        """Run its failed and cancelled tasks again, or some of them. Raises `Refused` while it has not ended."""
        return await self._client.requeue(self.id, tasks=tasks, reason=reason)

    async def why(self, *, at: datetime | None = None) -> WhyAnswer:
        """Why it waits; see `AsyncClient.why`."""
        return await self._others.why(self.id, at=at)

    async def history(self, *, at: datetime | None = None) -> list[EventRow]:
        """Its events, oldest first."""
        return await self._others.history(CONTEXT, self.id, at=at)
