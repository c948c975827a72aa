"""Who finds what by MLflow's unchanged client: private experiments are their owner's and their collaborators'."""

from __future__ import annotations

import asyncio

import mlflow
import pytest
from mlflow import MlflowClient

from events.language.experiments import CreateExperiment, CreateRun, ExperimentCreated
from events.language.experiments.logged_models import CreateLoggedModel
from events.log.ids import derived_id
from events.log.publish import Publisher
from forgelog import AsyncClient
from tests import PATIENCE
from tests.clients.flows import flow
from tests.integration.cluster import Cluster

PROJECT = "local/default"


async def private(platform: Cluster, name: str, *collaborators: str) -> str:
    """Another user's experiment, with a run and a logged model; its id."""
    id = derived_id("e", f"make-{name}", PROJECT)
    async with Publisher(platform.settings) as publisher:
        made = CreateExperiment(name=name, visibility="private", collaborators=collaborators)
        await publisher.publish(made, id=f"make-{name}", actor="ada")
        await platform.event(ExperimentCreated, lambda event: event.experiment_id == id)
        await publisher.publish(CreateRun(experiment_id=id, name=name), id=f"run-{name}", actor="ada")
        await publisher.publish(CreateLoggedModel(experiment_id=id, name=name), id=f"model-{name}", actor="ada")
    return id


async def there(client: AsyncClient, *experiments: str) -> None:
    """Returns once there is what was made: another client made it."""
    async with asyncio.timeout(PATIENCE):
        for search in (client.runs.search, client.logged_models.search):
            while len(await search(experiments=experiments, visible_to="ada")) < len(experiments):
                await asyncio.sleep(0.05)


@pytest.mark.parametrize("uri", [""], indirect=True)
async def test_a_private_experiment_is_found_by_its_collaborators(
    platform: Cluster, client: AsyncClient, uri: str
) -> None:
    hers, shared = await private(platform, "hers"), await private(platform, "shared", "owner")
    await there(client, hers, shared)
    theirs = MlflowClient(uri)

    def steps() -> None:
        names = {each.name for each in theirs.search_experiments()}
        assert "shared" in names
        assert "hers" not in names
        runs = theirs.search_runs([hers, shared])
        assert [run.info.run_name for run in runs] == ["shared"]
        models = mlflow.search_logged_models([hers, shared], output_format="list")
        assert [model.name for model in models] == ["shared"]

    await flow(steps)
