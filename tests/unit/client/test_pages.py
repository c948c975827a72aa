"""A list is asked for page by page, until there is no more or until there is enough."""

from __future__ import annotations

from typing import Any

import pytest

from forgelog.client.core import PAGE, Core
from forgelog_pb.scheduling.v1 import queries_pb2 as pb

PAGES = [("", ["a", "a", "b"], "1"), ("1", ["c", "d"], "2"), ("2", ["e"], "")]
"""Cursor, jobs and next cursor of each: a job has an entry for each of its attempts."""


@pytest.mark.parametrize(
    ("limit", "jobs", "asked"),
    [
        (None, "aabcde", [PAGE, PAGE, PAGE]),
        (4, "aabc", [4, 1]),
        (3, "aab", [3]),
        (2, "aa", [2]),
        (0, "", [0]),
    ],
)
async def test_no_more_rows_come_than_were_asked_for(limit: int | None, jobs: str, asked: list[int]) -> None:
    core, limits = Core("127.0.0.1:1"), []

    async def ask(_method: Any, request: Any, _what: str) -> Any:
        limits.append(request.page.limit)
        found, following = next((jobs, after) for cursor, jobs, after in PAGES if cursor == request.page.cursor)
        return pb.ListEntriesResponse(entries=[pb.Entry(job_id=id) for id in found], next_cursor=following)

    core.ask = ask  # type: ignore[method-assign]
    rows = await core.pages(None, pb.ListEntriesRequest(), "entries", "queue", limit)
    assert ("".join(row.job_id for row in rows), limits) == (jobs, asked)
