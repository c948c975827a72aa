"""Which types of events `--type` of `history`, `watch` and `export` means."""

from __future__ import annotations

import pytest

from forgelog import InvalidInput
from forgelog.cli.log import CONTEXTS, aggregate_of, of_context, types_of


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (None, []),
        (["JobStarted"], ["forgelog.jobs.v1.JobStarted"]),
        (["forgelog.jobs.v1.JobStarted"], ["forgelog.jobs.v1.JobStarted"]),
        (["CommandRejected"], ["forgelog.log.v1.CommandRejected"]),
    ],
)
def test_a_type_is_named_in_full_or_by_its_last_word(given: list[str] | None, meant: list[str]) -> None:
    assert types_of(given, CONTEXTS) == meant


@pytest.mark.parametrize(
    ("given", "hint"),
    [("JobStart", "did you mean 'JobStarted'"), ("", "docs/reference"), ("forgelog.jobs.v1.Nope", "docs/reference")],
)
def test_a_type_that_no_event_has_is_refused(given: str, hint: str) -> None:
    with pytest.raises(InvalidInput, match=hint):
        types_of([given], CONTEXTS)


@pytest.mark.parametrize("given", ["WriterStarted", "forgelog.log.v1.RecordSkipped", "RecordRetried"])
def test_a_type_that_no_history_has_is_refused(given: str) -> None:
    with pytest.raises(InvalidInput, match=f"--type: '{given}' is no event of a context's history; docs/reference"):
        types_of([given], CONTEXTS)


def test_a_type_of_another_context_is_refused_where_one_context_is_asked() -> None:
    with pytest.raises(InvalidInput, match="--type: 'JobStarted' is an event of jobs, not of resources; ask jobs"):
        types_of(["CommandRejected", "JobStarted"], ("resources",))
    assert types_of(["CommandRejected"], ("resources",)) == ["forgelog.log.v1.CommandRejected"]


def test_each_context_is_asked_for_its_own_types_and_not_at_all_where_it_has_none() -> None:
    started, rejected = "forgelog.jobs.v1.JobStarted", "forgelog.log.v1.CommandRejected"
    assert of_context("jobs", {"types": (started, rejected)}) == {"types": (started, rejected)}
    assert of_context("resources", {"types": (started, rejected), "limit": 7}) == {"types": (rejected,), "limit": 7}
    assert of_context("resources", {"types": (started,)}) is None
    assert of_context("resources", {"actors": ("owner",)}) == {"actors": ("owner",)}


def test_a_context_without_aggregates_of_the_wanted_kind_is_not_asked() -> None:
    assert of_context("resources", {"aggregate": "node"}) == {"aggregate": "node"}
    assert of_context("jobs", {"aggregate": "node"}) is None
    assert of_context("scheduling", {"aggregate": "job"}) == {"aggregate": "job"}


def test_a_kind_of_aggregate_that_there_is_not_is_refused_with_those_there_are() -> None:
    assert aggregate_of("queue", ("jobs", "scheduling")) == "queue"
    assert aggregate_of(None, ("jobs",)) is None
    with pytest.raises(InvalidInput, match="--aggregate: 'pod' is no kind of aggregate; write one of job, queue"):
        aggregate_of("pod", ("jobs", "scheduling"))
