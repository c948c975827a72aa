"""Which types of events `forgelog watch --type` means."""

from __future__ import annotations

import pytest

from forgelog import InvalidInput
from forgelog.cli.log import types_of


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
    assert types_of(given) == meant


@pytest.mark.parametrize(
    ("given", "hint"),
    [("JobStart", "did you mean 'JobStarted'"), ("", "docs/reference"), ("forgelog.jobs.v1.Nope", "docs/reference")],
)
def test_a_type_that_no_event_has_is_refused(given: str, hint: str) -> None:
    with pytest.raises(InvalidInput, match=hint):
        types_of([given])
