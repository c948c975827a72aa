"""Logged models by MLflow's unchanged client."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities import LoggedModelParameter, LoggedModelStatus, LoggedModelTag
from mlflow.exceptions import MlflowException

from tests.clients.flows import flow, refused
from tests.integration.cluster import Cluster


async def test_a_model_from_its_creation_to_its_end(uri: str) -> None:
    client = MlflowClient(uri)

    def steps() -> None:
        experiment = mlflow.set_experiment("logged")
        with mlflow.start_run() as run:
            model = client.create_logged_model(
                experiment.experiment_id,
                name="net",
                source_run_id=run.info.run_id,
                tags={"team": "vision"},
                params={"depth": "3"},
                model_type="classifier",
            )
            assert model.model_id.startswith("m-")
            assert (model.status, model.name, model.model_type) == (LoggedModelStatus.PENDING, "net", "classifier")
            assert model.artifact_location == (
                f"mlflow-artifacts:/{experiment.experiment_id}/models/{client_free(model.model_id)}/artifacts"
            )
            mlflow.log_metric("accuracy", 0.5, step=1, model_id=model.model_id)
            mlflow.log_metric("accuracy", 0.75, step=2, model_id=model.model_id)
        client.log_model_params(model.model_id, {f"p{number}": str(number) for number in range(150)})
        client.set_logged_model_tags(model.model_id, {"team": "speech", "a/b c": "d"})
        client.delete_logged_model_tag(model.model_id, "a/b c")
        assert client.finalize_logged_model(model.model_id, "READY").status is LoggedModelStatus.READY
        found = client.get_logged_model(model.model_id)
        assert (found.status, found.source_run_id, found.tags) == (
            LoggedModelStatus.READY,
            run.info.run_id,
            {"team": "speech"},
        )
        assert (found.params["depth"], found.params["p149"], len(found.params)) == ("3", "149", 151)
        assert found.creation_timestamp <= found.last_updated_timestamp
        (metric,) = found.metrics
        assert (metric.key, metric.value, metric.step, metric.model_id, metric.run_id) == (
            "accuracy",
            0.75,
            2,
            model.model_id,
            run.info.run_id,
        )
        client.delete_logged_model(model.model_id)
        assert refused(lambda: client.get_logged_model(model.model_id))[0] == "RESOURCE_DOES_NOT_EXIST"
        assert client._tracking_client.store.get_logged_model(model.model_id, allow_deleted=True).name == "net"

    await flow(steps)


def client_free(id: str) -> str:
    """A model's id as the platform has it."""
    head, _, rest = id.partition("-")
    return f"{head}-{rest.replace('-', '.')}"


async def test_the_files_of_a_model_come_back(uri: str, tmp_path: Path) -> None:
    client = MlflowClient(uri)
    tree = {"MLmodel": b"flavors: {}\n", "data/weights.bin": b"\x00" * 1000}
    for path, data in tree.items():
        (tmp_path / "model" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "model" / path).write_bytes(data)

    def steps() -> None:
        experiment = mlflow.set_experiment("files of models")
        with mlflow.start_run() as run:
            model = client.create_logged_model(experiment.experiment_id, name="net", source_run_id=run.info.run_id)
            client.log_model_artifacts(model.model_id, str(tmp_path / "model"))
            client.log_model_artifact(model.model_id, __file__)
            client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
            mlflow.log_text("a", "notes/a.txt")
        top = {(each.path, each.is_dir, each.file_size) for each in client.list_logged_model_artifacts(model.model_id)}
        assert top == {
            ("MLmodel", False, 12),
            ("data", True, None),
            (Path(__file__).name, False, Path(__file__).stat().st_size),
        }
        inside = client.list_logged_model_artifacts(model.model_id, "data")
        assert [(each.path, each.file_size) for each in inside] == [("data/weights.bin", 1000)]
        there = Path(mlflow.artifacts.download_artifacts(f"models:/{model.model_id}", dst_path=str(tmp_path)))
        assert {path: (there / path).read_bytes() for path in tree} == tree
        # a run shows the models that it made among its own files
        assert [each.path for each in client.list_artifacts(run.info.run_id)] == ["notes"]
        notes = mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path="notes/a.txt")
        assert Path(notes).read_text() == "a"
        by_run = mlflow.artifacts.download_artifacts(f"runs:/{run.info.run_id}/net", dst_path=str(tmp_path))
        assert (Path(by_run) / "MLmodel").read_bytes() == tree["MLmodel"]

    await flow(steps)


async def test_models_are_searched(uri: str) -> None:
    client = MlflowClient(uri)

    def steps() -> None:
        experiment = client.create_experiment("searched models")
        ids = {}
        for name, depth, team in (("a", "3", "red"), ("b", "5", "blue"), ("c", "5", "red")):
            model = client.create_logged_model(experiment, name=name, params={"depth": depth}, tags={"team": team})
            ids[name] = model.model_id
        client.finalize_logged_model(ids["b"], LoggedModelStatus.READY)

        def found(filter: str = "", **more: Any) -> str:
            models = client.search_logged_models([experiment], filter_string=filter, **more)
            return "".join(each.name for each in models)

        assert found() == "cba"
        assert found("params.depth = '5' and tags.team = 'red'") == "c"
        assert found("name IN ('a', 'b')", order_by=[{"field_name": "name", "ascending": True}]) == "ab"
        assert found("status = 'READY'") == "b"
        assert found(f"model_id = '{ids['a']}'") == "a"
        assert found("creation_timestamp > 0", order_by=[{"field_name": "name", "ascending": False}]) == "cba"
        runs = [client.create_run(experiment).info.run_id for _ in range(2)]
        for run, name, accuracy in ((0, "a", 0.9), (1, "a", 0.5), (0, "b", 0.7)):
            client.log_metric(runs[run], "acc", accuracy, timestamp=1_700_000_000_000 + run, model_id=ids[name])
        assert found("metrics.acc > 0.6") == "b"  # what was measured last counts
        assert found(order_by=[{"field_name": "metrics.acc", "ascending": True}]) == "abc"
        assert found(order_by=[{"field_name": "metrics.acc", "ascending": False}]) == "bac"
        code, text = refused(lambda: found(datasets=[{"dataset_name": "digits"}]))
        assert (code, "leave datasets and dataset_name out" in text) == ("NOT_IMPLEMENTED", True)
        first = client.search_logged_models([experiment], max_results=2)
        more = client.search_logged_models([experiment], max_results=2, page_token=first.token)
        assert ([each.name for each in first], [each.name for each in more], more.token) == (["c", "b"], ["a"], None)
        client.delete_logged_model(ids["a"])
        assert found() == "cb"
        assert found("name = 'a'") == ""

    await flow(steps)


async def test_what_is_wrong_with_a_model_is_told(uri: str) -> None:
    client = MlflowClient(uri)

    def steps() -> None:
        assert refused(lambda: client.get_logged_model("m-0"))[0] == "RESOURCE_DOES_NOT_EXIST"
        code, text = refused(lambda: client.create_logged_model("e0", name="net"))
        assert (code, "there is no experiment 'e0'" in text) == ("INVALID_PARAMETER_VALUE", True)
        experiment = client.create_experiment("wrong models")
        with pytest.raises(MlflowException, match="name: 'a/b'"):
            client.create_logged_model(experiment, name="a/b")
        model = client.create_logged_model(experiment, params={"a": "1"})
        store = client._tracking_client.store
        code, text = refused(lambda: store.log_logged_model_params(model.model_id, [LoggedModelParameter("a", "2")]))
        assert (code, "the logged model has it as '1' already" in text) == ("INVALID_PARAMETER_VALUE", True)
        client.delete_logged_model(model.model_id)
        code, text = refused(lambda: store.set_logged_model_tags(model.model_id, [LoggedModelTag("a", "1")]))
        assert (code, "is deleted; restore it first" in text) == ("INVALID_PARAMETER_VALUE", True)

    await flow(steps)


async def test_models_of_another_project_are_not_found(platform: Cluster, uri: str) -> None:
    theirs = MlflowClient(f"http://{platform.gateway}/mlflow/lab/other")

    def steps() -> None:
        model = theirs.create_logged_model(theirs.create_experiment(f"their models {uri[-3:]}"), name="theirs")
        assert refused(lambda: MlflowClient(uri).get_logged_model(model.model_id))[0] == "RESOURCE_DOES_NOT_EXIST"
        with pytest.raises(Exception, match="404"):
            mlflow.artifacts.get_artifact_repository(model.artifact_location, tracking_uri=uri).log_artifact(__file__)

    await flow(steps)
