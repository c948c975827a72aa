"""What runs read and made, by MLflow's unchanged client: datasets and logged models."""

from __future__ import annotations

import mlflow
from mlflow import MlflowClient
from mlflow.data.http_dataset_source import HTTPDatasetSource
from mlflow.data.meta_dataset import MetaDataset
from mlflow.entities import LoggedModelInput, LoggedModelOutput

from tests.clients.flows import answered, flow, refused
from tests.integration.cluster import Cluster


def dataset(name: str, digest: str) -> MetaDataset:
    return MetaDataset(HTTPDatasetSource(f"https://example.com/{name}.csv"), name=name, digest=digest)


async def test_a_run_reads_datasets(platform: Cluster, uri: str) -> None:
    client = MlflowClient(uri)

    def steps() -> str:
        experiment = mlflow.set_experiment("reading")
        with mlflow.start_run() as run:
            mlflow.log_input(dataset("digits", "d1"), context="training", tags={"kind": "public"})
            mlflow.log_input(dataset("digits", "d1"), context="training")  # once is enough
            mlflow.log_input(dataset("digits", "d2"), context="validation")
            mlflow.log_metric("loss", 0.5, dataset=dataset("digits", "d2"))
        first, second = client.get_run(run.info.run_id).inputs.dataset_inputs
        assert (first.dataset.name, first.dataset.digest, first.dataset.source_type) == ("digits", "d1", "http")
        assert first.dataset.source == '{"url": "https://example.com/digits.csv"}'
        assert {tag.key: tag.value for tag in first.tags} == {"mlflow.data.context": "training", "kind": "public"}
        assert (second.dataset.digest, [tag.value for tag in second.tags]) == ("d2", ["validation"])
        (found,) = client.search_runs([experiment.experiment_id])
        assert [each.dataset.digest for each in found.inputs.dataset_inputs] == ["d1", "d2"]
        source = mlflow.data.get_source(first)
        assert source.url == "https://example.com/digits.csv"
        return experiment.experiment_id

    experiment, prefix = await flow(steps), uri.removeprefix(f"http://{platform.gateway}")
    async with platform.http() as http:
        asked = {"experiment_ids": [experiment]}
        answer = await http.post(f"{prefix}/api/2.0/mlflow/experiments/search-datasets", json=asked)
        assert answer.json()["dataset_summaries"] == [
            {"experiment_id": experiment, "name": "digits", "digest": "d1", "context": "training"},
            {"experiment_id": experiment, "name": "digits", "digest": "d2", "context": "validation"},
        ]


async def test_a_run_uses_and_makes_models(platform: Cluster, uri: str) -> None:
    client = MlflowClient(uri)

    def steps() -> tuple[str, str, str]:
        experiment = client.create_experiment("models of runs")
        base, tuned = (client.create_logged_model(experiment, name=name).model_id for name in ("base", "tuned"))
        run = client.create_run(experiment).info.run_id
        client.log_inputs(run, models=[LoggedModelInput(base)])
        client.log_outputs(run, [LoggedModelOutput(tuned, 1), LoggedModelOutput(tuned, 2)])
        client.log_outputs(run, [LoggedModelOutput(tuned, 2)])
        found = client.get_run(run)
        assert [each.model_id for each in found.inputs.model_inputs] == [base]
        assert [(each.model_id, each.step) for each in found.outputs.model_outputs] == [(tuned, 1), (tuned, 2)]
        return run, base, tuned

    run, base, tuned = (id[:2] + id[2:].replace("-", ".") for id in await flow(steps))
    async with platform.http() as http:
        edges = (await answered(http, f"/v1/lineage/run/{run}"))["edges"]
    assert {(each["source"], each["target"], each["relation"]) for each in edges if "m-" in str(each)} >= {
        (base, run, "model"),
        (run, tuned, "produced"),
    }


async def test_what_is_wrong_with_an_input_is_told(uri: str) -> None:
    client = MlflowClient(uri)

    def steps() -> None:
        run = client.create_run(client.create_experiment("wrong inputs")).info.run_id
        code, text = refused(lambda: client.log_inputs(run, models=[LoggedModelInput("")]))
        assert (code, "models[0].model_id: is missing" in text) == ("INVALID_PARAMETER_VALUE", True)
        client.delete_run(run)
        code, text = refused(lambda: client.log_inputs(run, models=[LoggedModelInput("m-1")]))
        assert (code, "is deleted; restore it first" in text) == ("INVALID_PARAMETER_VALUE", True)

    await flow(steps)
