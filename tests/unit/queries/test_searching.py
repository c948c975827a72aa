"""What a search asks of Postgres, and what it refuses before."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from events.queries.expressions import Name, Order
from events.queries.queries import QueryError
from events.queries.searching import Search, filter_condition
from events.queries.words import Attribute, Entries, Related, Values, Words
from forgelog_pb.experiments.v1 import queries_pb2 as pb

WORDS = Words(
    {
        "id": Attribute("t.id"),
        "status": Attribute("t.status", "word"),
        "number": Attribute("t.number", "number"),
        "began": Attribute("t.began", "time"),
        "ended": Attribute("t.ended", "time", nullable=True),
    },
    {
        "params": Values("p", "id", indexed=4),
        "metrics": Values("m", "id", "float", "last"),
        "scores": Values("s", "id", "float", in_order=True),
        "tags": Entries("t.tags"),
        "dataset": Related("d", "id", {"name": "name", "context": "role"}, {"tags": "tags"}),
    },
)


def sql(text: str) -> tuple[str, list[Any]]:
    found = filter_condition(text, WORDS, "t")
    assert found is not None
    arguments: list[Any] = []
    condition = found.put(arguments)
    # Postgres refuses a parameter that is nowhere in the statement.
    assert all(f"${number}::" in condition for number in range(1, len(arguments) + 1))
    return condition, arguments


def at(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


@pytest.mark.parametrize(
    ("text", "condition", "values"),
    [
        ("id = 'a'", "t.id = $1::text", ["a"]),
        ("attributes.id not in ('a', 'b')", "t.id <> all($1::text[])", [["a", "b"]]),
        ("status = 'FAILED'", "t.status = $1::text", ["failed"]),
        ("status in ('FAILED')", "t.status = any($1::text[])", [["failed"]]),
        ("number != 3", "t.number <> $1::float8", [3.0]),
        ("tags.a like 'x\\'", "(t.tags ->> $1::text) like $2::text escape ''", ["a", "x\\"]),
        ("tags.a is null", "(t.tags ->> $1::text) is null", ["a"]),
        ("id is not null", "true", []),
        (
            "params.a = 'vwxyz'",
            "exists (select from p v where v.id = t.id and v.key = $1::text and left(v.value, 4) = $2::text and "
            "v.value = $3::text)",
            ["a", "vwxy", "vwxyz"],
        ),
        (
            "params.a = 'vwx'",  # shorter than what the index has: that is all of it
            "exists (select from p v where v.id = t.id and v.key = $1::text and left(v.value, 4) = $2::text)",
            ["a", "vwx"],
        ),
        ("params.a is null", "not exists (select from p v where v.id = t.id and v.key = $1::text)", ["a"]),
        (
            "metrics.a >= 1",
            "exists (select from m v where v.id = t.id and v.key = $1::text and v.last >= $2::float8 "
            "and v.last <> 'NaN')",
            ["a", 1.0],
        ),
        ("dataset.context = 'a'", "exists (select from d v where v.id = t.id and v.role = $1::text)", ["a"]),
        (
            "dataset.tags.team = 'a'",
            "exists (select from d v where v.id = t.id and (v.tags ->> $1::text) = $2::text)",
            ["team", "a"],
        ),
        (
            "dataset.`tags.a b` is null",
            "not exists (select from d v where v.id = t.id and (v.tags ->> $1::text) is not null)",
            ["a b"],
        ),
        ("dataset.name is null", "not exists (select from d v where v.id = t.id and v.name <> '')", []),
        ("began > 1000", "t.began >= $1::timestamptz", [at(1001)]),
        ("began <= 1000.5", "t.began < $1::timestamptz", [at(1001)]),
        ("began = 7", "(t.began >= $1::timestamptz and t.began < $2::timestamptz)", [at(7), at(8)]),
        ("ended = 0.5", "false", []),
        ("began = '2026-05-09T12:00:00+02:00'", "t.began = $1::timestamptz", [datetime(2026, 5, 9, 10, tzinfo=UTC)]),
        (
            "id = 'a' and (number < 1 or number > 2)",
            "(t.id = $1::text and (t.number < $2::float8 or t.number > $3::float8))",
            ["a", 1.0, 2.0],
        ),
    ],
)
def test_a_filter_is_a_condition(text: str, condition: str, values: list[Any]) -> None:
    assert sql(text) == (condition, values)


@pytest.mark.parametrize("number", ["1e300", "-1e300", "999999999999999999"])
def test_a_time_beyond_all_is_the_nearest_that_there_is(number: str) -> None:
    assert sql(f"began < {number}")[1]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("wrong = 'x'", "filter: at character 1: there is no attribute 'wrong'; there are id, status, number, began"),
        (
            "param.x = 'x'",
            "'param' is nothing that has keys; write one of params, metrics, scores, tags, dataset, attribute, ",
        ),
        (
            "params.x > 'x'",
            "filter: at character 10: params.x: it is a text: compare it with =, !=, like, ilike, in, not in",
        ),
        ("params.x = 3", "params.x: it is a text, and 3 a number; put it in quotes: '3'"),
        ("metrics.x like 'x'", "metrics.x: it is a number: compare it with =, !=, <, <=, >, >="),
        ("number = '3'", "number: it is a number, and '3' a text; give a number without quotes"),
        ("began > 'yesterday'", "began: 'yesterday' is no time; give milliseconds, or as '2026-05-09T03:12:00Z'"),
        ("began > '2026-05-09'", "began: '2026-05-09' is no time"),
        ("began in ('x')", "began: it is a time: compare it with"),
    ],
)
def test_what_does_not_fit_is_refused(text: str, problem: str) -> None:
    with pytest.raises(QueryError) as caught:
        sql(text)
    assert problem in caught.value.message


class Rows:
    """Remembers what it is asked last, and gives rows of its own: the same to each query."""

    def __init__(self, *rows: Any) -> None:
        self.rows = rows
        self.query = ""
        self.asked: tuple[Any, ...] = ()
        self.queries = 0

    async def prepare(self, query: str) -> Any:
        self.query = query
        return self

    async def fetch(self, *arguments: Any) -> Any:
        self.asked = self.query, *arguments
        self.queries += 1
        return self.rows


SEARCH = Search(
    pb.SearchRunsRequest,
    "t",
    WORDS,
    order=[Order(Name("", name, 0), descending=True) for name in ("began", "id")],
    filters={"project": "project"},
    own=("experiment_ids", "lifecycle", "visible_to"),
)

NOON = datetime(2026, 5, 9, 12, tzinfo=UTC)


async def test_the_next_page_goes_on_by_the_index_where_the_order_is_the_lists_own() -> None:
    request = pb.SearchRunsRequest(project="a/b", page={"limit": 1})
    first = Rows({"o0": NOON, "o1": "x"}, {"o0": NOON, "o1": "w"})
    request.page.cursor = (await SEARCH.fetch(first, request)).next_cursor  # type: ignore[arg-type]
    second = Rows()
    assert (await SEARCH.fetch(second, request)).next_cursor == ""  # type: ignore[arg-type]
    assert second.asked == (
        "select t.*, t.began as o0, t.id as o1 from t where project = $1::text and "
        "(t.began, t.id) < ($2::timestamptz, $3::text) order by t.began desc, t.id desc limit $4",
        "a/b",
        NOON,
        "x",
        2,
    )


async def test_rows_without_what_they_are_ordered_by_come_last_on_whichever_page() -> None:
    request = pb.SearchRunsRequest(order_by=["metrics.loss asc"], page={"limit": 1})
    found = {"o0": 2, "o1": 0.0, "o2": NOON, "o3": "x"}
    request.page.cursor = (await SEARCH.fetch(Rows(found, found), request)).next_cursor  # type: ignore[arg-type]
    second = Rows()
    await SEARCH.fetch(second, request)  # type: ignore[arg-type]
    rank = "case when j0.value is null then 2 when j0.value = 'NaN' then 1 else 0 end"
    value = "coalesce(nullif(j0.value, 'NaN'), 0)"
    assert second.asked == (
        f"select t.*, {rank} as o0, {value} as o1, t.began as o2, t.id as o3 from t left join (select v.id, v.last as "
        f"value from m v where v.key = $1::text) j0 on j0.id = t.id where ({rank} > $2::int or ({rank} = $2::int and "
        f"({value} > $3::float8 or ({value} = $3::float8 and (t.began, t.id) < ($4::timestamptz, $5::text))))) order "
        f"by {rank}, {value}, t.began desc, t.id desc limit $6",
        "loss",
        2,
        0.0,
        NOON,
        "x",
        2,
    )


ALONG = (
    "select t.*, 0 as o0, j0.value as o1, t.began as o2, t.id as o3 from t join (select v.id, v.value as value from "
    "s v where v.key = $1::text) j0 on j0.id = t.id where j0.value < 'NaN'::float8"
)


async def test_a_full_page_of_those_that_have_the_number_is_read_along_its_index() -> None:
    request = pb.SearchRunsRequest(order_by=["scores.f1 desc"], page={"limit": 1})
    found = {"o0": 0, "o1": 0.5, "o2": NOON, "o3": "x"}
    first = Rows(found, found)
    request.page.cursor = (await SEARCH.fetch(first, request)).next_cursor  # type: ignore[arg-type]
    order = "order by j0.value desc, t.began desc, t.id desc"
    assert (first.queries, first.asked) == (1, (f"{ALONG} {order} limit $2", "f1", 2))
    second = Rows(found, found)
    assert (await SEARCH.fetch(second, request)).next_cursor  # type: ignore[arg-type]
    behind = "(j0.value, t.began, t.id) < ($3::float8, $4::timestamptz, $5::text)"
    assert (second.queries, second.asked) == (
        1,
        (f"{ALONG} and j0.value <= $2::float8 and {behind} {order} limit $6", "f1", 0.5, 0.5, NOON, "x", 2),
    )


@pytest.mark.parametrize(("rank", "queries"), [(0, 2), (1, 1), (2, 1)])
async def test_where_the_numbers_fill_no_page_all_rows_are_put_in_order(rank: int, queries: int) -> None:
    request = pb.SearchRunsRequest(order_by=["scores.f1"], page={"limit": 1})
    found = {"o0": rank, "o1": 0.5, "o2": NOON, "o3": "x"}
    request.page.cursor = (await SEARCH.fetch(Rows(found, found), request)).next_cursor  # type: ignore[arg-type]
    last = Rows(found)
    assert (await SEARCH.fetch(last, request)).next_cursor == ""  # type: ignore[arg-type]
    assert last.queries == queries
    assert "left join" in last.query


async def test_a_wrong_order_names_its_clause() -> None:
    with pytest.raises(QueryError, match=r"order_by\[1\]: at character 1: there is no attribute 'x'"):
        await SEARCH.fetch(Rows(), pb.SearchRunsRequest(order_by=["id", "x desc"]))  # type: ignore[arg-type]
    with pytest.raises(QueryError, match="order_by: there are 21 clauses; at most 20 are taken"):
        await SEARCH.fetch(Rows(), pb.SearchRunsRequest(order_by=["id"] * 21))  # type: ignore[arg-type]
