"""The rows of lineage: no row is written by events of two places, since those are folded apart."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from events.language.experiments.datasets import (
    MAX_NODE_BYTES,
    DatasetRegistered,
    DatasetSpec,
    Preprocessing,
    dataset_node,
)
from events.language.experiments.logged_models import LoggedModelCreated, RunModel, RunModelsLogged
from services.experiments.lineage_rows import preprocessed, touched


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


def test_a_version_of_a_dataset_tells_by_which_steps_it_came_of_its_parent() -> None:
    steps = (Preprocessing(name="resize", parameters={"size": "28"}), Preprocessing(name="normalized"))
    assert preprocessed(steps) == "resize size=28, normalized"
    assert preprocessed(()) == "derived"


def test_the_longest_row_of_lineage_fits_into_an_index() -> None:
    digest = "d" * (MAX_NODE_BYTES - 800 - 1)
    node = dataset_node("\U0001f40c" * 200, digest)
    steps = tuple(Preprocessing(name=f"{number:03}" * 60) for number in range(100))
    registered = DatasetRegistered(
        project="lab/vision",
        version_id="ds2",
        name="\U0001f40c" * 200,
        number=2,
        spec=DatasetSpec(digest=digest, preprocessing=steps),
        made_of=(node,),
    )
    ((_, key),) = touched(registered, META)
    assert sum(len(str(part).encode()) + 8 for part in key) < 2_700  # a third of a page
