"""Models by MLflow's unchanged client, from the training to the prediction: logged, registered, loaded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.models import infer_signature
from mlflow.pyfunc import PythonModel
from mlflow.utils.autologging_utils import AUTOLOGGING_INTEGRATIONS
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV

from forgelog import Client
from tests.clients.flows import flow, names
from tests.integration.cluster import Cluster

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*deprecated since 2.9.0:FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning:mlflow"),
]

IRIS = load_iris()


class Doubling(PythonModel):
    """The smallest model."""

    def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
        return [2 * each for each in model_input]


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where no lock file is, which would be logged with each model. The search for a model's requirements, which loads
    it in another process, is cut short."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_REQUIREMENTS_INFERENCE_TIMEOUT", "1")


@pytest.fixture
def client(uri: str) -> Iterator[MlflowClient]:
    yield MlflowClient(uri)
    mlflow.sklearn.autolog(disable=True)
    AUTOLOGGING_INTEGRATIONS["sklearn"].clear()  # what is said of one library outlasts what is said of all


async def test_a_model_is_loaded_by_all_of_its_addresses(client: MlflowClient, platform: Cluster) -> None:
    def steps() -> None:
        mlflow.set_experiment("addresses")
        with mlflow.start_run() as run:
            info = mlflow.pyfunc.log_model(
                name="model", python_model=Doubling(), pip_requirements=[], registered_model_name="doubling"
            )
        assert info.registered_model_version == "1"
        client.set_registered_model_alias("doubling", "champion", "1")
        client.transition_model_version_stage("doubling", "1", "Production")
        for address in (
            info.model_uri,
            f"models:/{info.model_id}",
            f"runs:/{run.info.run_id}/model",
            "models:/doubling/1",
            "models:/doubling/latest",
            "models:/doubling@champion",
            "models:/doubling/Production",
        ):
            assert mlflow.pyfunc.load_model(address).predict([1, 2]) == [2, 4], address
        version = client.get_model_version("doubling", "1")
        assert (version.run_id, version.source) == (run.info.run_id, f"models:/{info.model_id}")
        assert "is a pickle" in version.status_message
        again = mlflow.register_model(f"runs:/{run.info.run_id}/model", "doubling")
        assert (again.version, again.source, again.run_id) == ("2", version.source, run.info.run_id)
        assert '"version": "2"' in client.get_logged_model(info.model_id).tags["mlflow.modelVersions"]

        client.copy_model_version("models:/doubling@champion", "doubling copy")
        client.rename_registered_model("doubling", "renamed doubling")
        client.delete_logged_model(info.model_id)
        client.delete_run(run.info.run_id)
        for address in ("models:/doubling copy/1", "models:/renamed doubling@champion"):
            assert mlflow.pyfunc.load_model(address).predict([3]) == [6], address

    await flow(steps)
    project = client.tracking_uri.partition("/mlflow/")[2] or "local/default"
    async with platform.http() as http:
        copy = {"project": project, "filter": "name = 'doubling copy'"}
        found = (await http.get("/v1/model-versions", params=copy)).json()["versions"][0]
        up = (await http.get(f"/v1/lineage/model_version/{found['version_id']}?direction=up")).json()
    assert {(node["kind"], node.get("label", "")) for node in up["nodes"]} >= {
        ("model_version", "renamed doubling/1"),
        ("logged_model", "model"),
        ("experiment", "addresses"),
    }
    assert ("copied", found["version_id"]) in {(edge["relation"], edge["target"]) for edge in up["edges"]}


async def test_a_model_of_scikit_learn_comes_back_with_its_signature(
    client: MlflowClient, platform: Cluster, tmp_path: Path
) -> None:
    def steps() -> None:
        mlflow.set_experiment("scikit-learn")
        model = LogisticRegression(max_iter=500).fit(IRIS.data, IRIS.target)
        with mlflow.start_run():
            signature = infer_signature(IRIS.data, model.predict(IRIS.data))
            info = mlflow.sklearn.log_model(
                model,
                name="iris",
                signature=signature,
                input_example=IRIS.data[:2],
                pip_requirements=[],
                registered_model_name="iris",
            )
        for address in (info.model_uri, "models:/iris/1"):
            loaded = mlflow.sklearn.load_model(address)
            assert np.array_equal(loaded.predict(IRIS.data), model.predict(IRIS.data))
            assert mlflow.models.get_model_info(address).signature == signature
        version = client.get_model_version("iris", "1")
        assert (version.status, version.status_message) == ("READY", None)  # skops is no pickle
        # and by the platform's own client, without MLflow
        project = client.tracking_uri.partition("/mlflow/")[2] or None
        with Client(platform.gateway, token=platform.key, project=project) as own:
            loaded = own.models.load("iris/1", into=tmp_path)
        assert np.array_equal(loaded.predict(IRIS.data), model.predict(IRIS.data))

    await flow(steps)


async def test_scikit_learn_logs_by_itself(client: MlflowClient) -> None:
    def steps() -> None:
        experiment = mlflow.set_experiment("by itself")
        mlflow.sklearn.autolog(registered_model_name="by itself")
        model = LogisticRegression(max_iter=500, C=0.5).fit(IRIS.data, IRIS.target)
        run = mlflow.last_active_run()
        assert run.info.status == "FINISHED"
        assert {key: run.data.params[key] for key in ("C", "max_iter")} == {"C": "0.5", "max_iter": "500"}
        assert run.data.metrics["training_accuracy_score"] == pytest.approx(model.score(IRIS.data, IRIS.target))
        assert run.data.tags["estimator_name"] == "LogisticRegression"
        assert {each.path for each in client.list_artifacts(run.info.run_id)} >= {
            "estimator.html",
            "training_confusion_matrix.png",
        }
        (made,) = run.outputs.model_outputs
        (given,) = run.inputs.dataset_inputs
        assert (given.tags[0].value, "iris" in given.dataset.name or bool(given.dataset.digest)) == ("train", True)
        for address in (f"models:/{made.model_id}", "models:/by itself/1"):
            assert np.array_equal(mlflow.sklearn.load_model(address).predict(IRIS.data), model.predict(IRIS.data))

        mlflow.sklearn.autolog(log_models=False)
        GridSearchCV(LogisticRegression(max_iter=500), {"C": [0.1, 1.0]}, cv=2).fit(IRIS.data, IRIS.target)
        search = mlflow.last_active_run()
        children = client.search_runs(
            [experiment.experiment_id], f"tags.mlflow.parentRunId = '{search.info.run_id}'", order_by=["params.C"]
        )
        assert [child.data.params["C"] for child in children] == ["0.1", "1.0"]
        assert search.data.metrics["best_cv_score"] == max(child.data.metrics["mean_test_score"] for child in children)

    await flow(steps)


async def test_what_is_logged_asynchronously_arrives(client: MlflowClient) -> None:
    def steps() -> None:
        mlflow.set_experiment("asynchronous")
        with mlflow.start_run(run_name="by call") as run:
            pending = [mlflow.log_metric("loss", step / 10, step=step, synchronous=False) for step in range(50)]
            mlflow.log_params({"lr": 0.1, "depth": 3}, synchronous=False).wait()
            for each in pending:
                each.wait()
        history = client.get_metric_history(run.info.run_id, "loss")
        assert [(each.step, each.value) for each in history] == [(step, step / 10) for step in range(50)]
        mlflow.config.enable_async_logging()
        try:
            with mlflow.start_run(run_name="by default") as second:
                mlflow.log_metrics({"a": 1.0, "b": 2.0}, step=1)
                mlflow.log_param("p", "x")
                mlflow.set_tag("t", "y")
                mlflow.flush_async_logging()
        finally:
            mlflow.config.enable_async_logging(False)
        data = client.get_run(second.info.run_id).data
        assert (data.metrics, data.params, data.tags["t"]) == ({"a": 1.0, "b": 2.0}, {"p": "x"}, "y")
        runs = client.search_runs([run.info.experiment_id], order_by=["start_time"])
        assert names(runs) == ["by call", "by default"]

    await flow(steps)
