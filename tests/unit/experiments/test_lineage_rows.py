"""The rows of lineage: no row is written by events of two places, since those are folded apart."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from events.language.experiments.logged_models import LoggedModelCreated, RunModel, RunModelsLogged
from services.experiments.lineage_rows import touched


class Meta:
    project = "lab/vision"
    time = datetime(2026, 5, 9, tzinfo=UTC)


META: Any = Meta()


def test_a_model_and_the_run_that_made_it_tell_of_each_other_in_rows_of_their_own() -> None:
    created = LoggedModelCreated(model_id="m-1", project="lab/vision", source_run_id="r1")
    logged = RunModelsLogged(run_id="r1", inputs=("m-2",), outputs=(RunModel(model_id="m-1"),))
    of_model, of_run = ({key for _, key in touched(event, META)} for event in (created, logged))
    assert of_model == {("m-1", "logged_model", "run", "r1", "output", "lab/vision")}
    assert of_run == {
        ("m-1", "logged_model", "run", "r1", "produced", "lab/vision"),
        ("r1", "run", "logged_model", "m-2", "model", "lab/vision"),
    }
