"""`Client`: the asynchronous client for programs without coroutines. Each call runs on a loop in a thread of its own.

A thin coat: every method has the arguments, the answer and the errors of its namesake in `AsyncClient`.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from forgelog.client.aio import AsyncClient, AsyncJob
from forgelog.client.bundles import Progress
from forgelog.client.channel import DEFAULT_TIMEOUT
from forgelog.client.loop import Loop
from forgelog.client.plain import Answer
from forgelog.client.rows import (
    AllocationRow,
    AttemptRow,
    EntryRow,
    EventRow,
    JobAnswer,
    JobRow,
    LogPiece,
    NodeAnswer,
    NodeRow,
    PoolRow,
    QueueRow,
    TaskRow,
    WhyAnswer,
)

if TYPE_CHECKING:
    from events.language.jobs.spec import JobSpec
    from events.language.objects import ObjectRef

T = TypeVar("T")


class Client:
    """A client of one platform; a context manager, or `close` it. See `AsyncClient` for what the arguments mean."""

    def __init__(
        self,
        address: str | None = None,
        *,
        project: str | None = None,
        actor: str | None = None,
        token: str | None = None,
        timeout: float = DEFAULT_TIMEOUT,
    ) -> None:
        self._async = AsyncClient(address, project=project, actor=actor, token=token, timeout=timeout)
        self._loop = Loop()

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

    def publish(self, command: Any, *, id: str = "", wait: bool = True, timeout: float | None = None) -> Answer:
        """Publish a command and, unless told not to `wait`, return what became of it.

        `command` is one of the language's commands, or a pair of its type (``CancelJob``) and its fields. `id` is the
        idempotency key: a repeat yields the first outcome. The record has ``id``, ``subject``, ``result``,
        ``positions`` and ``events``. Raises `Refused`, `Timeout`, `Unavailable`."""
        return self._loop.run(self._async.publish(command, id=id, wait=wait, timeout=timeout))

    def publish_many(self, commands: Iterable[Any], *, timeout: float | None = None) -> list[Answer]:
        """Publish several commands in one go and return what became of each, in their order.

        A refused one is not raised: its record has ``result == "rejected"`` and a ``rejection``."""
        return self._loop.run(self._async.publish_many(commands, timeout=timeout))

    # Jobs

    def upload(
        self,
        folder: str | Path,
        *,
        progress: Progress | None = None,
        left_out: Callable[[str, str], None] | None = None,
    ) -> ObjectRef:
        """Upload a folder, without what its `.gitignore` files keep out, and return what names it: a job's ``bundle``.

        Only files go that the platform does not have. ``.git`` and ``.forgelog`` stay here, as do links that lead to no
        file of the folder, and what is neither a file nor a folder: `left_out` is told their paths and why. `progress`
        is called from other threads. Raises `InvalidInput`, `Unavailable`."""
        return self._loop.run(self._async.upload(folder, progress=progress, left_out=left_out))

    def submit(
        self,
        described: JobSpec | Mapping[str, Any] | str | Path | None = None,
        *,
        id: str = "",
        timeout: float | None = None,
        in_current_folder: bool = False,
        **fields: Any,
    ) -> Job:
        """Submit one job: a manifest's path, a dict with a manifest's keys, keyword arguments, or a `JobSpec`.

        `id` is the command's id: a repeat under it is the same job. A job runs in its ``working_directory``; a
        relative one begins at the manifest's folder, else at the current one. A job that names none runs in an empty
        folder of its own, or with `in_current_folder` in the caller's, on nodes that see the same folder there. With
        ``upload`` (a folder) it runs on any node, in a copy of that folder.

        Raises `InvalidInput` (with every error of a manifest), `Refused`, `Timeout`, `Unavailable`."""
        more = {"in_current_folder": in_current_folder, **fields}
        return Job(self, self._loop.run(self._async.submit(described, id=id, timeout=timeout, **more)))

    def submit_many(
        self,
        described: str | Path | Iterable[JobSpec | Mapping[str, Any]],
        *,
        timeout: float | None = None,
        in_current_folder: bool = False,
    ) -> list[Job]:
        """Submit every job of a manifest (dependencies first), or of several descriptions, in their order.

        Stops at the first refusal, which is raised; jobs before it are submitted."""
        submitting = self._async.submit_many(described, timeout=timeout, in_current_folder=in_current_folder)
        return [Job(self, job) for job in self._loop.run(submitting)]

    def run(self, described: JobSpec | Mapping[str, Any] | str | Path | None = None, **fields: Any) -> int:
        """Submit one job, wait for its end, and return its exit code; 143 if it was cancelled before it ran."""
        return self._loop.run(self._async.run(described, **fields))

    def job(self, id: str) -> Job:
        """A handle on a job; nothing is asked yet."""
        return Job(self, self._async.job(id))

    def get(self, id: str, *, at: datetime | None = None) -> JobAnswer:
        """A job: ``job`` in short and ``spec``. Raises `NotFound`."""
        return self._loop.run(self._async.get(id, at=at))

    def jobs(self, **filters: Any) -> list[JobRow]:
        """Jobs, newest first; `limit` None gives all. `name` is a part of the name; `since` and `before` bound the
        time of submission."""
        return self._loop.run(self._async.jobs(**filters))

    def find(self, text: str, *, at: datetime | None = None) -> str:
        """The id of the job that a person means: by its id, its name, or the beginning of its id.

        Raises `NotFound` if there is none, and `InvalidInput` that lists them if it may be one of several.
        """
        return self._loop.run(self._async.find(text, at=at))

    def dependencies(self, job: JobAnswer, *, at: datetime | None = None) -> list[Answer]:
        """The jobs that a job (as `get` gives it) depends on: ``job_id``, ``kind``, ``name``, ``status``, and ``met``,
        which is false while it is waited for. Those still waited for come first."""
        return self._loop.run(self._async.dependencies(job, at=at))

    def tasks(self, id: str, **filters: Any) -> list[TaskRow]:
        """A job's tasks by number."""
        return self._loop.run(self._async.tasks(id, **filters))

    def attempts(self, id: str, **filters: Any) -> list[AttemptRow]:
        """Every attempt that had a process or an end, by task and attempt."""
        return self._loop.run(self._async.attempts(id, **filters))

    def watch_jobs(self, ids: Iterable[str] = (), **filters: Any) -> Iterator[JobRow]:
        """Jobs as they are now, and again whenever they change; goes on when the connection breaks.

        With `until_ended` it ends when each of `ids` has."""
        return self._loop.iterate(self._async.watch_jobs(ids, **filters))

    def wait(self, ids: Iterable[str], *, timeout: float | None = None) -> list[JobRow]:
        """Wait until all these jobs have ended and return them, in the order asked for. Raises `Timeout`."""
        return self._loop.run(self._async.wait(ids, timeout=timeout))

    def logs(self, id: str, **wanted: Any) -> Iterator[LogPiece]:
        """What tasks printed, in pieces: ``task``, ``attempt``, ``stream``, ``offset``, ``data`` (bytes), ``text``.

        With `follow` it goes on until the job has ended and all it printed has come; `at`: what had arrived by then.
        `stream` is ``stdout``, ``stderr`` or both; `tasks` are such as ``0-3,7``. Text that ends amid a character waits
        for its rest. The last piece has `eof`; `truncated` and `missing_bytes` tell of what is not there."""
        return self._loop.iterate(self._async.logs(id, **wanted))

    def cancel(self, id: str, *, tasks: str | None = None, reason: str = "") -> Answer:
        """Stop a job, or some of its tasks (``0-3,7``). Waiting ones never start; running ones get TERM, then KILL."""
        return self._loop.run(self._async.cancel(id, tasks=tasks, reason=reason))

    def requeue(self, id: str, *, tasks: str | None = None, reason: str = "") -> Answer:
        """Run failed and cancelled tasks of an ended job again."""
        return self._loop.run(self._async.requeue(id, tasks=tasks, reason=reason))

    def why(self, id: str, *, at: datetime | None = None) -> WhyAnswer:
        """Why a job waits: ``message``, ``entries`` (place in the queue, reasons by group of nodes), ``placements`` and
        ``dependencies`` (as `dependencies` gives them; only while it waits for one)."""
        return self._loop.run(self._async.why(id, at=at))

    def queues(self, *, at: datetime | None = None) -> list[QueueRow]:
        """Every queue: policy, status, how much waits."""
        return self._loop.run(self._async.queues(at=at))

    def entries(self, queue: str = "", *, at: datetime | None = None, limit: int | None = 100) -> list[EntryRow]:
        """What waits in a queue (in all), first to be placed first."""
        return self._loop.run(self._async.entries(queue, at=at, limit=limit))

    def create_queue(self, queue: str, *, policy: str = "") -> Answer:
        """Make a queue; nodes whose agents are started with its name as their pool serve it. When this returns,
        `queues` has it, and jobs may be submitted to it. Raises `Refused` if there is such a queue."""
        return self._loop.run(self._async.create_queue(queue, policy=policy))

    def delete_queue(self, queue: str) -> Answer:
        """Delete a queue. Raises `Refused` while it has jobs, while its pool has nodes, and for ``default``."""
        return self._loop.run(self._async.delete_queue(queue))

    def configure_queue(self, queue: str, *, policy: str = "", status: str = "") -> Answer:
        """Set a queue's policy (fifo, priority) or status (active, paused, draining, closed)."""
        return self._loop.run(self._async.configure_queue(queue, policy=policy, status=status))

    # Nodes

    def nodes(self, **filters: Any) -> list[NodeRow]:
        """Nodes by pool and id: capacity, what is held and free, status, labels, taints."""
        return self._loop.run(self._async.nodes(**filters))

    def node(self, id: str, *, pool: str = "", at: datetime | None = None) -> NodeAnswer:
        """One node: ``node`` in short, ``spec`` (its inventory), ``gpus`` and ``allocations``. Raises `NotFound`."""
        return self._loop.run(self._async.node(id, pool=pool, at=at))

    def find_node(self, text: str, *, pool: str = "", at: datetime | None = None) -> str:
        """The id of the node that a person means: by its id, or the beginning of it.

        Raises `NotFound` if there is none, and `InvalidInput` that lists them if it may be one of several.
        """
        return self._loop.run(self._async.find_node(text, pool=pool, at=at))

    def pools(self, *, at: datetime | None = None) -> list[PoolRow]:
        """What each pool has, has given out and has left."""
        return self._loop.run(self._async.pools(at=at))

    def allocations(self, **filters: Any) -> list[AllocationRow]:
        """Who holds what on which node, newest first."""
        return self._loop.run(self._async.allocations(**filters))

    def cordon(self, node: str, *, reason: str = "", pool: str = "") -> Answer:
        """Let nothing new onto a node."""
        return self._loop.run(self._async.cordon(node, reason=reason, pool=pool))

    def uncordon(self, node: str, *, reason: str = "", pool: str = "") -> Answer:
        """Let work onto a cordoned or draining node again."""
        return self._loop.run(self._async.uncordon(node, reason=reason, pool=pool))

    def drain(self, node: str, *, reason: str = "", grace: float | None = None, pool: str = "") -> Answer:
        """Cordon a node and stop what runs there; `grace` (seconds) overrides each job's own."""
        return self._loop.run(self._async.drain(node, reason=reason, grace=grace, pool=pool))

    def label(self, node: str, labels: Mapping[str, str | None], *, pool: str = "") -> Answer:
        """Set labels of a node; a None value removes one."""
        return self._loop.run(self._async.label(node, labels, pool=pool))

    def taint(self, node: str, taints: Iterable[Mapping[str, str]], *, pool: str = "") -> Answer:
        """Replace the taints that operators set on a node; each is ``{"key": ..., "value": ..., "effect": ...}``."""
        return self._loop.run(self._async.taint(node, taints, pool=pool))

    def remove_node(self, node: str, *, reason: str = "", pool: str = "") -> Answer:
        """Forget a node that runs nothing. An agent that still runs registers it again."""
        return self._loop.run(self._async.remove_node(node, reason=reason, pool=pool))

    # The log

    def history(self, context: str, id: str | None = None, **wanted: Any) -> list[EventRow]:
        """An aggregate's events, oldest first: ``position``, ``time``, ``type``, ``actor``, ``data`` (a dict) and more.

        Without an `id`, those of all aggregates. With `flow`, `id` is a command's, and the events are those of the flow
        that it began, in that context. Only those that fit all filters: of these `actors`, `types` (may be short:
        ``JobStarted``) and `projects`, at `since` or later, before `until`; about an `aggregate` of this kind
        (``job``, ``node``); with `by_itself`, what the platform did by itself. At most `limit`, the oldest. `at`: as
        of then."""
        return self._loop.run(self._async.history(context, id, **wanted))

    def watch(self, context: str, **wanted: Any) -> Iterator[EventRow]:
        """Events as they happen, without an end but `until`; goes on where it was when the connection breaks: no event
        is left out and none comes twice.

        `types` may be short (``JobStarted``); `after` are positions to start behind. In partitions not named there it
        starts at the time `since`, else at the end. `subjects`, `actors`, `projects`, `aggregate` and `by_itself`
        filter as in `history`."""
        return self._loop.iterate(self._async.watch(context, **wanted))

    def until_shown(self) -> None:
        """Wait until the tables have what this client's commands led to, of those whose outcomes it was told: from then
        on other clients see it too. Raises `Unavailable` where they are far behind."""
        self._loop.run(self._async.until_shown())

    def status(self, context: str) -> Answer:
        """How a context's writer and projection fare."""
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
        """The job's id."""
        return self._async.id

    @property
    def name(self) -> str:
        """The job's name; empty until it is known."""
        return self._async.name

    @property
    def status(self) -> str:
        """Where it was when last asked; empty before."""
        return self._async.status

    @property
    def exit_code(self) -> int | None:
        """What it exited with when last asked; None before its end, and if it was cancelled before it ran."""
        return self._async.exit_code

    def refresh(self, *, at: datetime | None = None) -> JobRow:
        """The job in short, now or as of a moment."""
        return self._run(self._async.refresh(at=at))

    def spec(self) -> Answer:
        """As it was submitted, defaults filled in."""
        return self._run(self._async.spec())

    def wait(self, *, timeout: float | None = None) -> JobRow:
        """Wait for its end. Raises `Timeout` after so many seconds; the job goes on."""
        return self._run(self._async.wait(timeout=timeout))

    def watch(self) -> Iterator[JobRow]:
        """As it is now, and whenever it changes, until its end."""
        return self._client._loop.iterate(self._async.watch())

    def logs(self, **wanted: Any) -> Iterator[LogPiece]:
        """What it printed; see `Client.logs`."""
        return self._client._loop.iterate(self._async.logs(**wanted))

    def tasks(self, *, status: Iterable[str] = (), at: datetime | None = None) -> list[TaskRow]:
        """Its tasks by number, or those of these statuses."""
        return self._run(self._async.tasks(status=status, at=at))

    def attempts(self, *, task: int | None = None, at: datetime | None = None) -> list[AttemptRow]:
        """Every attempt that had a process or an end, of all tasks or one."""
        return self._run(self._async.attempts(task=task, at=at))

    def cancel(self, *, tasks: str | None = None, reason: str = "") -> Answer:
        """Stop it, or some of its tasks (``0-3,7``); the outcome's ``result`` is ``unchanged`` if it had ended."""
        return self._run(self._async.cancel(tasks=tasks, reason=reason))

    def requeue(self, *, tasks: str | None = None, reason: str = "") -> Answer:
        """Run its failed and cancelled tasks again, or some of them. Raises `Refused` while it has not ended."""
        return self._run(self._async.requeue(tasks=tasks, reason=reason))

    def why(self, *, at: datetime | None = None) -> WhyAnswer:
        """Why it waits; see `Client.why`."""
        return self._run(self._async.why(at=at))

    def history(self, *, at: datetime | None = None) -> list[EventRow]:
        """Its events, oldest first."""
        return self._run(self._async.history(at=at))

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._client._loop.run(work)
