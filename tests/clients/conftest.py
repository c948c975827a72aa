"""Where MLflow's client finds the platform."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import mlflow
import pytest

from tests.integration.cluster import Cluster


@pytest.fixture(params=["", "/mlflow/lab/vision"], ids=["default", "lab/vision"])
def uri(platform: Cluster, request: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The tracking URI, in force for the flow."""
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", platform.key)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    uri = f"http://{platform.gateway}{request.param}"
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    # `set_experiment` is remembered by the process, and by those that it starts
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "")
    monkeypatch.delenv("MLFLOW_EXPERIMENT_ID")
    monkeypatch.setattr(mlflow.tracking.fluent, "_active_experiment_id", None)
    yield uri
    mlflow.set_tracking_uri(None)
    mlflow.set_registry_uri(None)
