"""What a command says of an error: once, with the field and what to do."""

from __future__ import annotations

import pytest

from forgelog.cli.common import told
from forgelog.errors import ForgelogError, NotFound, Problem, Refused

EMPTY = Problem("name", "is empty", "give at least 1 character")
ABSENT = Problem("pipeline_id", "there is no pipeline 'p'", "forgelog pipeline ls shows them")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (Refused("invalid_argument", "name: is empty", [EMPTY]), "name: is empty; give at least 1 character"),
        (Refused("not_found", ABSENT.problem, [ABSENT]), str(ABSENT)),
        (Refused("invalid_argument", "two errors", [EMPTY]), f"two errors\n  {EMPTY}"),
        (Refused("invalid_argument", "name: is empty (and 1 more)", [EMPTY, ABSENT]),
         f"name: is empty (and 1 more)\n  {EMPTY}\n  {ABSENT}"),
        (NotFound("there is no experiment 'e'"), "there is no experiment 'e'; 'forgelog experiments list' lists them"),
        (NotFound("there is no run 'r'; look elsewhere"), "there is no run 'r'; look elsewhere"),
        (NotFound("there is no alias 'a'"), "there is no alias 'a'"),
    ],
)  # fmt: skip
def test_an_error_is_told_once_and_with_what_to_do(error: ForgelogError, text: str) -> None:
    assert told(error) == text
