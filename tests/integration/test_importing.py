"""`forgelog import` on a real platform: all of a store once, whatever else happens, and named what could not be."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sqlite3
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import mlflow
import orjson
import pytest
import pytest_asyncio
from mlflow import MlflowClient
from mlflow.entities import Metric

from forgelog import AsyncClient
from forgelog.errors import NotFound
from forgelog.importing.mlflow_database import MlflowDatabase, Postgres, Sqlite
from forgelog.importing.mlflow_files import MlflowFiles
from forgelog.importing.source import Series, Source, SourceRun, Trouble
from forgelog.importing.tensorboard import TensorBoard
from forgelog.importing.work import Plan, Report, opened
from tests import PATIENCE
from tests.importing import CHILD, FIRST, FOLDER, artifacts, database
from tests.integration.cluster import Cluster

BEGAN = 1_778_296_320_000


@pytest_asyncio.fixture
async def client(platform: Cluster) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(platform.gateway, token=platform.key, project="lab/imports") as client:
        yield client


async def command(platform: Cluster, *words: str) -> tuple[int, Any]:
    """`forgelog import`: its exit code, and what it says as JSON."""
    env = {**os.environ, **platform.place, "FORGELOG_PROJECT": "lab/imports"}
    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).parent / "forgelog",
        "import",
        *words,
        "--output",
        "json",
        env=env,
        stdout=PIPE,
        stderr=PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), PATIENCE)
    return process.returncode or 0, orjson.loads(out) if out else err.decode()


async def imported(client: AsyncClient, open_source: Callable[[], Source], *experiments: str) -> tuple[Plan, Report]:
    async with opened(client, open_source) as work:
        plan = await work.plan(experiments)
        return plan, await work.carry_out(plan, lambda _done, _total: None)


def written_by_mlflow(root: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """A store that MLflow's own client made; its runs."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = root.as_uri()
    mlflow.set_tracking_uri(uri)  # models:/ is resolved there
    made = MlflowClient(uri, uri)
    experiment = made.create_experiment("sums", tags={"mlflow.note.content": "which sum"})
    first = made.create_run(experiment, run_name="first", start_time=BEGAN).info.run_id
    made.log_param(first, "a/b é", "x" * 6_000)
    values = [float("nan"), float("inf"), *(1 / (step + 1) for step in range(2, 1_000))]
    points = [Metric("loss", value, BEGAN + step, step) for step, value in enumerate(values)]
    made.log_batch(first, metrics=points)
    made.log_text(first, "weights", "model/net.txt")
    made.set_terminated(first, "FAILED", end_time=BEGAN + 60_000)
    child = made.create_run(experiment, tags={"mlflow.parentRunId": first}, start_time=BEGAN).info.run_id
    made.create_registered_model("sums", description="adds")
    version = made.create_model_version("sums", f"{made.get_run(first).info.artifact_uri}/model", first)
    made.set_registered_model_alias("sums", "best", version.version)
    return first, child


async def test_a_store_of_mlflows_client_is_imported_once(
    platform: Cluster, client: AsyncClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, child = await asyncio.to_thread(written_by_mlflow, tmp_path / "mlruns", monkeypatch)
    store = tmp_path / "mlruns"
    code, said = await command(platform, "mlflow", str(store))
    done = {"imported": 2, "unchanged": 0, "points": 1_000, "files": 1, "versions": 1, "notes": [], "troubles": []}
    assert (code, said["done"], said["plan"]["models"]) == (0, done, [{"name": "sums", "versions": 1}])
    found = await client.runs.search(experiments=await ids(client, "sums"))
    rows = {row["tags"]["forgelog.imported_id"]: row for row in found}
    run = rows[first]
    assert (run.name, run.status, run.params) == ("first", "failed", {"a/b é": "x" * 6_000})
    assert (run.started_at, run.ended_at) == (moment(BEGAN), moment(BEGAN + 60_000))
    assert (rows[child].parent_run_id, rows[child].status) == (run.run_id, "running")
    assert rows[child]["tags"]["mlflow.parentRunId"] == run.run_id.replace(".", "-")
    points = await client.runs.points(run.run_id, "loss")
    assert (str(points[0].value), points[1].value, points[999].value) == ("nan", float("inf"), 1 / 1_000)
    assert [(point.step, point.time) for point in points[999:]] == [(999, moment(BEGAN + 999))]
    (fetched,) = await client.runs.download_artifacts(run.run_id, into=tmp_path / "back")
    assert (fetched.path, (tmp_path / "back/model/net.txt").read_text()) == ("model/net.txt", "weights")
    version = await client.models.version("sums@best")
    assert (version.status, version.source_run_id, version.artifact_path) == ("verified", run.run_id, "model")

    before = await events(client, run.run_id)
    plan, report = await imported(client, lambda: MlflowFiles(store))
    assert (plan.complete, report.unchanged, report.imported, report.versions, report.points) == (2, 2, 0, 0, 0)
    assert await events(client, run.run_id) == before

    # A user moved on here, and the run went on there.
    await client.models.remove_alias("sums", "best")
    await asyncio.to_thread(MlflowClient(store.as_uri()).log_metric, child, "late", 1.0)
    _, report = await imported(client, lambda: MlflowFiles(store))
    assert (report.imported, report.unchanged, report.troubles) == (1, 1, [])
    assert (await client.models.get("sums")).aliases == {}
    assert [row.key for row in await client.runs.metrics([rows[child].run_id])] == ["late"]


async def ids(client: AsyncClient, name: str) -> list[str]:
    return [(await client.experiments.get(name=name)).experiment_id]


async def events(client: AsyncClient, run: str) -> list[str]:
    return [event.type for event in await client.log.history("experiments", run)]


def moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


async def test_what_can_t_be_imported_is_named_and_comes_once_it_can(
    platform: Cluster, client: AsyncClient, tmp_path: Path
) -> None:
    path, files = database(tmp_path / "mlflow.db"), artifacts(tmp_path / "moved")
    with sqlite3.connect(path) as connection:
        connection.execute("update experiments set name = 'figures' where experiment_id = 1")
        connection.execute("update params set value = value || 'x' where key like 'a/b%'")
        connection.execute("update metrics set timestamp = 1 << 60 where key = 'odd' and step = 2")
    code, said = await command(platform, "mlflow", str(path), "--artifacts", str(files))
    assert (code, said["done"]["imported"], said["done"]["versions"]) == (1, 2, 2)
    told = {each["where"]: each["problem"] for each in said["done"]["troubles"]}
    assert told == {
        f"run {FIRST}, parameter 'a/b é'": "has 6001 characters; 6000 at most",
        f"run {FIRST}, metric 'odd'": f"the time {1 << 60} is not of the years 1 to 9999, in milliseconds since 1970",
    }
    (run,) = await client.runs.search("name = 'first'", experiments=await ids(client, "figures"))
    assert [(each.name, each.role) for each in await client.runs.inputs(run.run_id)] == [("digits", "training")]
    assert (run.params, run.metrics) == ({"lr": "0.1"}, {"loss": 1 / 3, "odd": float("inf")})
    with sqlite3.connect(path) as connection:
        connection.execute("update params set value = 'short' where key like 'a/b%'")
        connection.execute("update metrics set timestamp = 5 where key = 'odd' and step = 2")
    _, report = await imported(client, lambda: MlflowDatabase(Sqlite(path), [files]))
    assert (report.imported, report.unchanged, report.troubles) == (1, 1, [])
    assert (await client.runs.get(run.run_id))["params"] == {"lr": "0.1", "a/b é": "short"}
    assert [point.value for point in await client.runs.points(run.run_id, "odd")][1:] == [float("inf"), -float("inf")]
    model = await client.models.get("digits")
    assert model.aliases == {"champion": 1, "next": 2}, "version 2 was deleted there"
    assert (await client.models.version("digits/1")).stage == "production"
    assert (await client.models.version("digits/2"))["tags"]["forgelog.imported_id"] == "3"


class Ended(BaseException):
    """The process is killed."""


class Torn(MlflowDatabase):
    """Its reader is killed in the middle of a run."""

    def points(self, run: SourceRun, troubles: list[Trouble]) -> Iterator[Series]:
        for number, series in enumerate(super().points(run, troubles)):
            if run.key == CHILD or number:
                raise Ended
            yield series


async def test_an_import_goes_on_where_it_was_ended(client: AsyncClient, tmp_path: Path) -> None:
    path = database(tmp_path / "mlflow.db")
    with sqlite3.connect(path) as connection:
        connection.execute("update experiments set name = 'torn' where experiment_id = 1")
        connection.execute("update runs set run_uuid = 'torn' || run_uuid")
        for table in ("params", "tags", "metrics"):  # inputs stay with the other runs
            connection.execute(f"update {table} set run_uuid = 'torn' || run_uuid")
    results = []
    for kind in (Torn, MlflowDatabase, MlflowDatabase):
        if kind is Torn:
            with pytest.raises(BaseExceptionGroup) as ended:
                await imported(client, lambda: Torn(Sqlite(path)), "torn")
            assert ended.group_contains(Ended)
        else:
            plan, report = await imported(client, lambda: MlflowDatabase(Sqlite(path)), "torn")
            results.append((plan.begun, plan.complete, report.imported, report.unchanged, report.troubles))
    # Which of the two were begun when the end came is left to chance.
    (begun, complete, new, unchanged, troubles), again = results
    assert (begun + complete, new + unchanged, begun, troubles) == (2, 2, new, [])
    assert begun > 0
    assert again == (0, 2, 0, 2, [])
    (run,) = await client.runs.search("name = 'first'", experiments=await ids(client, "torn"))
    assert {row.key: row.count for row in await client.runs.metrics([run.run_id])} == {"loss": 3, "odd": 3}


async def test_runs_of_tensorboard_are_imported_once(client: AsyncClient, tmp_path: Path) -> None:
    logs = Path(shutil.copytree(FOLDER / "tensorboard", tmp_path / "logs"))
    _, report = await imported(client, lambda: TensorBoard(logs))
    assert (report.imported, report.points, report.troubles) == (2, 11, [])
    keras, torch = sorted(await client.runs.search(experiments=await ids(client, "logs")), key=lambda run: run.name)
    assert (keras.name, keras.status, keras.params["lr"], keras.ended_at) == (
        *("keras/train", "failed", "0.1"),
        moment(BEGAN + 60_000),
    )
    loss = await client.runs.points(keras.run_id, "epoch_loss")
    assert [(point.step, point.time, str(point.value)) for point in loss] == [
        (step, moment(BEGAN + 2_500 + 250 * step), value) for step, value in enumerate(("1.0", "0.5", "nan", "inf"))
    ]
    assert (torch.status, torch.metrics["Acc/val"]) == ("finished", -1.5)
    _, report = await imported(client, lambda: TensorBoard(logs.rename(tmp_path / "moved"), "logs"))
    assert (report.imported, report.unchanged) == (0, 2)


async def test_the_program_of_the_page_brings_what_wandb_gave(
    platform: Cluster, client: AsyncClient, tmp_path: Path
) -> None:
    page = (Path(__file__).parents[2] / "docs/how-to/migrate.md").read_text()
    export, program = re.findall(r"^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    compile(export, "migrate.md", "exec")
    rows = [
        {"_step": step, "_timestamp": BEGAN / 1000 + step, "loss": 1 / (step + 1), "note": "x"} for step in range(3)
    ]
    head = {"id": "ab12", "name": "brave-sun-1", "project": "of wandb", "config": {"lr": 0.1}, "state": "crashed"}
    (tmp_path / "ab12.jsonl").write_bytes(b"\n".join(map(orjson.dumps, [head, *rows])))
    env = {
        **os.environ,
        **platform.place,
        "FORGELOG_PROJECT": "lab/imports",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    for _ in range(2):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, cwd=tmp_path, env=env, stderr=PIPE
        )
        _, err = await asyncio.wait_for(process.communicate(), PATIENCE)
        assert process.returncode == 0, err.decode()
    async with asyncio.timeout(PATIENCE):  # the program's was another client: tables may be a moment behind it
        while True:
            try:
                (run,) = await client.runs.search(experiments=await ids(client, "of wandb"))
            except (NotFound, ValueError):
                await asyncio.sleep(0.1)
                continue
            if run.status == "failed":
                break
            await asyncio.sleep(0.1)
    assert (run.name, run.status, run.params, run.started_at) == ("brave-sun-1", "failed", {"lr": "0.1"}, moment(BEGAN))
    points = await client.runs.points(run.run_id, "loss")
    assert [(point.step, point.time) for point in points] == [(step, moment(BEGAN + 1000 * step)) for step in range(3)]


async def test_a_database_of_postgres_is_read_as_one_of_sqlite(platform: Cluster, tmp_path: Path) -> None:
    path = database(tmp_path / "mlflow.db")
    address = platform.settings.postgres_required
    connection = await asyncpg.connect(address)
    schema = "of_mlflow"
    try:
        await connection.execute(f"create schema {schema}")
        await copy(Sqlite(path), connection, schema)

        def both() -> list[Any]:
            found = []
            for opened in (Sqlite(path), Postgres(f"{address}{'&' if '?' in address else '?'}search_path={schema}")):
                source = MlflowDatabase(opened)
                contents = source.contents()
                runs = [(source.content(run).params, [*source.points(run, [])]) for run in contents.runs]
                found.append(repr((contents, runs)))
                source.close()
            return found

        ours, theirs = await asyncio.to_thread(both)
        assert theirs == ours
    finally:
        await connection.execute(f"drop schema {schema} cascade")
        await connection.close()


async def copy(source: Sqlite, connection: Any, schema: str) -> None:
    """The tables of a file, with Postgres' types."""
    kinds = {"FLOAT": "double precision", "BOOLEAN": "boolean"}
    for table in sorted(source.tables()):
        columns = source.rows(f"select name, type from pragma_table_info('{table}')")
        types = [kinds.get(each["type"], each["type"]) for each in columns]
        spelled = ", ".join(f'"{each["name"]}" {kind}' for each, kind in zip(columns, types, strict=True))
        await connection.execute(f"create table {schema}.{table} ({spelled})")
        rows = [
            tuple(bool(value) if kind == "boolean" else value for value, kind in zip(row.values(), types, strict=True))
            for row in source.rows(f"select * from {table}")
        ]
        await connection.copy_records_to_table(table, records=rows, schema_name=schema)


def test_a_source_is_only_read(tmp_path: Path) -> None:
    path = database(tmp_path / "mlflow.db")
    with pytest.raises(Exception, match="readonly"):
        Sqlite(path).rows("delete from runs")
    assert MlflowFiles(tmp_path).kind == "mlflow"
