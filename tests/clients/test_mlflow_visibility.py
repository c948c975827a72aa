"""Who finds what by MLflow's unchanged client: private experiments are their owner's and their collaborators'."""

from __future__ import annotations

import asyncio

import mlflow
from mlflow import MlflowClient

from events.language.experiments import CreateExperiment, CreateRun, RunAdmitted
from events.language.experiments.logged_models import CreateLoggedModel, LoggedModelAdmitted
from events.log.ids import derived_id
from events.log.publish import Publisher
from tests.clients.flows import flow
from tests.integration.cluster import Cluster

PROJECT = "local/default"


async def private(platform: Cluster, name: str, *collaborators: str) -> str:
    """Another user's experiment, with a run and a logged model; its id."""
    id = derived_id("e", f"make-{name}", PROJECT)
    async with Publisher(platform.settings) as publisher:
        made = CreateExperiment(name=name, visibility="private", collaborators=collaborators)  # type: ignore[arg-type]
        await publisher.publish(made, id=f"make-{name}", actor="ada")
        await publisher.publish(CreateRun(experiment=name, name=name), id=f"run-{name}", actor="ada")
        await publisher.publish(CreateLoggedModel(experiment=name, name=name), id=f"model-{name}", actor="ada")
    await asyncio.gather(
        platform.event(RunAdmitted, lambda event: event.experiment_id == id),
        platform.event(LoggedModelAdmitted, lambda event: event.experiment_id == id),
    )
    return id


async def test_a_private_experiment_is_found_by_its_collaborators(platform: Cluster, uri: str) -> None:
    if uri.endswith("/mlflow/lab/vision"):
        return  # the same whatever the project is
    hers, shared = await private(platform, "hers"), await private(platform, "shared", "owner")
    client = MlflowClient(uri)

    def steps() -> None:
        # a write of this client's own: what it asks from then on has the others' writes too
        client.create_experiment("after hers")
        names = {each.name for each in client.search_experiments()}
        assert "shared" in names
        assert "hers" not in names
        runs = client.search_runs([hers, shared])
        assert [run.info.run_name for run in runs] == ["shared"]
        models = mlflow.search_logged_models([hers, shared], output_format="list")
        assert [model.name for model in models] == ["shared"]

    await flow(steps)
