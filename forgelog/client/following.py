"""What comes bit by bit of jobs: their changes, their ends, what they print. Knows no command."""

from __future__ import annotations

import asyncio
import codecs
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime
from typing import Any, cast

from forgelog.client.core import Core
from forgelog.client.plain import plain
from forgelog.client.rows import JobAnswer, JobRow, LogPiece
from forgelog.errors import ForgelogError, InvalidInput, Timeout
from forgelog_pb.jobs.v1 import queries_pb2 as pb

ENDED = ("completed", "failed", "cancelled")


async def changes(core: Core, method: Any, request: Callable[[], Any], *, endless: bool) -> AsyncIterator[JobRow]:
    """See `AsyncJobs.watch`."""
    shown: dict[str, datetime | None] = {}
    async for answer in core.connection.resumed(method, request, what="watch", endless=endless):
        job = cast("JobRow", plain(answer.job))
        if shown.get(job.job_id) != job.updated_at:
            shown[job.job_id] = job.updated_at
            yield job


async def until_ended(watched: AsyncIterator[JobRow], wanted: Sequence[str], timeout: float | None) -> list[JobRow]:
    """See `AsyncJobs.wait`."""
    ended: dict[str, JobRow] = {}

    async def watch() -> None:
        async for job in watched:
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


async def until_ready(job: JobAnswer, watched: AsyncIterator[JobRow], timeout: float | None) -> JobRow:
    """See `AsyncJobs.wait_ready`."""
    id = job.job.job_id
    if job.spec.service is None:
        raise InvalidInput(f"job {id} is no service, so it never is ready; submit it with service")

    async def watch() -> JobRow:
        last: JobRow | None = None
        async for last in watched:
            if last.tasks.ready == last.tasks.total:
                return last
        why = f": {last.reason}" if last is not None and last.reason else ""
        raise ForgelogError(f"job {id} ended before it was ready{why}")

    try:
        return await asyncio.wait_for(watch(), timeout)
    except TimeoutError:
        raise Timeout(f"{id} was not ready after {timeout:g} s; `forgelog show {id}` says why") from None


def logs_request(tail_bytes: int | None, options: Any, *, stream: str, **chosen: Any) -> Callable[[str], Any]:
    """Makes the requests of `AsyncJobs.logs`. Raises `InvalidInput`."""
    if stream not in ("", "stdout", "stderr"):
        raise InvalidInput(f"stream: {stream!r} is neither stdout nor stderr")
    chosen |= {"stream": f"LOG_STREAM_{stream.upper() or 'UNSPECIFIED'}", "options": options}

    def request(cursor: str) -> Any:
        return pb.FollowLogsRequest(tail_bytes=tail_bytes if not cursor else None, cursor=cursor, **chosen)

    return request


async def printed(core: Core, method: Any, request: Callable[[str], Any], what: str) -> AsyncIterator[LogPiece]:
    """See `AsyncJobs.logs`. `request` is given the cursor to go on from; empty at first."""
    cursor = ""
    decoders: Any = defaultdict(lambda: codecs.getincrementaldecoder("utf-8")(errors="replace"))

    def again() -> Any:
        return request(cursor)

    async for answer in core.connection.resumed(method, again, what=what, endless=False):
        cursor, record = answer.cursor, cast("LogPiece", plain(answer))
        decoder = decoders[answer.task, answer.attempt, answer.stream]
        record["text"] = decoder.decode(answer.data, final=answer.eof)
        yield record
