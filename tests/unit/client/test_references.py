"""Given some jobs, when a person calls one by its id, its name or the beginning of its id, then that one is meant."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from forgelog.client.references import LISTED, Candidate, chosen
from forgelog.errors import InvalidInput, NotFound

JOBS = [
    Candidate("jabc1", "train", about="running"),
    Candidate("jabc2", "eval", alive=False, about="failed"),
    Candidate("jxyz9", "train", alive=False, about="completed"),
    Candidate("jold1", "sweep", alive=False),
    Candidate("jold2", "sweep", alive=False),
    Candidate("train2", "jabc1"),
]


def meant(text: str, jobs: list[Candidate] = JOBS) -> str:
    return chosen(text, jobs, kind="job", listing="forgelog ps -a")


@pytest.mark.parametrize(
    ("text", "id"),
    [
        ("jabc2", "jabc2"),
        ("jabc1", "jabc1"),  # though another job is called so
        ("train", "jabc1"),  # the living one; and a name goes before the beginning of an id
        ("eval", "jabc2"),  # ended, but the only one
        ("jx", "jxyz9"),
        ("tr", "train2"),
    ],
)
def test_one_is_meant(text: str, id: str) -> None:
    assert meant(text) == id


def test_of_several_none_is_guessed() -> None:
    with pytest.raises(InvalidInput) as problem:
        meant("jabc")
    assert str(problem.value) == (
        "2 jobs have an id that begins with 'jabc'; write more of it\n  jabc1: running\n  jabc2: failed"
    )
    with pytest.raises(InvalidInput, match="2 jobs are called 'sweep'; say which by its id\n  jold1: sweep"):
        meant("sweep")


def test_many_are_counted() -> None:
    jobs = [Candidate(f"j{number}", about="running") for number in range(LISTED + 3)]
    with pytest.raises(InvalidInput, match="and 3 more"):
        meant("j", jobs)


@pytest.mark.parametrize("text", ["nobody", "", "JABC1"])
def test_none_is_meant(text: str) -> None:
    with pytest.raises(NotFound, match=r"there is no job '.*'; 'forgelog ps -a' lists them"):
        meant(text)


def test_of_a_moment_of_the_past_the_list_of_that_time_is_named() -> None:
    then = datetime(2026, 5, 9, 5, 12, 0, 250_000, tzinfo=timezone(timedelta(hours=2)))
    with pytest.raises(NotFound) as problem:
        chosen("jnew", JOBS, kind="job", listing="forgelog ps -a", at=then)
    assert str(problem.value) == (
        "there is no job 'jnew' as of 2026-05-09T03:12:00Z; "
        "'forgelog ps -a --at 2026-05-09T03:12:00Z' lists those of that time"
    )
