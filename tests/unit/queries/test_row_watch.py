"""A watch tells in memory of the rows that a look at the tables would find. The database keeps what it is asked."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest

from events.log.positions import ReaderPosition
from events.projections.folding import Held
from events.projections.stored import Positions, Stored
from events.queries.queries import QueryError
from events.queries.row_watch import Matching, RowWatch
from events.queries.watching import Watching
from forgelog_pb.jobs.v1 import queries_pb2 as pb
from services.jobs.rows import JOBS

FILTERS = {"project": "project", "queue": "queue", "owner": "owner", "statuses": "status", "labels": "labels"}
OTHERS = ("name", "submitted_after", "submitted_before", "called")


def watch(request: Any = pb.ListJobsRequest, **given: Any) -> RowWatch:
    """By default of a request with filters of every kind. (It names no jobs; `called` stands for a field that does.)"""
    known: Any = {"kind": "job", "changed": "updated_at", "ids": "called", "filters": FILTERS, "own": OTHERS}
    return RowWatch(request, "jobs", JOBS, **{**known, **given})


class Read:
    """A read model without rows."""

    def __init__(self) -> None:
        self.watching = Watching()
        self.asked: list[tuple[Any, ...]] = []

    async def wait_for(self, at_least: Any) -> None:
        assert at_least == ()

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[tuple[Any, Positions]]:
        yield self, {("jobs", 0): ReaderPosition(1, 0)}

    async def fetch(self, sql: str, *arguments: Any) -> list[Any]:
        self.asked.append((sql.partition(" from ")[2], *arguments))
        return []

    def store(self, *rows: dict[str, Any]) -> None:
        held = {JOBS.key_of(row): Held(row) for row in rows}
        before, after = ({("jobs", 0): ReaderPosition(offset, 0)} for offset in (1, 2))
        self.watching.stored(Stored(before, after, [(JOBS, held)], []))


def row(id: str, queue: str, status: str, **labels: str) -> dict[str, Any]:
    return {"job_id": id, "project": "p", "owner": "ada", "queue": queue, "status": status, "labels": labels}


ROWS = [
    row("a", "gpu", "running", team="vision", size="l"),
    row("b", "gpu", "queued", team="vision"),
    row("c", "cpu", "running"),
    row("d", "gpu", "failed", team="text"),
]


@pytest.mark.parametrize(
    ("given", "condition", "value", "told"),
    [
        ({"queue": "gpu"}, "queue = $2::text", "gpu", "abd"),
        ({"statuses": ["JOB_STATUS_RUNNING"]}, "status = ($2::text[])[1]", ["running"], "ac"),
        (
            {"statuses": ["JOB_STATUS_RUNNING", "JOB_STATUS_FAILED"]},
            "status = any($2::text[])",
            ["running", "failed"],
            "acd",
        ),
        ({"labels": {"team": "vision"}}, "labels @> $2::jsonb", {"team": "vision"}, "ab"),
        ({"labels": {"team": "vision", "size": "l"}}, "labels @> $2::jsonb", {"team": "vision", "size": "l"}, "a"),
    ],
)
async def test_rows_that_change_are_those_that_a_look_finds(
    given: dict[str, Any], condition: str, value: Any, told: str
) -> None:
    read: Any = Read()
    async with aclosing(watch().batches(read, pb.ListJobsRequest(**given))) as batches:
        assert await anext(batches) == []
        assert read.asked == [(f"jobs where {condition} order by updated_at desc limit $1", 1000, value)]
        read.store(*ROWS)
        assert "".join(each["job_id"] for each in await anext(batches)) == told


async def test_what_an_enum_has_not_is_said_before_anything_is_looked_at() -> None:
    read: Any = Read()
    with pytest.raises(QueryError, match="statuses: 99 is no JobStatus; take one of pending, "):
        await anext(watch().batches(read, pb.ListJobsRequest(statuses=[99])))  # type: ignore[list-item]
    assert read.asked == []


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"own": OTHERS[1:]}, "ListJobsRequest.name changes nothing; add it to `filters`"),
        ({"filters": {**FILTERS, "size": "size"}}, "ListJobsRequest has no field size"),
        ({"ids": "job_ids"}, "ListJobsRequest has no field job_ids"),
        ({"filters": {**FILTERS, "queue": "line"}}, "table jobs has no column line; watch by one that it has"),
        ({"filters": {**FILTERS, "queue": "lower({value}) = queue"}}, "table jobs has no column lower"),
        ({"changed": "changed_at"}, "table jobs has no column changed_at"),
    ],
)
def test_a_watch_acts_on_every_field_of_its_request(given: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        watch(**given)


def test_watchers_of_the_same_rows_are_one_question() -> None:
    gpu, again = Matching((("queue", "gpu"),)), Matching((("queue", "gpu"),))
    assert gpu == again
    assert hash(gpu) == hash(again)
    assert gpu({"queue": "gpu"})
    assert not gpu({"queue": "cpu"})
    assert Matching(())({"queue": "cpu"})
    several = Matching((("status", frozenset({"a", "b"})), ("labels", (("k", "v"),))))
    assert hash(several) == hash(Matching((("status", frozenset({"b", "a"})), ("labels", (("k", "v"),)))))
