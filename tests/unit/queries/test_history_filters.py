"""Which events a query of the history wants, and how a filter that means nothing is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from events.queries.history import Filters
from events.queries.queries import QueryError
from forgelog_pb.log.v1 import queries_pb2 as pb

NOON = datetime(2026, 5, 9, 12, tzinfo=UTC)
REQUESTS = [pb.GetHistoryRequest, pb.WatchEventsRequest]


@pytest.mark.parametrize("request_type", REQUESTS)
def test_a_request_s_filters(request_type: type) -> None:
    request = request_type(
        actors=["alice", "forgelog"],
        types=["JobStarted", "forgelog.jobs.v1.JobFailed"],
        projects=["local/default"],
        since=NOON,
        until=NOON + timedelta(hours=1),
        aggregate="job",
        by_itself=True,
    )
    assert Filters.of(request, "jobs") == Filters(
        actors=("alice", "forgelog"),
        types=("forgelog.jobs.v1.JobStarted", "forgelog.jobs.v1.JobFailed"),
        projects=("local/default",),
        since=NOON,
        until=NOON + timedelta(hours=1),
        aggregate="job",
        by_itself=True,
    )
    assert Filters.of(request_type(), "jobs") == Filters()


@pytest.mark.parametrize("request_type", REQUESTS)
@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (
            {"types": ["JobStarted", "JobStartd"]},
            r"types\[1\]: there is no event 'JobStartd'; did you mean 'JobStarted'",
        ),
        ({"types": [""]}, r"types\[0\]: there is no event ''; docs/reference lists them"),
        ({"types": ["SubmitJob"]}, r"types\[0\]: there is no event 'SubmitJob'"),
        (
            {"types": ["JobStarted", "NodeCordoned"]},
            r"types\[1\]: 'NodeCordoned' is an event of resources, not of jobs; ask resources",
        ),
        ({"types": ["WriterStarted"]}, r"types\[0\]: 'WriterStarted' is no event of a context's history"),
        ({"actors": [""]}, r"actors\[0\]: is empty; name an actor"),
        ({"actors": ["é" * 600]}, r"actors\[0\]: is longer than an actor's name, which has at most 1024 bytes"),
        ({"projects": ["default"]}, r"projects\[0\]: 'default' is no project; write organization/project"),
        ({"aggregate": "node"}, "aggregate: 'node' is no kind of aggregate of jobs; write job"),
        ({"since": NOON, "until": NOON}, r"until: 2026-05-09T12:00:00Z is not after since; give a later time"),
    ],
)
def test_a_filter_that_means_nothing_is_refused_by_name(
    request_type: type, fields: dict[str, object], said: str
) -> None:
    with pytest.raises(QueryError, match=said):
        Filters.of(request_type(**fields), "jobs")
