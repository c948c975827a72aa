"""How people name a version."""

from __future__ import annotations

import pytest

from forgelog.client.model_refs import ModelRef, parse_ref
from forgelog.errors import InvalidInput


@pytest.mark.parametrize(
    ("text", "ref"),
    [
        ("digits", ModelRef("digits")),
        ("digits/3", ModelRef("digits", number=3)),
        ("digits@champion", ModelRef("digits", alias="champion")),
        ("my digits:production", ModelRef("my digits", environment="production")),
    ],
)
def test_a_version_is_named(text: str, ref: ModelRef) -> None:
    assert parse_ref(text) == ref


@pytest.mark.parametrize("text", ["", "/3", "digits/", "digits/x", "digits@a@b", "digits/3@a", "digits:"])
def test_what_names_no_version_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="names no version of a model; write NAME, NAME/3, NAME@ALIAS"):
        parse_ref(text)
