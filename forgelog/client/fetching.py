"""Files that jobs keep, on their way to a folder: which attempts' they are, and the fetching. Knows no node."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

from forgelog.client.bundles import Progress
from forgelog.client.core import Core
from forgelog.client.rows import AttemptRow, JobAnswer, JobRow, OutputRow
from forgelog.errors import InvalidInput, NotFound, Timeout, Unavailable

if TYPE_CHECKING:
    from events.objects.manifest import BundleFile
    from events.objects.remote import RemoteObjects

AT_A_TIME = 8
"""Files that are on their way at a time."""
SHOWN = 5
"""Files that an error names."""


@dataclass(frozen=True, slots=True)
class FetchedFile:
    """A file that a job keeps, in the folder that it was fetched into."""

    path: str
    """In that folder."""
    task: int
    attempt: int
    size: int
    """Bytes."""
    digest: str
    """BLAKE3 of its bytes."""
    fetched: bool
    """False if it was there already."""


@dataclass(slots=True)
class Chosen:
    """Which attempts' files are meant."""

    rows: list[OutputRow]
    waited_for: list[tuple[int, int]]
    """Task and attempt of those that have ended, and whose files are still on their way."""


def choose(attempts: Iterable[AttemptRow], outputs: Iterable[OutputRow], attempt: int | None) -> Chosen:
    """Of each task the newest attempt that has ended, or the one that is named. Of a task whose newest one still runs,
    or was lost with its node, the newest one with outputs."""
    by_task: dict[int, dict[int, AttemptRow]] = {}
    for each in attempts:
        if each.started_at is not None:
            by_task.setdefault(each.task, {})[each.attempt] = each
    rows = {(row.task, row.attempt): row for row in outputs}
    chosen = Chosen([], [])
    for task in sorted({*by_task, *(task for task, _ in rows)}):
        known = by_task.get(task, {})
        newest = attempt or max([*known, *(number for other, number in rows if other == task)])
        if (row := rows.get((task, newest))) is not None:
            chosen.rows.append(row)
        elif (ran := known.get(newest)) is not None and ran.ended_at is not None and ran.exit_reason != "lost":
            chosen.waited_for.append((task, newest))
        elif not attempt and (earlier := [number for other, number in rows if other == task]):
            chosen.rows.append(rows[task, max(earlier)])
    return chosen


class Jobs(Protocol):
    """What is asked of `AsyncJobs`."""

    async def get(self, id: str, *, at: datetime | None = None) -> JobAnswer: ...
    async def attempts(self, id: str, *, task: int | None = None, at: datetime | None = None) -> list[AttemptRow]: ...
    async def outputs(self, id: str, *, task: int | None = None, at: datetime | None = None) -> list[OutputRow]: ...
    def watch(self, ids: Iterable[str] = ()) -> AsyncIterator[JobRow]: ...


async def kept_rows(
    jobs: Jobs, id: str, task: int | None, attempt: int | None, at: datetime | None, timeout: float = 60.0
) -> tuple[JobAnswer, list[OutputRow]]:
    """A job and the attempts whose files are meant. Those on their way are waited for up to `timeout` seconds, but not
    as of a time. Raises `NotFound` if no file is kept, `Timeout`."""
    job = await jobs.get(id, at=at)
    if not (keep := job.spec.keep):
        raise NotFound(f"job {id} keeps no files; submit it with --keep 'results/**' (keep: in a manifest)")

    async def look() -> Chosen:
        return choose(await jobs.attempts(id, task=task, at=at), await jobs.outputs(id, task=task, at=at), attempt)

    chosen = await look()
    if chosen.waited_for and at is None:
        try:
            async with asyncio.timeout(timeout), aclosing(jobs.watch([id])) as changed:  # type: ignore[type-var]
                async for _ in changed:
                    if not (chosen := await look()).waited_for:
                        break
        except TimeoutError:
            task, attempt = chosen.waited_for[0]
            raise Timeout(
                f"the files of task {task}, attempt {attempt} are not there after {timeout:g} s; its node is still "
                "sending them, or can't: `forgelog show` says when they are there"
            ) from None
    if any(row.files for row in chosen.rows):
        return job, [row for row in chosen.rows if row.files]
    if not chosen.rows:
        raise NotFound(f"no task of job {id} that is asked for has ended with files; {', '.join(keep)} are kept then")
    told = "; ".join(f"task {row.task}, attempt {row.attempt}: {row.message}" for row in chosen.rows[:SHOWN])
    raise NotFound(f"job {id} has kept no file: {told}")


async def fetch_rows(
    core: Core,
    rows: Sequence[OutputRow],
    into: Path,
    pattern: str,
    *,
    nested: bool,
    force: bool,
    progress: Progress | None,
) -> list[FetchedFile]:
    """Fetch the files of these attempts. `nested`: each task's into a folder of its number. Raises
    `InvalidInput`, `NotFound`, `Unavailable`."""
    stopped = threading.Event()
    work = partial(_fetch, core.connection.address, core.connection.key, rows, into, pattern)
    try:
        with _asked("had"):
            return await asyncio.to_thread(work, nested, force, progress, stopped)
    except asyncio.CancelledError:
        stopped.set()
        raise


def _fetch(
    address: str,
    key: str,
    rows: Sequence[OutputRow],
    into: Path,
    pattern: str,
    nested: bool,
    force: bool,
    progress: Progress | None,
    stopped: threading.Event,
) -> list[FetchedFile]:
    """Blocks. Raises RemoteError besides what `fetch_rows` does."""
    from events.language.path_patterns import Patterns
    from events.objects.remote import RemoteObjects
    from events.objects.sending import Sum
    from events.objects.unpacking import InTheWay, is_there, write_file

    try:
        patterns = Patterns([pattern or "**"])
    except ValueError as error:
        raise InvalidInput(f"pattern: {error}") from None
    remote = RemoteObjects(address, key, stopped=stopped)
    try:
        wanted = [
            (row, file, f"{row.task}/{file.path}" if nested else file.path)
            for row in rows
            for file in _files(remote, row)
            if patterns.fit_path(file.path)
        ]
        if not wanted:
            raise NotFound(f"no file that is kept fits {pattern!r}; `forgelog fetch --list` shows them")
        into.mkdir(parents=True, exist_ok=True)
        placed = [(row, file.model_copy(update={"path": path})) for row, file, path in wanted]
        there: set[str] = set()
        problems = []
        for _, file in placed:
            try:
                if is_there(into, file):
                    there.add(file.path)
            except InTheWay as problem:
                problems.append(str(problem))
        if problems and not force:
            more = f"; and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
            raise InvalidInput(
                f"{into}: {'; '.join(problems[:SHOWN])}{more}; nothing was fetched: name another folder by --into, or "
                "replace them by --force"
            )
        new = [file for _, file in placed if file.path not in there]
        went = Sum(sum(file.size for file in new), partial(progress, "fetching") if progress is not None else None)

        def one(file: BundleFile) -> None:
            write_file(into, file, lambda opened: remote.get(file.ref, opened), force=force)
            went.add(file.size)

        with ThreadPoolExecutor(max(1, min(AT_A_TIME, len(new))), "fetch") as pool:
            remote.all_or_stop([pool.submit(one, file) for file in new])
    except InTheWay as problem:
        raise InvalidInput(f"{into}: {problem}; name another folder by --into") from None
    except OSError as error:
        raise InvalidInput(f"{into}: {error.strerror}; name another folder by --into") from None
    return [
        FetchedFile(file.path, row.task, row.attempt, file.size, file.digest, file.path not in there)
        for row, file in placed
    ]


async def list_files(core: Core, rows: Sequence[OutputRow]) -> list[FetchedFile]:
    """The files of these attempts; none is fetched. Raises `NotFound`, `Unavailable`."""
    from events.objects.remote import RemoteObjects

    def listed() -> list[FetchedFile]:
        remote = RemoteObjects(core.connection.address, core.connection.key)
        return [
            FetchedFile(file.path, row.task, row.attempt, file.size, file.digest, fetched=False)
            for row in rows
            for file in _files(remote, row)
        ]

    with _asked("listed"):
        return await asyncio.to_thread(listed)


@contextmanager
def _asked(what: str) -> Iterator[None]:
    """Turn failures of the store into the client's errors: the files can't be `what`."""
    from events.objects.remote import RemoteError, RemoteMissing

    try:
        yield
    except RemoteMissing as error:
        raise NotFound(f"the files can't be {what}: {error}") from None
    except RemoteError as error:
        raise Unavailable(f"the files can't be {what}: {error}") from None


def _files(remote: RemoteObjects, row: OutputRow) -> Sequence[BundleFile]:
    """What a manifest names. Raises RemoteError."""
    from events.language.objects import ObjectRef
    from events.objects.manifest import NoManifest, parse_manifest

    if not row.digest:
        return ()
    content: list[_Kept] = []

    def opened() -> BinaryIO:
        content.append(_Kept())
        return content[-1]

    remote.get(ObjectRef(digest=row.digest, size=row.size), opened)
    try:
        return parse_manifest(content[-1].data).files
    except NoManifest as error:
        raise NotFound(f"the manifest {row.digest} is none that this version can read: {error}") from None


class _Kept(BytesIO):
    """Keeps its bytes when it is closed."""

    data = b""

    def close(self) -> None:
        if not self.closed:
            self.data = self.getvalue()
        super().close()
