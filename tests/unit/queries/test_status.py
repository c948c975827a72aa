"""The field that a refusal's text begins with is told as a field, too, and no other text is taken for one."""

from __future__ import annotations

import grpc
import pytest

from events.queries.status import errors_said

WRONG = grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("page.limit: is -1; give 0 or more", ("page.limit", "is -1", "give 0 or more")),
        ("order_by[2]: 'up' is no direction", ("order_by[2]", "'up' is no direction", "")),
        (
            "labels.a/b-c: has the character U+0000; leave it out",
            ("labels.a/b-c", "has the character U+0000", "leave it out"),
        ),
        ("filter: at 3: one; two; three", ("filter", "at 3: one", "two; three")),
        ("ce-type: is\nlong", ("ce-type", "is\nlong", "")),
    ],
)
def test_the_field_that_is_wrong(text: str, told: tuple[str, str, str]) -> None:
    (error,) = errors_said(WRONG, text)
    assert (error.field, error.problem, error.hint) == told


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (WRONG, "the body is not JSON: expected value"),
        (WRONG, "subject, correlation_id: give one of the two"),
        (WRONG, "page.limit:"),
        (WRONG, ""),
        (grpc.StatusCode.UNAVAILABLE, "jobs: it has ended; ask again"),
    ],
)
def test_a_text_that_names_no_field(code: grpc.StatusCode, text: str) -> None:
    assert errors_said(code, text) == ()


def test_of_a_huge_text_the_beginning_is_read() -> None:
    (error,) = errors_said(WRONG, "name: " + "; " * 1_000_000)
    assert len(error.problem) + len(error.hint) < 1_000
