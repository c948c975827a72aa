"""Files that jobs keep, on their way to a folder: which attempts' they are, and the fetching. Knows no node."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol, TypeVar

from forgelog.client.bundles import Progress
from forgelog.client.core import Core
from forgelog.client.rows import AttemptRow, JobAnswer, JobRow, OutputRow
from forgelog.errors import InvalidInput, NotFound, Timeout, Unavailable

if TYPE_CHECKING:
    from events.language.objects import ObjectRef
    from events.objects.manifest import BundleFile
    from events.objects.remote import RemoteObjects

T = TypeVar("T")

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
    if task is not None and task >= (total := job.job.tasks.total):
        raise NotFound(f"job {id} has no task {task}; its tasks are 0 to {total - 1}")
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
        of = f" of attempt {attempt}" if attempt else ""
        raise NotFound(
            f"no task of job {id} that is asked for has ended with files{of}; {', '.join(keep)} are kept then"
        )
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
    return await in_thread(
        core, "had", lambda remote: Fetching(remote, into, pattern, force).run(rows, nested, progress)
    )


@dataclass(frozen=True, slots=True)
class _Placed:
    """A file that is to be fetched."""

    row: OutputRow
    file: BundleFile
    """With its path in the folder that it is fetched into."""


class Fetching:
    """Files on their way into a folder. Blocks.

    1. Find out which files the attempts have, and which of them are meant.
    2. Look which are there already. Where something else is in the place of one, nothing is fetched unless by force.
    3. Fetch the others, several at a time.

    Raises RemoteError besides what `fetch_rows` does.
    """

    def __init__(self, remote: RemoteObjects, into: Path, pattern: str, force: bool) -> None:
        """`pattern`: of the files; empty for all. Raises `InvalidInput`."""
        from events.language.path_patterns import Patterns

        self._remote = remote
        self._into = into
        self._pattern = pattern
        self._force = force
        try:
            self._patterns = Patterns([pattern or "**"])
        except ValueError as error:
            raise InvalidInput(f"pattern: {error}") from None

    def run(self, rows: Sequence[OutputRow], nested: bool, progress: Progress | None) -> list[FetchedFile]:
        wanted = self._wanted(rows, nested)
        there = self.place([each.file for each in wanted], progress)
        return [
            FetchedFile(file.path, row.task, row.attempt, file.size, file.digest, file.path not in there)
            for row, file in ((each.row, each.file) for each in wanted)
        ]

    def place(self, files: Sequence[BundleFile], progress: Progress | None) -> set[str]:
        """Fetch files to their paths; the paths of those that were there already."""
        with self._problems_told():
            self._into.mkdir(parents=True, exist_ok=True)
            there = self._there(files)
            self._write([file for file in files if file.path not in there], progress)
        return there

    def place_known(self, contents: Mapping[BundleFile, bytes]) -> set[str]:
        """As `place`, of files whose bytes are at hand."""
        from events.objects.unpacking import write_file

        with self._problems_told():
            there = self._there(list(contents))
            for file, content in contents.items():
                if file.path not in there:

                    def fetch(opened: Callable[[], BinaryIO], content: bytes = content) -> None:
                        with opened() as writer:
                            writer.write(content)

                    write_file(self._into, file, fetch, force=self._force)
        return there

    def check(self, files: Sequence[BundleFile]) -> None:
        """Raise `InvalidInput` where something else is in the place of one of these, unless by force."""
        with self._problems_told():
            self._there(files)

    def _wanted(self, rows: Sequence[OutputRow], nested: bool) -> list[_Placed]:
        wanted = [
            _Placed(row, file.model_copy(update={"path": f"{row.task}/{file.path}"}) if nested else file)
            for row, files in _files(self._remote, rows)
            for file in files
            if self._patterns.fit_path(file.path)
        ]
        if not wanted:
            raise NotFound(f"no file that is kept fits {self._pattern!r}; `forgelog fetch --list` shows them")
        return wanted

    def _there(self, files: Sequence[BundleFile]) -> set[str]:
        """Paths of those that are in their places."""
        from events.objects.unpacking import InTheWay, is_there

        there, problems = set(), []
        for file in files:
            self._remote.check_stopped()
            try:
                if is_there(self._into, file, self._remote.check_stopped):
                    there.add(file.path)
            except InTheWay as problem:
                problems.append(str(problem))
        if problems and not self._force:
            more = f"; and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
            raise InvalidInput(
                f"{self._into}: {'; '.join(problems[:SHOWN])}{more}; nothing was fetched: name another folder "
                "by --into (into=), or replace them by --force (force=True)"
            )
        return there

    def _write(self, files: Sequence[BundleFile], progress: Progress | None) -> None:
        from events.objects.sending import Sum
        from events.objects.unpacking import write_file

        went = Sum(sum(file.size for file in files), partial(progress, "fetching") if progress is not None else None)

        def one(file: BundleFile) -> None:
            write_file(self._into, file, partial(self._remote.get, file.ref), force=self._force)
            went.add(file.size)

        with _pool(len(files)) as pool:
            self._remote.all_or_stop([pool.submit(one, file) for file in files])

    @contextmanager
    def _problems_told(self) -> Iterator[None]:
        """Turn what is wrong with the folder into an error for people."""
        from events.objects.unpacking import InTheWay

        try:
            yield
        except InTheWay as problem:
            raise InvalidInput(f"{self._into}: {problem}; name another folder by --into") from None
        except OSError as error:
            raise InvalidInput(f"{self._into}: {error.strerror}; name another folder by --into") from None


def _pool(count: int) -> ThreadPoolExecutor:
    """Threads for so many transfers."""
    return ThreadPoolExecutor(max(1, min(AT_A_TIME, count)), "fetch")


async def list_files(core: Core, rows: Sequence[OutputRow]) -> list[FetchedFile]:
    """The files of these attempts; none is fetched. Raises `NotFound`, `Unavailable`."""

    def listed(remote: RemoteObjects) -> list[FetchedFile]:
        return [
            FetchedFile(file.path, row.task, row.attempt, file.size, file.digest, fetched=False)
            for row, files in _files(remote, rows)
            for file in files
        ]

    return await in_thread(core, "listed", listed)


async def in_thread(core: Core, what: str, work: Callable[[RemoteObjects], T]) -> T:
    """Do what blocks. It is stopped when the caller is cancelled. Turns failures of the store into the client's errors:
    the files can't be `what`."""
    from events.objects.remote import RemoteError, RemoteMissing, RemoteObjects

    stopped = threading.Event()
    try:
        return await asyncio.to_thread(
            work, RemoteObjects(core.connection.address, core.connection.key, stopped=stopped)
        )
    except asyncio.CancelledError:
        stopped.set()
        raise
    except RemoteMissing as error:
        raise NotFound(f"the files can't be {what}: {error}") from None
    except RemoteError as error:
        raise Unavailable(f"the files can't be {what}: {error}") from None


def _files(remote: RemoteObjects, rows: Sequence[OutputRow]) -> Iterator[tuple[OutputRow, Sequence[BundleFile]]]:
    """What the attempts' manifests name. Raises RemoteError, `NotFound`."""
    kept = [row for row in rows if row.digest]
    with _pool(len(kept)) as pool:
        reading = [pool.submit(manifest_of, remote, row.digest, row.size) for row in kept]
        remote.all_or_stop(reading)
    yield from zip(kept, (each.result() for each in reading), strict=True)


def manifest_of(remote: RemoteObjects, digest: str, size: int) -> Sequence[BundleFile]:
    """The files that a manifest names. Raises RemoteError, `NotFound`."""
    from events.language.objects import ObjectRef
    from events.objects.manifest import MAX_MANIFEST_BYTES, NoManifest, parse_manifest

    try:
        if size > MAX_MANIFEST_BYTES:
            raise NoManifest(f"it has {size} bytes; a manifest has at most {MAX_MANIFEST_BYTES}")
        return parse_manifest(read_object(remote, ObjectRef(digest=digest, size=size))).files
    except NoManifest as error:
        raise NotFound(f"the manifest {digest} is none that this version can read: {error}") from None


def read_object(remote: RemoteObjects, ref: ObjectRef) -> bytes:
    """The bytes of an object that fits into memory. Raises RemoteError."""
    content: list[_Kept] = []

    def opened() -> BinaryIO:
        content.append(_Kept())
        return content[-1]

    remote.get(ref, opened)
    return content[-1].data


class _Kept(BytesIO):
    """Keeps its bytes when it is closed."""

    data = b""

    def close(self) -> None:
        if not self.closed:
            self.data = self.getvalue()
        super().close()
