"""Jobs through the client: submit, look, wait, follow, cancel, ask why. Knows no node.

`AsyncJobs` has the calls by id; `AsyncJob` is one job with the same calls as methods.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from forgelog.client.bundles import Progress, upload
from forgelog.client.core import PAGE, Core, Namespace
from forgelog.client.fetching import FetchedFile, fetch_rows, kept_rows, list_files
from forgelog.client.following import ENDED, changes, logs_request, printed, until_ended, until_ready
from forgelog.client.log import AsyncLog
from forgelog.client.names import renamed
from forgelog.client.plain import Answer, plain, timestamp
from forgelog.client.references import Candidate, chosen
from forgelog.client.rows import AttemptRow, EventRow, JobAnswer, JobRow, LogPiece, OutputRow, TaskRow, WhyAnswer
from forgelog.client.specs import jobs_of, one_of
from forgelog.client.statuses import JOBS
from forgelog.client.submitting import Submitter
from forgelog.client.waiting import dependencies, explained
from forgelog.client.words import enum_words, several
from forgelog.errors import NotFound, exit_status
from forgelog_pb.jobs.v1 import queries_pb2 as pb
from forgelog_pb.jobs.v1 import queries_pb2_grpc as rpc
from forgelog_pb.jobs.v1 import types_pb2 as types

if TYPE_CHECKING:
    from events.language.jobs.spec import JobSpec
    from events.language.objects import ObjectRef

CONTEXT = "jobs"


class AsyncJobs(Namespace):
    """Jobs: `forgelog.jobs.v1.JobQueries`, the commands on jobs, and why they wait."""

    def __init__(self, core: Core) -> None:
        super().__init__(core)
        self._submitter = Submitter(core)
        self._log = AsyncLog(core)

    @property
    def _stub(self) -> Any:
        return rpc.JobQueriesStub(self._core.channel)

    # Submit

    async def upload(
        self,
        folder: str | Path,
        *,
        progress: Progress | None = None,
        left_out: Callable[[str, str], None] | None = None,
    ) -> ObjectRef:
        """Upload a folder, without files that its `.gitignore` names, and return its reference: a job's ``bundle``.

        Sends only files that the platform does not have. Leaves out ``.git`` and ``.forgelog``. Calls `left_out` with
        path and reason of links out of the folder, and of what is neither file nor folder. Calls `progress` from other
        threads. Raises `InvalidInput`, `Unavailable`."""
        return await upload(self._core, folder, progress, left_out)

    async def submit(
        self,
        /,
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
        one = one_of(jobs_of(described, fields), described)
        ((job, name),) = await self._submitter.submit([one], in_current_folder, timeout, id)
        return AsyncJob(self, job, name)

    async def submit_many(
        self,
        described: str | Path | Iterable[JobSpec | Mapping[str, Any]],
        *,
        timeout: float | None = None,
        in_current_folder: bool = False,
    ) -> list[AsyncJob]:
        """Submit every job of a manifest (dependencies first), or of several descriptions, in their order. Stops at the
        first refusal and raises it; jobs before it are submitted."""
        if isinstance(described, str | Path):
            jobs = jobs_of(described, {})
        else:
            jobs = [replace(one_of(jobs_of(item, {}), item), index=index) for index, item in enumerate(described)]
        submitted = await self._submitter.submit(jobs, in_current_folder, timeout)
        return [AsyncJob(self, job, name) for job, name in submitted]

    async def run(self, /, described: JobSpec | Mapping[str, Any] | str | Path | None = None, **fields: Any) -> int:
        """Submit one job, wait for its end, and return its exit code; 143 if it was cancelled before it ran."""
        job = await self.submit(described, **fields)
        ended = await job.wait()
        return exit_status(ended.status, ended.exit_code)

    # Look

    def job(self, id: str) -> AsyncJob:
        """A handle on a job; nothing is asked yet."""
        return AsyncJob(self, id)

    async def get(self, id: str, *, at: datetime | None = None) -> JobAnswer:
        """A job: ``job`` in short and ``spec``. Raises `NotFound`."""
        request = pb.GetJobRequest(job_id=id, options=self._core.options(CONTEXT, at))
        answer = await self._core.ask(self._stub.GetJob, request, f"job {id}")
        return cast("JobAnswer", plain(answer))

    async def find(self, text: str, *, at: datetime | None = None) -> str:
        """The id of the job that `text` names: its id, the beginning of its id, or its name. Raises `NotFound` if there
        is none, and `InvalidInput`, which lists them, if there are several."""
        try:
            return str((await self.get(text, at=at)).job.job_id)
        except NotFound:
            pass  # not an id, then
        request = pb.ListJobsRequest(called=text, options=self._core.options(CONTEXT, at))
        rows = await self._core.pages(self._stub.ListJobs, request, "jobs", "jobs", PAGE)
        found = [Candidate(row.job_id, row.name, row.status not in ENDED, f"{row.status}, {row.name}") for row in rows]
        return chosen(text, found, kind="job", listing="forgelog ps -a", at=at)

    async def tasks(
        self, id: str, *, status: Iterable[str] = (), at: datetime | None = None, limit: int | None = None
    ) -> list[TaskRow]:
        """A job's tasks by number."""
        request = pb.ListTasksRequest(
            job_id=id,
            statuses=enum_words(types.JobStatus.DESCRIPTOR, status, "status", among=JOBS),
            options=self._core.options(CONTEXT, at),
        )
        return await self._core.pages(self._stub.ListTasks, request, "tasks", f"job {id}", limit)

    async def attempts(
        self, id: str, *, task: int | None = None, at: datetime | None = None, limit: int | None = None
    ) -> list[AttemptRow]:
        """Every attempt that had a process or an end, by task and attempt."""
        request = pb.ListAttemptsRequest(job_id=id, task=task, options=self._core.options(CONTEXT, at))
        return await self._core.pages(self._stub.ListAttempts, request, "attempts", f"job {id}", limit)

    def watch(
        self, ids: Iterable[str] = (), *, project: str = "", queue: str = "", owner: str = "", until_ended: bool = False
    ) -> AsyncIterator[JobRow]:
        """Jobs as they are now, and again after each change. Reconnects after a lost connection, without repeating
        unchanged jobs. With `until_ended` it ends when each of `ids` has ended."""
        wanted = several(ids)

        def request() -> Any:
            return pb.WatchJobsRequest(
                job_ids=wanted, project=project, queue=queue, owner=owner, until_ended=until_ended,
                options=self._core.options(CONTEXT, None)
            )  # fmt: skip

        return changes(self._core, self._stub.WatchJobs, request, endless=not until_ended)

    async def wait(self, ids: Iterable[str], *, timeout: float | None = None) -> list[JobRow]:
        """Wait until all these jobs have ended and return them, in the order asked for. Raises `Timeout`."""
        return await until_ended(self.watch(wanted := several(ids), until_ended=True), wanted, timeout)

    async def wait_ready(self, id: str, *, timeout: float | None = None) -> JobRow:
        """Wait until every task of a service may be called; `tasks` says where each is (``address``, ``ports``).

        Raises `InvalidInput` if the job is no service, `ForgelogError` if it ends before, `Timeout`."""
        return await until_ready(await self.get(id), self.watch([id], until_ended=True), timeout)

    async def why(self, id: str, *, at: datetime | None = None) -> WhyAnswer:
        """Why a job waits: ``message``, ``entries`` (place in the queue, reasons by group of nodes), ``placements`` and
        ``dependencies`` (as `dependencies` gives them; only while it waits for one)."""
        return await explained(self._core, self.get, id, at)

    async def dependencies(self, job: JobAnswer, *, at: datetime | None = None) -> list[Answer]:
        """The jobs that a job (as `get` gives it) depends on: ``job_id``, ``kind``, ``name``, ``status``, and ``met``,
        which is false while it is waited for. Those still waited for come first; fifty at most."""
        return await dependencies(self.get, job, at)

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
        chosen: Any = {"job_id": id, "tasks": tasks, "attempt": attempt, "stream": stream, "follow": follow}
        request = logs_request(tail_bytes, self._core.options(CONTEXT, at), **chosen)
        async for piece in printed(self._core, self._stub.FollowLogs, request, f"logs of {id}"):
            yield piece

    async def outputs(
        self, id: str, *, task: int | None = None, at: datetime | None = None, limit: int | None = None
    ) -> list[OutputRow]:
        """The files that a job keeps of its tasks, an attempt each: once they can be fetched, or are given up."""
        request = pb.ListOutputsRequest(job_id=id, task=task, options=self._core.options(CONTEXT, at))
        return await self._core.pages(self._stub.ListOutputs, request, "outputs", f"job {id}", limit)

    async def fetch(
        self,
        id: str,
        *,
        into: str | Path = ".",
        task: int | None = None,
        attempt: int | None = None,
        pattern: str = "",
        force: bool = False,
        at: datetime | None = None,
        timeout: float = 60.0,
        progress: Progress | None = None,
    ) -> Sequence[FetchedFile]:
        """Fetch files that a job keeps into a folder; those that `pattern` fits (``results/*.json``). Of each task they
        are those of its newest attempt that has ended, or of `attempt`.

        The files of an array lie in folders of the tasks' numbers, those of one `task` directly in `into`. A file that
        is there already is left; one with other content is replaced only with `force`, and else nothing is fetched.
        Files of a task that has ended are waited for up to `timeout` seconds. `progress` is called from other threads.

        Raises `NotFound` if there is no such file, `InvalidInput`, `Timeout`, `Unavailable`.
        """
        job, rows = await kept_rows(self, id, task, attempt, at, timeout)
        nested = task is None and job.spec.array is not None
        return await fetch_rows(self._core, rows, Path(into), pattern, nested=nested, force=force, progress=progress)

    async def files(
        self,
        id: str,
        *,
        task: int | None = None,
        attempt: int | None = None,
        at: datetime | None = None,
        timeout: float = 60.0,
    ) -> Sequence[FetchedFile]:
        """The files that `fetch` would fetch, by their paths in the tasks' folders. Raises as `fetch`."""
        _, rows = await kept_rows(self, id, task, attempt, at, timeout)
        return await list_files(self._core, rows)

    # Act

    async def cancel(self, id: str, *, tasks: str | None = None, reason: str = "") -> Answer:
        """Stop a job, or some of its tasks (``0-3,7``). Waiting ones never start; running ones get TERM, then KILL."""
        return await self._command("CancelJob", id, tasks, reason)

    async def requeue(self, id: str, *, tasks: str | None = None, reason: str = "") -> Answer:
        """Run failed and cancelled tasks of an ended job again."""
        return await self._command("RequeueJob", id, tasks, reason)

    async def _command(self, name: str, id: str, tasks: str | None, reason: str) -> Answer:
        body = {"job_id": id, "reason": reason, **({} if tasks is None else {"tasks": tasks})}
        return await self._core.publish((f"forgelog.jobs.v1.{name}", body))

    # The last: annotations below it would take its name for the builtin's.
    async def list(
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
        """Jobs, newest first; `limit` None gives all. `name`: a part of it. `since`, `before`: bounds of submission."""
        request = pb.ListJobsRequest(
            project=project, queue=queue, owner=owner, labels=labels or {}, name=name, statuses=enum_words(
            types.JobStatus.DESCRIPTOR, status, "status", among=JOBS), options=self._core.options(CONTEXT, at),
            submitted_after=since and timestamp(since, "since"), submitted_before=before and timestamp(before, "before")
        )  # fmt: skip
        return await self._core.pages(self._stub.ListJobs, request, "jobs", "jobs", limit)

    __call__ = renamed("jobs.list", list)


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
