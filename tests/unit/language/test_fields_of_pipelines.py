"""Each field of pipelines acts somewhere and is tested: the reference says where, and is held to it here."""

from __future__ import annotations

import pytest

from events.language import pipelines
from tests.unit.language.described_fields import Reference, Row, check_row, name_of

REFERENCE = Reference("fields-pipelines.md", pipelines)


@pytest.mark.parametrize("name", REFERENCE.values)
def test_each_field_of_a_model_is_described(name: str) -> None:
    REFERENCE.check_model(name)


def test_each_field_of_commands_and_events_is_described() -> None:
    REFERENCE.check_messages()


def test_nothing_else_is_described() -> None:
    REFERENCE.check_nothing_else()


@pytest.mark.parametrize("row", REFERENCE.rows, ids=name_of)
def test_a_place_is_there_and_names_the_field_and_a_test_is_there(row: Row) -> None:
    check_row(row)
