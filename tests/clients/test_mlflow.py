"""MLflow's own client, unchanged, against the platform: only its tracking URI names another server.

Each flow is tried in the default project and in another one, which the URI names.
"""

from __future__ import annotations

import math
import os
import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag, ViewType

from tests.clients.flows import flow, names, refused
from tests.integration.cluster import Cluster

HOW_TO = Path(__file__).parents[2] / "docs/how-to/mlflow.md"


async def test_an_experiment_from_its_creation_to_its_return(uri: str) -> None:
    client = MlflowClient(uri)

    def steps() -> None:
        id = client.create_experiment("ciphers", tags={"team": "vision", "kept": "yes"})
        client.set_experiment_tag(id, "stage", "draft")
        client.delete_experiment_tag(id, "kept")
        client.rename_experiment(id, "figures")
        found = client.get_experiment(id)
        assert (found.name, found.tags, found.lifecycle_stage) == (
            "figures",
            {"team": "vision", "stage": "draft"},
            "active",
        )
        assert found.artifact_location == f"mlflow-artifacts:/{id}"
        assert 0 < found.creation_time <= found.last_update_time
        assert client.get_experiment_by_name("figures").experiment_id == id
        assert client.get_experiment_by_name("ciphers") is None
        client.delete_experiment(id)
        assert client.get_experiment(id).lifecycle_stage == "deleted"
        deleted = client.search_experiments(ViewType.DELETED_ONLY)  # other tests have some too
        assert [each.name for each in deleted if each.experiment_id == id] == ["figures"]
        code, text = refused(lambda: client.create_experiment("figures"))
        assert code == "RESOURCE_ALREADY_EXISTS"
        assert f"restore or purge the deleted experiment {id}, or take another name" in text
        client.restore_experiment(id)
        assert client.get_experiment(id).lifecycle_stage == "active"

    await flow(steps)


async def test_experiments_are_searched(uri: str) -> None:
    client = MlflowClient(uri)

    def steps() -> None:
        for name, team in (("sought a", "red"), ("sought b", "blue"), ("sought c", "red")):
            client.create_experiment(name, tags={"team": team})

        def found(filter: str, **more: Any) -> list[str]:
            return [each.name for each in client.search_experiments(filter_string=filter, **more)]

        assert found("name LIKE 'sought%'") == ["sought c", "sought b", "sought a"]
        assert found("name ILIKE 'SOUGHT%' AND tags.team = 'red'", order_by=["name ASC"]) == ["sought a", "sought c"]
        assert found("tags.team = 'blue' or name = 'sought a'", order_by=["name"]) == ["sought a", "sought b"]
        first = client.search_experiments(filter_string="name like 'sought%'", order_by=["name"], max_results=2)
        more = client.search_experiments(
            filter_string="name like 'sought%'", order_by=["name"], max_results=2, page_token=first.token
        )
        assert ([each.name for each in first], [each.name for each in more], more.token) == (
            ["sought a", "sought b"],
            ["sought c"],
            None,
        )

    await flow(steps)


@pytest.mark.usefixtures("uri")
async def test_a_program_that_names_no_experiment_works_in_the_default_one() -> None:
    def steps() -> None:
        with mlflow.start_run() as run:
            mlflow.log_param("lr", 0.1)
        default = mlflow.get_experiment_by_name("Default")
        assert default.experiment_id == run.info.experiment_id == mlflow.get_experiment("0").experiment_id
        assert run.info.run_id in {each.info.run_id for each in MlflowClient().search_runs(["0"])}

    await flow(steps)


@pytest.mark.usefixtures("uri")
async def test_a_run_with_what_is_logged_to_it() -> None:
    def steps() -> None:
        mlflow.set_experiment("runs")
        with mlflow.start_run(run_name="first", tags={"host": "a"}, description="the first of all") as run:
            mlflow.log_param("lr", 0.1)
            mlflow.log_params({"depth": 3, "path a/b": "x" * 6_000, "größe": ""})
            mlflow.set_tag("note", "try")
            mlflow.set_tags({"a": 1, "b": "two"})
            mlflow.delete_tag("a")
            MlflowClient().log_batch(run.info.run_id, params=[Param("batch", "1")], tags=[RunTag("host", "b")])
            running = mlflow.get_run(run.info.run_id)
            assert (running.info.status, running.info.end_time) == ("RUNNING", None)
        found = mlflow.get_run(run.info.run_id)
        assert found.info.status == "FINISHED"
        assert found.info.end_time >= found.info.start_time == run.info.start_time
        assert found.data.params == {"lr": "0.1", "depth": "3", "path a/b": "x" * 6_000, "größe": "", "batch": "1"}
        assert {key: found.data.tags.get(key) for key in ("note", "a", "b", "host", "mlflow.note.content")} == {
            "note": "try",
            "a": None,
            "b": "two",
            "host": "b",
            "mlflow.note.content": "the first of all",
        }
        assert (found.info.run_name, found.info.user_id) == ("first", found.data.tags["mlflow.user"])
        of, uri = [found.info.experiment_id], found.info.artifact_uri
        assert uri.startswith(f"mlflow-artifacts:/{found.info.experiment_id}/")
        assert names(MlflowClient().search_runs(of, f"artifact_uri = '{uri}' and run_id = '{run.info.run_id}'")) == [
            "first"
        ]

    await flow(steps)


async def test_metrics(uri: str) -> None:
    client = MlflowClient(uri)

    def steps() -> None:
        experiment = mlflow.set_experiment("metrics")
        with mlflow.start_run(run_name="measured") as run:
            id = run.info.run_id
            for step in range(3):
                mlflow.log_metric("loss", 1 / (step + 1), step=step)
            mlflow.log_metrics({"val/acc@5 größe": 0.5, "nan": math.nan, "top": math.inf}, step=7)
            client.log_batch(id, [Metric("batch", number / 2, 1_700_000_000_000, number) for number in range(1_000)])
            # values of one millisecond and step stay apart, and come once if they are sent twice
            for value in (1.0, 2.0, 2.0):
                client.log_metric(id, "same", value, timestamp=1_700_000_000_000, step=0)
            client.log_metric(id, "acc", 0.75, step=1, dataset_name="digits", dataset_digest="d1", model_id="m-1")
            client.log_metric(id, "acc", 0.5, step=0)
        data = client.get_run(id).data
        assert math.isnan(data.metrics.pop("nan"))
        assert data.metrics == {
            "loss": 1 / 3,
            "val/acc@5 größe": 0.5,
            "top": math.inf,
            "batch": 499.5,
            "same": 2.0,
            "acc": 0.75,
        }
        assert [(each.step, each.value) for each in client.get_metric_history(id, "loss")] == [
            (0, 1.0),
            (1, 1 / 2),
            (2, 1 / 3),
        ]
        assert [each.value for each in client.get_metric_history(id, "same")] == [1.0, 2.0]
        assert [each.value for each in client.get_metric_history(id, "top")] == [math.inf]
        history = client.get_metric_history(id, "batch")
        assert len(history) == 1_000
        assert (history[-1].step, history[-1].timestamp, history[-1].value) == (999, 1_700_000_000_000, 499.5)
        assert {
            (each.value, each.model_id, each.dataset_name, each.dataset_digest)
            for each in client.get_metric_history(id, "acc")
        } == {(0.5, None, None, None), (0.75, "m-1", "digits", "d1")}
        assert client.get_metric_history(id, "none") == []
        store, pages, token = client._tracking_client.store, [], None
        while not pages or token:
            page = store.get_metric_history(id, "acc", max_results=1, page_token=token)
            token = page.token
            pages.append(len(page))
        assert pages == [1, 1]
        found = client.search_runs([experiment.experiment_id])
        assert found[0].data.metrics["loss"] == 1 / 3

    await flow(steps)


async def test_histories_of_several_runs(platform: Cluster, uri: str) -> None:
    client = MlflowClient(uri)

    def steps() -> list[str]:
        of = client.create_experiment("histories")
        runs = [client.create_run(of).info.run_id for _ in range(2)]
        for number, run in enumerate(runs):
            points = [
                Metric("loss", float(number * 1_000 + step), 1_700_000_000_000 + step, step) for step in range(900)
            ]
            client.log_batch(run, points)
        return runs

    runs, prefix = await flow(steps), uri.removeprefix(f"http://{platform.gateway}")
    async with platform.http() as http:
        asked = {"run_id": runs, "metric_key": "loss", "max_results": 1_000}
        found = (await http.get(f"{prefix}/ajax-api/2.0/mlflow/metrics/get-history-bulk", params=asked)).json()[
            "metrics"
        ]
        assert len(found) == 1_000
        assert {each["run_id"] for each in found} == set(runs)
        interval = {"run_ids": runs, "metric_key": "loss", "start_step": 100, "end_step": 199, "max_results": 40}
        path = f"{prefix}/api/2.0/mlflow/metrics/get-history-bulk-interval"
        found = (await http.get(path, params=interval)).json()["metrics"]
        for number, run in enumerate(runs):
            of = [each for each in found if each["run_id"] == run]
            assert 2 <= len(of) <= 40
            assert {min(each["step"] for each in of), max(each["step"] for each in of)} == {100, 199}
            assert of[0]["value"] == number * 1_000 + 100
            assert of[0]["timestamp"] == 1_700_000_000_100
        theirs = await http.get("/mlflow/lab/other/api/2.0/mlflow/metrics/get-history-bulk", params=asked)
        assert (theirs.status_code, theirs.json()["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST")


async def test_a_run_fails_goes_on_and_is_renamed(uri: str) -> None:
    client = MlflowClient(uri)

    def failing() -> str:
        with mlflow.start_run(run_name="fails") as run:
            raise RuntimeError(run.info.run_id)

    def steps() -> None:
        mlflow.set_experiment("lives")
        with pytest.raises(RuntimeError) as caught:
            failing()
        id = str(caught.value)
        assert client.get_run(id).info.status == "FAILED"
        with mlflow.start_run(run_id=id):
            assert client.get_run(id).info.status == "RUNNING"
        assert client.get_run(id).info.status == "FINISHED"
        client.set_terminated(id, "KILLED", end_time=4_102_444_800_000)
        assert (client.get_run(id).info.status, client.get_run(id).info.end_time) == ("KILLED", 4_102_444_800_000)
        client.update_run(id, name="renamed")
        assert client.get_run(id).info.run_name == "renamed"
        assert client.get_run(id).data.tags["mlflow.runName"] == "renamed"
        client.set_tag(id, "mlflow.runName", "by its tag")
        assert client.get_run(id).info.run_name == "by its tag"
        client.delete_run(id)
        assert client.get_run(id).info.lifecycle_stage == "deleted"
        code, text = refused(lambda: client.set_tag(id, "a", "1"))
        assert (code, "is deleted; restore it first" in text) == ("INVALID_PARAMETER_VALUE", True)
        client.restore_run(id)
        client.log_param(id, "a", 1)
        assert client.get_run(id).data.params == {"a": "1"}

    await flow(steps)


@pytest.mark.usefixtures("uri")
async def test_nested_runs() -> None:
    def steps() -> None:
        experiment = mlflow.set_experiment("nested")
        with mlflow.start_run(run_name="parent") as parent:
            for name in ("one", "two"):
                with mlflow.start_run(run_name=name, nested=True):
                    mlflow.log_param("inner", name)
        of = [experiment.experiment_id]
        children = MlflowClient().search_runs(of, f"tags.mlflow.parentRunId = '{parent.info.run_id}'")
        assert names(children) == ["two", "one"]
        assert MlflowClient().get_parent_run(children[0].info.run_id).info.run_id == parent.info.run_id
        assert names(MlflowClient().search_runs(of, f"parent_run_id = '{parent.info.run_id}'")) == ["two", "one"]

    await flow(steps)


async def test_runs_are_searched(uri: str) -> None:
    client = MlflowClient(uri)

    def steps() -> None:
        id = client.create_experiment("searched by mlflow")
        for name, depth, status in (("a", "3", "FINISHED"), ("b", "5", "FAILED"), ("c", "", "FINISHED")):
            run = client.create_run(id, run_name=name, tags={"git branch": f"branch-{name}"})
            if depth:
                client.log_param(run.info.run_id, "depth", depth)
            client.set_terminated(run.info.run_id, status)

        def found(filter: str = "", *order_by: str) -> str:
            return "".join(names(client.search_runs([id], filter, order_by=list(order_by))))

        assert found() == "cba"
        assert found("params.depth = '3' and attributes.status = 'FINISHED'") == "a"
        assert found("params.depth = '3' OR (status = 'FAILED' AND tags.`git branch` LIKE 'branch%')") == "ba"
        assert found("params.depth IS NULL") == "c"
        assert found("run_name IN ('a', 'c')", "run_name ASC") == "ac"
        assert found("start_time > 0", "params.depth DESC") == "bac"
        assert found("start_time < 1000") == ""
        code, text = refused(lambda: found("params.depth = 3"))
        assert code == "INVALID_PARAMETER_VALUE"
        assert "filter: at character 14: params.depth: it is a text, and 3 a number; put it in quotes: '3'" in text
        pages, token = [], None
        while not pages or token:
            page = client.search_runs([id], order_by=["run_name"], max_results=2, page_token=token)
            token = page.token
            pages.append("".join(names(page)))
        assert pages == ["ab", "c"]
        client.delete_run(client.search_runs([id], "run_name = 'a'")[0].info.run_id)
        assert found() == "cb"
        assert names(client.search_runs([id], run_view_type=ViewType.DELETED_ONLY)) == ["a"]
        assert client.search_runs([]) == []

    await flow(steps)


async def test_runs_are_searched_by_their_metrics(platform: Cluster, uri: str) -> None:
    client = MlflowClient(uri)
    losses = {"a": [0.9, 0.25], "b": [0.25], "c": [math.nan], "d": [math.inf], "e": [-0.5, -math.inf], "f": []}

    def steps() -> str:
        id = client.create_experiment("searched by metrics")
        for name, values in losses.items():
            run = client.create_run(id, run_name=name).info.run_id
            for step, value in enumerate(values):
                client.log_metric(run, "val loss", value, step=step)
            if name == "b":  # the last of all its series counts
                client.log_metric(run, "val loss", 7.0, step=-1, model_id="m-1")
                client.log_metric(run, "acc/top@5", 1.0)

        def found(filter: str = "", *order_by: str) -> str:
            return "".join(names(client.search_runs([id], filter, order_by=list(order_by))))

        assert found("metrics.`val loss` < 0.3") == "eba"
        assert found("metrics.`val loss` = 0.25") == "ba"
        assert found("metrics.`val loss` >= 0.25") == "dba"
        assert found("metrics.`val loss` != 0.25") == "edc"
        assert found('metric."acc/top@5" > 0.5 or metrics.`val loss` <= -1') == "eb"
        # NaN comes behind all numbers and before those that have none, both ways; of equals the newest is first
        assert found("", "metrics.`val loss` ASC") == "ebadcf"
        assert found("", "metrics.`val loss` DESC") == "dbaecf"
        assert found("", "metrics.`acc/top@5` DESC", "run_name ASC") == "bacdef"
        pages, token = [], None
        while not pages or token:
            page = client.search_runs([id], order_by=["metrics.`val loss` DESC"], max_results=2, page_token=token)
            token = page.token
            pages.append("".join(names(page)))
        assert pages == ["db", "ae", "cf"]
        code, text = refused(lambda: found("metrics.`val loss` < '0.3'"))
        assert (code, "it is a number, and '0.3' a text" in text) == ("INVALID_PARAMETER_VALUE", True)
        client.log_metric(client.search_runs([id], "run_name = 'f'")[0].info.run_id, "val loss", 0.1)
        assert found("metrics.`val loss` = 0.1") == "f"
        return id

    id = await flow(steps)
    async with platform.http() as http:
        first = next(
            each for each in await searched(http, id, "metrics.`val loss` = 0.1") if each["run"]["name"] == "f"
        )
        before = first["metrics"][0]["arrived_at"].replace("Z", "+00:00")
        moment = (datetime.fromisoformat(before) - timedelta(milliseconds=1)).isoformat()
        assert await searched(http, id, "metrics.`val loss` = 0.1", moment) == []
        then = await searched(http, id, "metrics.`val loss` < 0.3", moment)
        assert "".join(each["run"]["name"] for each in then) == "eba"


async def searched(http: httpx.AsyncClient, experiment: str, filter: str, as_of: str = "") -> list[Any]:
    """The platform's own answer."""
    at = {"options.as_of": as_of} if as_of else {}
    answer = await http.get("/v1/search/runs", params={"experiment_ids": experiment, "filter": filter, **at})
    assert answer.status_code == 200, answer.text
    return list(answer.json()["runs"])


async def test_what_is_refused_is_told_with_mlflows_codes(uri: str) -> None:
    client = MlflowClient(uri)

    def steps() -> None:
        assert refused(lambda: client.get_run("r0"))[0] == "RESOURCE_DOES_NOT_EXIST"
        assert refused(lambda: client.get_experiment("e0"))[0] == "RESOURCE_DOES_NOT_EXIST"
        run = client.create_run(client.create_experiment("refusals")).info.run_id
        client.log_param(run, "lr", "0.1")
        code, text = refused(lambda: client._tracking_client.store.log_param(run, Param("lr", "0.2")))
        assert code == "INVALID_PARAMETER_VALUE"
        assert "params.lr: is '0.2', but the run has it as '0.1' already" in text
        assert refused(lambda: client.create_experiment("kept elsewhere", artifact_location="s3://bucket"))[1] == (
            "INVALID_PARAMETER_VALUE: artifact_location: is not taken; leave it out: the platform keeps artifacts in "
            "its own store"
        )
        code, text = refused(lambda: client.log_metric(run, "loss", 1.0, timestamp=1 << 62))
        assert (code, "is no time" in text) == ("INVALID_PARAMETER_VALUE", True)
        os.environ["MLFLOW_TRACKING_TOKEN"] = "wrong"
        code, text = refused(lambda: client.get_run(run))
        assert (code, "not this platform's" in text) == ("UNAUTHENTICATED", True)

    await flow(steps)


async def test_a_run_of_another_project_is_not_found(platform: Cluster, uri: str) -> None:
    other = f"http://{platform.gateway}/mlflow/lab/other"

    def steps() -> None:
        experiment = MlflowClient(other).create_experiment(f"theirs {uri[-3:]}")
        run = MlflowClient(other).create_run(experiment).info.run_id
        assert refused(lambda: MlflowClient(uri).get_run(run))[0] == "RESOURCE_DOES_NOT_EXIST"
        assert refused(lambda: MlflowClient(uri).get_experiment(experiment))[0] == "RESOURCE_DOES_NOT_EXIST"
        assert list(MlflowClient(uri).search_runs([experiment])) == []
        return run, MlflowClient(other).create_logged_model(experiment, name="theirs").model_id

    run, model = (".".join(id.rsplit("-", 1)) for id in await flow(steps))  # as the platform itself calls them
    prefix = f"{uri.removeprefix(f'http://{platform.gateway}')}/api/2.0/mlflow"
    async with platform.http() as http:
        for path, fields in (
            ("runs/log-metric", {"run_id": run, "key": "loss", "value": 1, "timestamp": 1}),
            ("runs/log-batch", {"run_id": run, "params": [{"key": "lr", "value": "1"}]}),
            ("runs/update", {"run_id": run, "status": "FINISHED"}),
            ("runs/delete", {"run_id": run}),
            (f"logged-models/{model}/params", {"params": [{"key": "lr", "value": "1"}]}),
        ):
            answer = await http.post(f"{prefix}/{path}", json=fields)
            assert (answer.status_code, answer.json().get("error_code")) == (404, "RESOURCE_DOES_NOT_EXIST"), path
    kept = MlflowClient(other)
    found = await flow(lambda: kept.get_run(run.replace(".", "-")))
    assert (found.info.status, found.info.lifecycle_stage, found.data.params) == ("RUNNING", "active", {})


async def test_the_documents_program(uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    code = re.search(r"```python\n(.*?)```", HOW_TO.read_text(), re.DOTALL)
    assert code is not None
    await flow(lambda: exec(code[1], {}))
    assert "first {'depth': '3', 'lr': '0.1'" in capsys.readouterr().out, uri


async def test_pages_for_every_client(platform: Cluster) -> None:
    async with platform.http() as http:
        for prefix in ("", "/mlflow/lab/vision"):
            assert (await http.get(f"{prefix}/version")).text == "3.17.2"
            assert (await http.get(f"{prefix}/health")).text == "OK"
            info = (await http.get(f"{prefix}/api/3.0/mlflow/server-info")).json()
            assert (info["workspaces_enabled"], info["multipart_uploads_enabled"]) == (False, False)
            for path in (
                "/api/2.0/mlflow/traces",
                "/api/3.0/mlflow/experiments/create",
                "/api/4.0/mlflow/traces/x",
            ):
                answer = await http.get(f"{prefix}{path}")
                assert (answer.status_code, answer.json()["error_code"]) == (501, "NOT_IMPLEMENTED")
                assert f"does not have GET {prefix}{path} of" in answer.json()["message"]
            found = await http.get(f"{prefix}/api/3.0/mlflow/experiments/get-by-name", params={"experiment_name": "?"})
            assert (found.status_code, found.json()["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST")
        nowhere = await http.get("/mlflow/Not/one/api/2.0/mlflow/experiments/get", params={"experiment_id": "0"})
        assert (nowhere.status_code, "'Not/one' is no project" in nowhere.json()["message"]) == (400, True)
