"""`forgelog.autolog`: MLflow's autologging, with this platform as its server."""

from __future__ import annotations

import asyncio
from pathlib import Path

import mlflow
import pytest
from sklearn.linear_model import LogisticRegression

import forgelog
from forgelog import AsyncClient, InvalidInput, Unavailable
from tests import PATIENCE
from tests.clients.flows import flow
from tests.integration.cluster import Cluster


async def test_the_next_training_is_the_run(
    platform: Cluster, uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = uri.partition("/mlflow/")[2]
    for name, value in {**platform.place, "FORGELOG_SPOOL": str(tmp_path / "spool")}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MLFLOW_RUN_ID", "")
    monkeypatch.delenv("MLFLOW_RUN_ID")  # what is set there goes with the test

    def steps() -> str:
        with forgelog.run("autologged", name="by itself", project=project) as run:
            forgelog.autolog(run=run, project=project, log_models=False, log_datasets=False, silent=True)
            try:
                LogisticRegression(C=0.5).fit([[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1])
            finally:
                mlflow.autolog(disable=True, silent=True)
        return run.id

    id = await flow(steps)
    async with AsyncClient(platform.gateway, token=platform.key, project=project or None) as client:
        async with asyncio.timeout(PATIENCE):
            while (row := await client.runs.get(id))["status"] != "finished" or not row["metrics"]:
                await asyncio.sleep(0.1)
    assert (row["name"], row["params"]["C"]) == ("by itself", "0.5")
    assert row["metrics"]["training_accuracy_score"] == 1.0


def test_what_can_not_be_logged_to_is_told_at_once() -> None:
    before = mlflow.get_tracking_uri()
    with pytest.raises(InvalidInput, match=r"run: is a str; give what forgelog.run\(\) returned"):
        forgelog.autolog(run="r1")  # type: ignore[arg-type]
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1 "):
        forgelog.autolog("digits", address="127.0.0.1:1", token="none")
    assert mlflow.get_tracking_uri() == before
