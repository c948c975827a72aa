"""Reads tasks' output from any position, and follows it while tasks run."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Collection
from datetime import UTC, datetime
from typing import Any

import grpc

from events.language.task_ranges import parse_ranges
from events.process.counts import count_of
from events.projections.tables import Db
from events.queries.queries import QueryError, ReadModel, not_found, read_options
from events.streams.intake import Intake
from events.streams.reading import StreamReader
from forgelog_pb.jobs.v1 import queries_pb2
from services.jobs.output.pieces import PARTS

_MOST_SUM = (1 << 63) - 1
"""Cap of a sum of missing bytes: parts that an earlier version stored may exceed what a message can hold."""

_PIECES = 64
"""Pieces read at once: at most 4 MiB, since agents send pieces of at most 64 KiB."""

_LATE_SECONDS = 5.0
"""How long to wait for output after the end of a job: that of a lost node never comes."""

_ENDED = ("completed", "failed", "cancelled")


class Follower:
    """Answers `FollowLogs`."""

    def __init__(self, read: ReadModel, output: Intake) -> None:
        self._read = read
        self._output = StreamReader(read, output)

    async def follow(self, request: Any, context: Any) -> AsyncIterator[Any]:
        """Pieces in the order in which they arrived. Raises QueryError."""
        options = read_options(request.options)
        as_of = options["as_of"]
        if as_of is not None and request.follow:
            problem = "follow: what had come by a past time does not grow; leave out follow, or options.as_of"
            raise QueryError(grpc.StatusCode.INVALID_ARGUMENT, problem)
        reached = _cursor(request.cursor)
        tasks = _tasks(request.tasks)
        stream = request.stream - 1 if request.stream else None
        async with self._read.view(at_least=options["at_least"]) as db:
            job = await db.fetchrow("select tasks, attempts, ended_at from jobs where job_id = $1", request.job_id)
            ended_at = await _ended_at(db, request.job_id)
        if job is None:
            raise not_found("job", request.job_id)
        total = job["tasks"]
        if tasks[1] and max(tasks[1]) >= total:
            has = "1 task, number 0" if total == 1 else f"{total} tasks, 0 to {total - 1}"
            problem = f"tasks: {request.tasks!r} names task {max(tasks[1])}, and job {request.job_id} has {has}"
            raise QueryError(grpc.StatusCode.INVALID_ARGUMENT, problem)
        if request.attempt > job["attempts"] and not (request.follow and job["ended_at"] is None):
            problem = f"attempt: is {request.attempt}, and the newest attempt of job {request.job_id} is"
            raise QueryError(grpc.StatusCode.INVALID_ARGUMENT, f"{problem} {job['attempts']}")
        starts = await self._starts(request, as_of) if request.HasField("tail_bytes") and reached < 0 else {}
        # Output does not come with the events, so wait for the last pieces of an ended job even without `follow`.
        stays = as_of is None and (request.follow or ended_at is not None)

        async def fetch(db: Db, reached: int) -> list[Any]:
            return await self._pieces(db, request, reached, tasks, stream, as_of)

        async def done() -> bool:
            return not stays or await self._done(request, tasks, stream)

        async for row in self._output.follow(fetch, done, context.done, reached):
            if (answer := _answer(row, starts)) is not None:
                yield answer

    async def _pieces(
        self, db: Db, request: Any, reached: int, tasks: Any, stream: int | None, as_of: datetime | None
    ) -> list[Any]:
        lows, highs = tasks
        rows: list[Any] = await db.fetch(
            f"select * from {self._output.schema}.chunks c where job_id = $1 and arrival > $2 "
            "and ($3::int = 0 or attempt = $3) and ($4::smallint is null or stream = $4) "
            "and ($5::int[] = '{}' or exists (select 1 from unnest($5::int[], $6::int[]) as r(low, high) "
            "where c.task between low and high)) "
            "and ($8::timestamptz is null or coalesce(arrived_at, at) <= $8) order by arrival limit $7",
            request.job_id,
            reached,
            request.attempt,
            stream,
            lows,
            highs,
            _PIECES,
            as_of,
        )
        return rows

    async def missing(self, job_id: str, tasks: Collection[int]) -> dict[tuple[int, int], int]:
        """(Task, attempt) → the bytes of its output that are not stored: lost, or beyond the limit."""
        if not self._output.ready or not tasks:
            return {}
        async with self._output.view() as db:
            rows = await db.fetch(
                f"select task, attempt, least(sum(missing), {_MOST_SUM})::bigint as missing "
                f"from {self._output.schema}.streams "
                "where job_id = $1 and task = any($2) and missing > 0 group by task, attempt",
                job_id,
                list(tasks),
            )
        return {(row["task"], row["attempt"]): row["missing"] for row in rows}

    async def _starts(self, request: Any, as_of: datetime | None) -> dict[tuple[int, int, int], int]:
        """Stream → the offset where its last `tail_bytes` begin."""
        if as_of is None:
            sizes = f"select task, attempt, stream, size from {self._output.schema}.streams where job_id = $1"
        else:
            sizes = (
                "select task, attempt, stream, max(off + length(data)) as size "
                f"from {self._output.schema}.chunks where job_id = $1 and coalesce(arrived_at, at) <= $2 "
                "group by task, attempt, stream"
            )
        async with self._output.view() as db:
            rows = await db.fetch(sizes, request.job_id, *([] if as_of is None else [as_of]))
        return {(row["task"], row["attempt"], row["stream"]): max(0, row["size"] - request.tail_bytes) for row in rows}

    async def _done(self, request: Any, tasks: Any, stream: int | None) -> bool:
        """Whether nothing more can come: the job and all streams of its attempts have ended; or the job ended long ago,
        and everything that came since is stored."""
        async with self._read.view() as db:
            ended_at = await _ended_at(db, request.job_id)
            if ended_at is None:
                return False
            started = await _started(db, request, tasks)
        async with self._output.view() as db:
            open_ = await db.fetchval(
                "select count(*) from unnest($2::int[], $3::int[]) as a(task, attempt) "
                "cross join unnest($4::smallint[]) as n(stream) "
                f"left join {self._output.schema}.streams s on s.job_id = $1 and s.task = a.task "
                "and s.attempt = a.attempt and s.stream = n.stream where s.eof is not true",
                request.job_id,
                [row["task"] for row in started],
                [row["attempt"] for row in started],
                list(range(len(PARTS))) if stream is None else [stream],
            )
        late = (datetime.now(UTC) - ended_at).total_seconds() - _LATE_SECONDS
        return open_ == 0 or (late > 0 and self._output.complete_to(time.monotonic() - late, request.job_id))


async def _ended_at(db: Db, job_id: str) -> datetime | None:
    """When a job ended; None if it has not."""
    row = await db.fetchrow("select status, ended_at from jobs where job_id = $1", job_id)
    return row["ended_at"] if row is not None and row["status"] in _ENDED else None


async def _started(db: Db, request: Any, tasks: Any) -> list[Any]:
    """Attempts that had a process."""
    lows, highs = tasks
    rows: list[Any] = await db.fetch(
        "select task, attempt from attempts a where job_id = $1 and started_at is not null "
        "and ($2::int = 0 or attempt = $2) "
        "and ($3::int[] = '{}' or exists (select 1 from unnest($3::int[], $4::int[]) as r(low, high) "
        "where a.task between low and high))",
        request.job_id,
        request.attempt,
        lows,
        highs,
    )
    return rows


def _answer(row: Any, starts: dict[tuple[int, int, int], int]) -> Any:
    """A stored piece as an answer; None if it is before the requested tail."""
    offset, data = row["off"], row["data"]
    start = starts.get((row["task"], row["attempt"], row["stream"]), 0)
    if offset < start:
        data = data[start - offset :]
        offset = min(start, offset + len(row["data"]))
        if not data and not row["eof"] and not row["truncated"] and not row["missing"]:
            return None
    return queries_pb2.FollowLogsResponse(
        task=row["task"],
        attempt=row["attempt"],
        stream=row["stream"] + 1,
        offset=offset,
        data=data,
        time=row["at"],
        eof=row["eof"],
        truncated=row["truncated"],
        missing_bytes=row["missing"],
        cursor=str(row["arrival"]),
    )


def _cursor(text: str) -> int:
    if not text:
        return -1
    if (arrival := count_of(text)) is None:
        raise QueryError(grpc.StatusCode.INVALID_ARGUMENT, "cursor: is not one that FollowLogs gave; leave it out")
    return arrival


def _tasks(text: str) -> tuple[list[int], list[int]]:
    """The requested tasks as the first and last numbers of ranges; empty for all."""
    if not text:
        return [], []
    try:
        ranges = parse_ranges(text)
    except ValueError as error:
        raise QueryError(grpc.StatusCode.INVALID_ARGUMENT, f"tasks: {error}") from None
    return [low for low, _ in ranges], [high for _, high in ranges]
