"""Optuna's unchanged client keeps its studies on a platform: its own tests of a storage, and studies as people run."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import grpc
import optuna
import pytest
from optuna.storages import GrpcStorageProxy

from forgelog import AsyncClient
from tests import PATIENCE
from tests.clients.proxied import Loop, storage_of
from tests.integration.cluster import Cluster

OF_OPTUNA = 59
"""Tests that optuna 5.0 has for a storage."""

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


@pytest.fixture
def storage(loop: Loop, platform: Cluster) -> Iterator[GrpcStorageProxy]:
    with storage_of(loop, platform.gateway, platform.key, "lab/optuna") as storage:
        yield storage


async def told(client: AsyncClient, name: str, trials: int) -> Any:
    """A tuning once so many of its trials have ended in the tables, which are behind what another client wrote."""
    async with asyncio.timeout(PATIENCE), aclosing(client.tunings.watch(project="lab/optuna")) as rows:
        async for row in rows:
            if row.name == name and row.completed + row.pruned + row.failed == trials:
                return row
    raise AssertionError("a watch has no end")


async def test_all_of_optunas_own_tests_of_a_storage_pass(platform: Cluster) -> None:
    runtime = {"PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": "python"}
    done = await asyncio.to_thread(
        subprocess.run,
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "--noconftest",
            "-p",
            "no:cacheprovider",
            "tests/clients/optuna_suite.py",
        ],
        env={**os.environ, **platform.place, **runtime},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    last = done.stdout.strip().splitlines()[-1]
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert last.startswith(f"{OF_OPTUNA} passed"), last


async def test_a_study_with_pruning_is_a_tuning_with_its_best_trial(
    platform: Cluster, storage: GrpcStorageProxy
) -> None:
    def objective(trial: optuna.Trial) -> float:
        x = trial.suggest_float("x", -10, 10)
        kind = trial.suggest_categorical("kind", ["near", "far"])
        depth = trial.suggest_int("depth", 1, 4)
        for step in range(3):
            trial.report(abs(x) + step, step)
            if trial.number == 3:
                raise optuna.TrialPruned
        return (x - 2) ** 2 + (kind == "far") + depth

    study = optuna.create_study(storage=storage, study_name="parabola", sampler=optuna.samplers.TPESampler(seed=1))
    await asyncio.to_thread(study.optimize, objective, n_trials=6)
    study.set_user_attr("note", {"who": "ada", "scores": [1, float("inf")]})
    async with AsyncClient(platform.gateway, token=platform.key) as client:
        tuning = await told(client, "parabola", 6)
        assert (tuning.status, tuning.trials, tuning.completed, tuning.pruned) == ("running", 6, 5, 1)
        assert (tuning.best_trial, float(tuning.best_value)) == (study.best_trial.number, study.best_value)
        best = await client.tunings.trial(tuning.tuning_id, study.best_trial.number)
        assert best.params == study.best_params
        assert best.intermediate == study.best_trial.intermediate_values
        assert [row.status for row in await client.tunings.trials(tuning.tuning_id, status=["pruned"])] == ["pruned"]


async def test_workers_side_by_side_get_numbers_without_gaps_and_a_queued_trial_once(storage: GrpcStorageProxy) -> None:
    study = optuna.create_study(storage=storage, study_name="side by side", directions=["minimize", "maximize"])
    study.enqueue_trial({"x": 0.5})

    def objective(trial: optuna.Trial) -> tuple[float, float]:
        x = trial.suggest_float("x", 0, 1)
        return x, x * x

    def work() -> None:
        own = optuna.load_study(storage=storage, study_name="side by side")
        own.optimize(objective, n_trials=4)

    await asyncio.gather(*(asyncio.to_thread(work) for _ in range(3)))
    trials = study.get_trials()
    assert [trial.number for trial in trials] == list(range(12))
    assert {trial.state for trial in trials} == {optuna.trial.TrialState.COMPLETE}
    assert [trial.params["x"] for trial in trials].count(0.5) == 1


async def test_another_project_has_studies_of_its_own(platform: Cluster, loop: Loop, storage: GrpcStorageProxy) -> None:
    optuna.create_study(storage=storage, study_name="ours")
    with storage_of(loop, platform.gateway, platform.key, "lab/others") as others:
        assert others.get_all_studies() == []


async def test_the_python_of_the_how_to_runs_as_written(platform: Cluster, loop: Loop, tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs/how-to/tuning.md").read_text(), re.DOTALL)
    with storage_of(loop, platform.gateway, platform.key, "local/default") as storage:
        program = "\n".join(blocks).replace("port=13000", f"port={storage._port}")
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-c", program],
            cwd=tmp_path,
            env={**os.environ, **platform.place, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") > 1


@pytest.mark.parametrize(
    ("method", "request_bytes", "metadata", "code", "text"),
    [
        ("GetTrial", b"\x08\x01", (), grpc.StatusCode.NOT_FOUND, "there is no study 0 in project local/default"),
        ("GetTrial", b"\xff", (), grpc.StatusCode.INVALID_ARGUMENT, "the message is none of Optuna's"),
        ("Migrate", b"", (), grpc.StatusCode.UNIMPLEMENTED, "which has no such method"),
        (
            "GetAllStudies",
            b"",
            (("forgelog-project", "nowhere"),),
            grpc.StatusCode.INVALID_ARGUMENT,
            "forgelog-project: is 'nowhere'",
        ),
        ("CreateNewStudy", b"\x0a\x01\x05", (), grpc.StatusCode.INVALID_ARGUMENT, "directions: has 5"),
    ],
)
async def test_what_is_none_of_the_protocol_is_refused_in_words(
    platform: Cluster, method: str, request_bytes: bytes, metadata: Any, code: grpc.StatusCode, text: str
) -> None:
    async with platform.channel() as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(f"/optuna.StorageService/{method}")(request_bytes, metadata=metadata)
    assert caught.value.code() is code
    assert text in (caught.value.details() or "")


async def test_without_a_key_there_are_no_studies(platform: Cluster) -> None:
    async with grpc.aio.insecure_channel(platform.gateway) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary("/optuna.StorageService/GetAllStudies")(b"")
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_the_command_line_makes_shows_and_ends_a_tuning(platform: Cluster, tmp_path: Path) -> None:
    made = await platform.command(tmp_path, "tune", "create", "by hand", "--direction", "maximize", "--trials", "3")
    assert made.returncode == 0, made.stderr
    id = made.stdout.strip()
    async with AsyncClient(platform.gateway, token=platform.key) as client:
        await client.publish(("forgelog.experiments.v1.AskTrial", {"tuning_id": id}))
    await platform.command(tmp_path, "tune", "requeue", id, "0", "--reason", "lost")
    refused = await platform.command(tmp_path, "tune", "tell", id, "0", "--attempt", "1", "--value", "2")
    assert "attempt is 1, and attempt 2 of trial 0 is the one that counts" in refused.stderr
    told = await platform.command(tmp_path, "tune", "tell", id, "0", "--attempt", "2", "--value", "2")
    assert told.stderr == f"trial 0 of tuning {id} is completed\n"
    stopped = await platform.command(tmp_path, "tune", "stop", id, "--reason", "enough")
    assert stopped.stderr == f"tuning {id} is stopped\n"
    shown = await platform.command(tmp_path, "tune", "show", id)
    assert "best_value" in shown.stdout
    assert "enough" in shown.stdout
    assert "completed" in (await platform.command(tmp_path, "tune", "trials", id)).stdout
    async with platform.http() as http:
        assert (await http.get(f"/v1/tunings/{id}")).json()["tuning"]["status"] == "stopped"
        assert len((await http.get(f"/v1/tunings/{id}/trials")).json()["trials"]) == 1
