"""What a command says of an error: once, with the field and what to do."""

from __future__ import annotations

import sys

import pytest

from forgelog.cli.common import told
from forgelog.errors import ForgelogError, NotFound, Problem, Refused

EMPTY = Problem("name", "is empty", "give at least 1 character")
MOVE = Problem("status", "a can't go from b to c", "b is final")
ABSENT = Problem("pipeline_id", "there is no pipeline 'p'", "forgelog pipeline ls shows them")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (Refused("invalid_argument", "name: is empty", [EMPTY]), "name: is empty; give at least 1 character"),
        (Refused("not_found", ABSENT.problem, [ABSENT]), str(ABSENT)),
        (Refused("invalid_argument", "two errors", [EMPTY]), f"two errors\n  {EMPTY}"),
        (Refused("invalid_argument", "name: is empty (and 1 more)", [EMPTY, ABSENT]),
         f"name: is empty (and 1 more)\n  {EMPTY}\n  {ABSENT}"),
        (Refused("failed_precondition", f"{MOVE.problem}: {MOVE.hint}", [MOVE]), "a can't go from b to c: b is final"),
        (NotFound("there is no experiment 'e'"), "there is no experiment 'e'; 'forgelog experiments list' lists them"),
        (NotFound("there is no run 'r'; look elsewhere"), "there is no run 'r'; look elsewhere"),
        (NotFound("there is no alias 'a'"), "there is no alias 'a'"),
    ],
)  # fmt: skip
def test_an_error_is_told_once_and_with_what_to_do(error: ForgelogError, text: str) -> None:
    assert told(error) == text


@pytest.mark.parametrize(
    ("words", "text", "listing"),
    [
        (("forgelog", "pipeline", "template"), "there is no template 't'", "pipeline template ls"),
        (("forgelog", "pipeline", "datasets"), "there is no dataset 'd'", "pipeline datasets ls"),
        (("forgelog", "pipeline", "lineage"), "there is no dataset 'd'", "pipeline datasets ls"),
        (("forgelog", "pipeline", "next"), "there is no pipeline 'p'", "pipeline ls"),
        (("forgelog", "datasets", "show"), "there is no dataset 'd'", "datasets list"),
        (("forgelog", "templates", "show"), "there is no template 't'", "templates list"),
        (("forgelog", "logged-models", "show"), "there is no logged model 'm'", "logged-models list"),
    ],
)
def test_what_lists_a_kind_depends_on_the_group_of_the_command(
    words: tuple[str, ...], text: str, listing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [*words, "x"])
    assert told(NotFound(text)) == f"{text}; 'forgelog {listing}' lists them"


def test_a_kind_that_several_groups_have_is_not_guessed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["forgelog", "lineage", "dataset", "d"])
    assert told(NotFound("there is no dataset 'd'")) == "there is no dataset 'd'"
