"""The model registry by MLflow's unchanged client: models, versions, aliases, stages, and the files of versions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
from blake3 import blake3
from mlflow import MlflowClient

from events.objects.address import blob_name
from tests.clients.flows import flow, refused
from tests.integration.cluster import Cluster

pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated since 2.9.0:FutureWarning")

GUIDE = Path(__file__).parents[2] / "docs/how-to/migrate-from-mlflow.md"

IN_A_PROJECT = pytest.mark.parametrize("uri", ["/mlflow/lab/vision"], indirect=True)
"""What does not depend on the form of the URI."""

MLMODEL = 'flavors:\n  sklearn: {}\nsignature:\n  inputs: \'[{"type": "double", "name": "x"}]\'\n'


@pytest.fixture
def client(uri: str) -> MlflowClient:
    return MlflowClient(uri)


@pytest.fixture
def run(client: MlflowClient) -> Iterator[str]:
    """A run that has logged the files of a model."""
    experiment = client.get_experiment_by_name("registered") or client.get_experiment(
        client.create_experiment("registered")
    )
    id = client.create_run(experiment.experiment_id).info.run_id
    client.log_text(id, MLMODEL, "model/MLmodel")
    client.log_text(id, "weights", "model/data/weights.txt")
    yield id
    client.set_terminated(id)


def versions(found: Any) -> list[tuple[str, str]]:
    return [(each.name, each.version) for each in found]


async def test_a_model_from_its_creation_to_its_deletion(client: MlflowClient) -> None:
    def steps() -> None:
        made = client.create_registered_model("digits", {"task": "vision", "n": 1}, "reads digits")
        assert (made.name, made.tags, made.description) == ("digits", {"task": "vision", "n": "1"}, "reads digits")
        assert (made.latest_versions, made.aliases) == ([], {})
        assert 0 < made.creation_timestamp <= made.last_updated_timestamp
        client.update_registered_model("digits", "reads numerals")
        client.set_registered_model_tag("digits", "team", "a")
        client.delete_registered_model_tag("digits", "n")
        client.delete_registered_model_tag("digits", "never")
        found = client.get_registered_model("digits")
        assert (found.description, found.tags) == ("reads numerals", {"task": "vision", "team": "a"})
        client.rename_registered_model("digits", "ciphers")
        assert client.get_registered_model("ciphers").tags == found.tags
        assert refused(lambda: client.get_registered_model("digits"))[0] == "RESOURCE_DOES_NOT_EXIST"
        code, text = refused(lambda: client.create_registered_model("ciphers"))
        assert (code, "there is a model 'ciphers' already" in text) == ("RESOURCE_ALREADY_EXISTS", True)
        client.delete_registered_model("ciphers")
        assert refused(lambda: client.delete_registered_model("ciphers"))[0] == "RESOURCE_DOES_NOT_EXIST"
        code, text = refused(lambda: client.create_registered_model("a/b"))
        assert (code, "name: 'a/b' has '/'" in text) == ("INVALID_PARAMETER_VALUE", True)

    await flow(steps)


async def test_a_version_from_its_registration_to_its_deletion(client: MlflowClient, run: str, tmp_path: Path) -> None:
    def steps() -> None:
        made = mlflow.register_model(f"runs:/{run}/model", "letters", tags={"checked": "yes"})
        assert (made.name, made.version, made.status, made.run_id) == ("letters", "1", "READY", run)
        assert made.source == f"{client.get_run(run).info.artifact_uri}/model"
        assert (made.current_stage, made.aliases, made.tags) == ("None", [], {"checked": "yes"})
        assert client.update_model_version("letters", "1", "first").description == "first"
        client.set_model_version_tag("letters", "1", "by", "ada")
        client.delete_model_version_tag("letters", "1", "checked")
        client.set_registered_model_alias("letters", "champion", "1")
        found = client.get_model_version("letters", "1")
        assert (found.description, found.tags, found.aliases) == ("first", {"by": "ada"}, ["champion"])
        assert found.user_id == "owner"

        # what the version has stays, whatever becomes of the run and its files
        client.log_text(run, "others", "model/data/weights.txt")
        client.delete_run(run)
        there = Path(mlflow.artifacts.download_artifacts("models:/letters/1", dst_path=str(tmp_path)))
        files = {file.relative_to(there).as_posix(): file.read_text() for file in there.rglob("*") if file.is_file()}
        assert files.pop("registered_model_meta") == "model_name: letters\nmodel_version: '1'\n"
        assert files == {"MLmodel": MLMODEL, "data/weights.txt": "weights"}
        client.restore_run(run)
        second = client.create_model_version("letters", f"runs:/{run}/model/data/weights.txt", run)
        assert (second.version, second.status) == ("2", "READY")
        assert mlflow.artifacts.load_text("models:/letters/2/weights.txt") == "others"

        client.delete_model_version("letters", "1")
        assert client.get_registered_model("letters").aliases == {}
        code, text = refused(lambda: client.get_model_version("letters", "1"))
        assert (code, "version letters/1 is deleted" in text) == ("RESOURCE_DOES_NOT_EXIST", True)
        assert refused(lambda: client.set_model_version_tag("letters", "1", "a", "b"))[0] == "RESOURCE_DOES_NOT_EXIST"
        assert refused(lambda: client.get_model_version("letters", "7"))[0] == "RESOURCE_DOES_NOT_EXIST"
        client.delete_registered_model("letters")
        assert refused(lambda: client.get_model_version("letters", "2"))[0] == "RESOURCE_DOES_NOT_EXIST"
        # no number is given twice
        assert mlflow.register_model(f"runs:/{run}/model", "letters").version == "3"

    await flow(steps)


async def test_stages_and_the_newest_version_of_each(client: MlflowClient, run: str) -> None:
    def steps() -> None:
        for _ in range(3):
            mlflow.register_model(f"runs:/{run}/model", "staged")

        def newest(*stages: str) -> dict[str, str]:
            return {each.current_stage: each.version for each in client.get_latest_versions("staged", list(stages))}

        assert newest() == {"None": "3"}
        assert client.transition_model_version_stage("staged", "1", "production").current_stage == "Production"
        client.transition_model_version_stage("staged", "2", "Staging")
        assert newest() == {"None": "3", "Staging": "2", "Production": "1"}
        assert newest("Staging", "production") == {"Staging": "2", "Production": "1"}
        assert [each.version for each in client.get_registered_model("staged").latest_versions] == ["3", "2", "1"]
        moved = client.transition_model_version_stage("staged", "3", "Production", archive_existing_versions=True)
        assert moved.current_stage == "Production"
        assert newest() == {"Production": "3", "Staging": "2", "Archived": "1"}
        assert client.transition_model_version_stage("staged", "3", "None").current_stage == "None"
        code, text = refused(lambda: client.transition_model_version_stage("staged", "1", "live"))
        assert (code, "'live' is none of None, Staging, Production, Archived" in text) == (
            "INVALID_PARAMETER_VALUE",
            True,
        )
        code, text = refused(lambda: client.transition_model_version_stage("staged", "1", "Archived", True))
        assert (code, "archive_existing_versions: goes with Staging or Production" in text) == (
            "INVALID_PARAMETER_VALUE",
            True,
        )

    await flow(steps)


async def test_aliases(client: MlflowClient, run: str) -> None:
    def steps() -> None:
        for _ in range(2):
            mlflow.register_model(f"runs:/{run}/model", "aliased")
        client.set_registered_model_alias("aliased", "champion", "1")
        client.set_registered_model_alias("aliased", "challenger", "2")
        assert client.get_model_version_by_alias("aliased", "champion").version == "1"
        client.set_registered_model_alias("aliased", "champion", "2")
        # lists tell them too
        assert [each.aliases for each in client.search_model_versions("name = 'aliased'", order_by=["version"])] == [
            [],
            ["challenger", "champion"],
        ]
        (model,) = client.search_registered_models("name = 'aliased'")
        assert model.latest_versions[0].aliases == ["challenger", "champion"]
        assert client.get_registered_model("aliased").aliases == {"champion": "2", "challenger": "2"}
        assert sorted(client.get_model_version("aliased", "2").aliases) == ["challenger", "champion"]
        assert mlflow.artifacts.load_text("models:/aliased@champion/MLmodel") == MLMODEL
        client.delete_registered_model_alias("aliased", "challenger")
        client.delete_registered_model_alias("aliased", "challenger")  # it is gone already
        assert client.get_registered_model("aliased").aliases == {"champion": "2"}
        code, text = refused(lambda: client.get_model_version_by_alias("aliased", "challenger"))
        assert (code, "has no alias 'challenger'; it has champion" in text) == ("RESOURCE_DOES_NOT_EXIST", True)
        store = client._get_registry_client().store  # the client checks some of it itself
        for alias, told in (("a b", "alias: "), ("v1", "means a version by itself"), ("Latest", "means a version")):
            code, text = refused(lambda alias=alias: store.set_registered_model_alias("aliased", alias, "1"))  # type: ignore[misc]
            assert (code, told in text) == ("INVALID_PARAMETER_VALUE", True), text
        for number, code in (
            ("9", "RESOURCE_DOES_NOT_EXIST"),
            ("0", "INVALID_PARAMETER_VALUE"),
            ("x", "INVALID_PARAMETER_VALUE"),
        ):
            assert refused(lambda number=number: store.set_registered_model_alias("aliased", "a", number))[0] == code  # type: ignore[misc]

    await flow(steps)


async def test_models_and_versions_are_searched(client: MlflowClient, run: str) -> None:
    def steps() -> None:
        for name, team in (("sought c", "red"), ("sought a", "red"), ("sought b", "blue")):
            client.create_registered_model(name, {"team": team})
            mlflow.register_model(f"runs:/{run}/model", name, tags={"team": team})

        def models(filter: str, **more: Any) -> list[str]:
            return [each.name[-1] for each in client.search_registered_models(filter, **more)]

        assert models("name like 'sought%'") == ["a", "b", "c"]
        assert models("name ilike 'SOUGHT%' and tags.team = 'red'", order_by=["name DESC"]) == ["c", "a"]
        assert models("name = 'sought b' or tags.team = 'red'", order_by=["creation_timestamp"]) == ["c", "a", "b"]
        first = client.search_registered_models("name like 'sought%'", max_results=2)
        more = client.search_registered_models("name like 'sought%'", max_results=2, page_token=first.token)
        assert ([each.name[-1] for each in [*first, *more]], more.token) == (["a", "b", "c"], "")
        assert [each.latest_versions[0].version for each in first] == ["1", "1"]
        code, text = refused(lambda: models("nam = 'x'"))
        assert (code, "filter: at character 1: there is no attribute 'nam'; there are" in text) == (
            "INVALID_PARAMETER_VALUE",
            True,
        )

        def found(filter: str, **more: Any) -> list[tuple[str, str]]:
            return versions(client.search_model_versions(f"{filter} and name like 'sought%'", **more))

        mlflow.register_model(f"runs:/{run}/model", "sought a")
        assert found(f"run_id = '{run}'") == [
            ("sought a", "2"),
            ("sought b", "1"),
            ("sought a", "1"),
            ("sought c", "1"),
        ]
        assert found("version_number > 1") == [("sought a", "2")]
        assert found("tags.team = 'red'", order_by=["name"]) == [("sought a", "1"), ("sought c", "1")]
        source = client.get_model_version("sought b", "1").source
        assert found(f"source_path = '{source}'", order_by=["name", "version_number DESC"], max_results=2) == [
            ("sought a", "2"),
            ("sought a", "1"),
        ]
        assert versions(client.search_model_versions("name = 'sought c'")) == [("sought c", "1")]
        assert client.search_model_versions("name = 'never'") == []

    await flow(steps)


async def test_a_copy_has_the_files_and_the_origin_of_its_original(client: MlflowClient, run: str) -> None:
    def steps() -> None:
        mlflow.register_model(f"runs:/{run}/model", "original", tags={"a": "b"})
        client.update_model_version("original", "1", "told")
        client.set_registered_model_alias("original", "champion", "1")
        copy = client.copy_model_version("models:/original@champion", "copy")
        assert (copy.version, copy.status, copy.run_id, copy.source) == ("1", "READY", run, "models:/original/1")
        assert (copy.tags, copy.description) == ({"a": "b"}, "told")
        assert mlflow.artifacts.load_text("models:/copy/1/data/weights.txt") == "weights"
        again = client.create_model_version("copy", client.get_model_version_download_uri("copy", "1"))
        assert (again.version, again.run_id) == ("2", run)
        client.rename_registered_model("original", "renamed original")
        assert versions([client.get_model_version("renamed original", "1")]) == [("renamed original", "1")]
        assert mlflow.artifacts.load_text("models:/copy/2/MLmodel") == MLMODEL

    await flow(steps)


@IN_A_PROJECT
async def test_what_has_no_files_is_no_version(client: MlflowClient, run: str) -> None:
    def steps() -> None:
        client.create_registered_model("sourceless")
        for source, told in (
            ("s3://bucket/model", "source: 's3://bucket/model' is nothing that the platform keeps files of"),
            ("/home/ada/model", "is nothing that the platform keeps files of"),
            (f"runs:/{run}/nothing", "has no file 'nothing'; log it first"),
            ("runs:/r0/model", "there is no run 'r0'"),
            ("models:/never/1", "there is no model 'never'"),
            ("models:/never@best", "there is no model 'never'"),
            ("models:/never", "is nothing that the platform keeps files of"),
            ("mlflow-artifacts:/1/2/3", "'1/2/3' is nothing that has files"),
            ("mlflow-artifacts:/model-versions/mv0/artifacts", "there is no model version 'mv0'"),
        ):
            code, text = refused(lambda source=source: client.create_model_version("sourceless", source))  # type: ignore[misc]
            assert (code in ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST"), told in text) == (True, True), text
        code, text = refused(lambda: client.create_model_version("sourceless", f"runs:/{run}/model", "r0"))
        assert (code, "there is no run 'r0'" in text) == ("RESOURCE_DOES_NOT_EXIST", True)
        assert client.search_model_versions("name = 'sourceless'") == []

    await flow(steps)


@IN_A_PROJECT
async def test_a_flipped_byte_refuses_the_transition(client: MlflowClient, run: str, platform: Cluster) -> None:
    def steps() -> None:
        client.log_text(run, run, "model/own.txt")  # a file that no other test has
        mlflow.register_model(f"runs:/{run}/model", "flipped")
        assert client.transition_model_version_stage("flipped", "1", "Staging").current_stage == "Staging"
        blob = platform.folder / "objects" / blob_name(blake3(run.encode()).hexdigest())
        intact = blob.read_bytes()
        blob.chmod(0o600)
        blob.write_bytes(b"X" + intact[1:])
        code, text = refused(lambda: client.transition_model_version_stage("flipped", "1", "Production"))
        assert (code, "version flipped/1 is damaged: own.txt: " in text) == ("INVALID_PARAMETER_VALUE", True)
        code, text = refused(lambda: client.set_registered_model_alias("flipped", "champion", "1"))
        assert (code, "version flipped/1 is damaged" in text) == ("INVALID_PARAMETER_VALUE", True)
        damaged = client.get_model_version("flipped", "1")
        assert (damaged.status, damaged.status_message.startswith("own.txt: ")) == ("FAILED_REGISTRATION", True)
        assert damaged.current_stage == "Staging"
        blob.write_bytes(intact)
        assert client.transition_model_version_stage("flipped", "1", "Production").current_stage == "Production"

    await flow(steps)


@IN_A_PROJECT
async def test_a_pickle_is_warned_of(client: MlflowClient, run: str, platform: Cluster, tmp_path: Path) -> None:
    def steps() -> None:
        (tmp_path / "model.pkl").write_bytes(b"\x80\x04N.")
        client.log_artifact(run, str(tmp_path / "model.pkl"), "model")
        made = mlflow.register_model(f"runs:/{run}/model", "pickled")
        assert made.status == "READY"
        assert made.status_message == (
            "'model.pkl' is a pickle: to load it runs what its author wrote; load it only if you trust them"
        )

    await flow(steps)
    async with platform.http() as http:
        found = (await http.get("/v1/model-versions", params={"filter": "name = 'pickled'"})).json()["versions"][0]
    assert (found["model_format"], found["framework"]) == ("pickle", "custom")
    assert [(each["name"], each["type"]) for each in found["signature"]["inputs"]] == [("x", "double")]


@IN_A_PROJECT
async def test_files_of_a_version_never_change(client: MlflowClient, run: str, platform: Cluster) -> None:
    def registered() -> Any:
        return mlflow.register_model(f"runs:/{run}/model", "fixed")

    await flow(registered)
    uri = await flow(lambda: client.get_model_version_download_uri("fixed", "1"))
    prefix = client.tracking_uri.removeprefix(f"http://{platform.gateway}")
    path = f"{prefix}/api/2.0/mlflow-artifacts/artifacts/{uri.removeprefix('mlflow-artifacts:/')}"
    async with platform.http() as http:
        for answer in (await http.put(f"{path}/a.txt", content=b"a"), await http.delete(f"{path}/MLmodel")):
            assert (answer.status_code, answer.json()["message"]) == (
                400,
                "the files of version fixed/1 never change; publish another version",
            )
        for part, status, told in (
            ("data", 400, "'data' is a folder"),
            ("never", 404, "has no file 'never'"),
            ("%2e%2e/x", 404, "has no file '../x'"),
        ):
            answer = await http.get(f"{path}/{part}")
            assert (answer.status_code, told in answer.json()["message"]) == (status, True)
        other = "/mlflow/lab/other" + path.removeprefix(prefix)
        assert (await http.get(f"{other}/MLmodel")).status_code == 404
        part = await http.get(f"{path}/data/weights.txt", headers={"range": "bytes=0-1"})
        assert (part.status_code, part.text) == (206, "we")


@IN_A_PROJECT
async def test_prompts_are_not_there(client: MlflowClient) -> None:
    def steps() -> None:
        code, text = refused(lambda: client.create_prompt("greeting"))
        assert (code, "does not have the prompts of MLflow's registry" in text) == ("NOT_IMPLEMENTED", True)

    await flow(steps)


@pytest.mark.usefixtures("uri")
async def test_the_guides_program(capsys: pytest.CaptureFixture[str]) -> None:
    code = re.search(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    assert code is not None
    await flow(lambda: exec(code[1], {}))
    out = capsys.readouterr().out
    assert "READY 0.1 0.7\n" in out
    assert "['1']" in out
