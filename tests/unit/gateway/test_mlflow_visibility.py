"""On MLflow's door each search is for the user whose key it comes with: it has nothing that this user does not find."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from services.gateway.mlflow import experiments, inputs, logged_models, runs
from services.gateway.mlflow.asked import Asked

ASKED = {"experiment_ids": ["e1"], "experiment_id": "e1"}


class Calls:
    """Notes what is asked, and finds nothing."""

    project, user = "local/default", "ada"

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []

    async def ask(self, name: str, answer: type[Any], **fields: Any) -> Any:
        self.asked.append((name, fields))
        return answer()


@pytest.mark.parametrize(
    ("search", "name"),
    [
        (experiments.search, "SearchExperiments"),
        (runs.search, "SearchRuns"),
        (logged_models.search, "SearchLoggedModels"),
        (inputs.search_datasets, "ListInputs"),
    ],
)
async def test_a_search_is_for_the_user_who_asks(search: Callable[[Asked, Any], Awaitable[Any]], name: str) -> None:
    calls = Calls()
    await search(Asked(ASKED), calls)
    ((asked, fields),) = calls.asked
    assert (asked, fields["visible_to"], fields["project"]) == (name, "ada", "local/default")
