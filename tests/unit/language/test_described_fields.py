"""Each field of a context acts somewhere and is tested: the reference says where, and is held to it here."""

from __future__ import annotations

import pytest

from events.language import deployments, experiments, pipelines
from tests.unit.language.described_fields import Reference, Row, check_row, name_of

REFERENCES = (
    Reference("fields-experiments.md", experiments),
    Reference("fields-deployments.md", deployments, elsewhere=frozenset({"telemetry_records", "traffic_records"})),
    Reference("fields-pipelines.md", pipelines),
)
each_reference = pytest.mark.parametrize("reference", REFERENCES, ids=lambda reference: reference.page.name)


@pytest.mark.parametrize(
    ("reference", "name"),
    [pytest.param(reference, name, id=name) for reference in REFERENCES for name in reference.values],
)
def test_each_field_of_a_model_is_described(reference: Reference, name: str) -> None:
    reference.check_model(name)


@each_reference
def test_each_field_of_commands_and_events_is_described(reference: Reference) -> None:
    reference.check_messages()


@each_reference
def test_nothing_else_is_described(reference: Reference) -> None:
    reference.check_nothing_else()


@pytest.mark.parametrize("row", [row for reference in REFERENCES for row in reference.rows], ids=name_of)
def test_a_place_is_there_and_names_the_field_and_a_test_is_there(row: Row) -> None:
    check_row(row)
