"""Given a task, then these variables lead MLflow's client to the platform, its run and its job."""

from __future__ import annotations

import json

import pytest

from services.resources.agent.mlflow_client import variables

PROCESS = {"job": "j1", "task": "0", "attempt": "2"}
CONTEXT = json.dumps({"forgelog.job": "j1", "forgelog.task": "0", "forgelog.attempt": "2"})


def test_a_task_finds_its_project_and_its_job() -> None:
    assert variables("10.0.0.1:7070", "lab/vision", PROCESS, {}) == {
        "MLFLOW_TRACKING_URI": "http://10.0.0.1:7070/mlflow/lab/vision",
        "MLFLOW_TRACKING_AUTH": "forgelog",
        "MLFLOW_RUN_CONTEXT": CONTEXT,
    }
    assert variables("h:1", "local/default", PROCESS, {})["MLFLOW_TRACKING_URI"] == "http://h:1"


def test_a_run_that_waits_for_the_job_is_taken_over() -> None:
    given = {"FORGELOG_RUN": "rabc.jg5nz", "FORGELOG_EXPERIMENT": "digits"}
    found = variables("h:1", "lab/vision", PROCESS, given)
    assert (found["MLFLOW_RUN_ID"], found["MLFLOW_EXPERIMENT_NAME"]) == ("rabc-jg5nz", "digits")


def test_an_experiment_that_is_known_by_its_id_is_found_under_any_name() -> None:
    given = {"FORGELOG_EXPERIMENT_ID": "e1", "FORGELOG_EXPERIMENT": "digits"}
    found = variables("h:1", "lab/vision", PROCESS, given)
    assert found["MLFLOW_EXPERIMENT_ID"] == "e1"
    assert "MLFLOW_EXPERIMENT_NAME" not in found  # the client refuses two that do not agree


@pytest.mark.parametrize("own", ["MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_AUTH"])
def test_a_job_that_says_where_its_client_goes_is_left_alone(own: str) -> None:
    found = variables("h:1", "local/default", PROCESS, {own: "x", "MLFLOW_RUN_ID": "r1", "FORGELOG_RUN": "r2"})
    assert found == {"MLFLOW_RUN_CONTEXT": CONTEXT}


def test_a_node_that_knows_no_gateway_tells_nothing() -> None:
    assert variables("", "local/default", PROCESS, {}) == {}
