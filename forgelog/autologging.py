"""`forgelog.autolog`: MLflow's autologging, against this platform."""

from __future__ import annotations

import os
import time
from importlib import import_module
from typing import TYPE_CHECKING, Any

from events.process import front_door
from forgelog.errors import InvalidInput, NotFound, Unavailable
from forgelog.tracking import checking
from forgelog.where import Gateway, find_gateway

if TYPE_CHECKING:
    from forgelog.tracking.run import Run

WAIT = 60.0
"""Seconds until the platform has a run, and until it is found there."""


def autolog(
    experiment: str = "",
    *,
    run: Run | None = None,
    project: str = "",
    address: str | None = None,
    token: str | None = None,
    **options: Any,
) -> None:
    """Have MLflow log what libraries train, from here on, as runs of this platform: scikit-learn, PyTorch and whatever
    else MLflow knows.

    `experiment`: its name. `run`: the next training is this run, instead of a new one. `options`: MLflow's own.
    `project`, `address`, `token`: as those of `forgelog.Client`. The key is put into this process' environment, where
    MLflow looks for it. Raises ImportError where MLflow is not installed, `InvalidInput`, and `Unavailable` where no
    platform answers: what MLflow logs is kept nowhere until one does.
    """
    # If it was not imported before, MLflow tells its makers nothing, and can't hang: its telemetry's thread imports
    # modules while autologging hooks imports, and each may wait for the other without end.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    try:
        mlflow: Any = import_module("mlflow")
    except ModuleNotFoundError as error:
        if error.name != "mlflow":
            raise
        raise ModuleNotFoundError("forgelog.autolog needs MLflow: pip install mlflow", name="mlflow") from None
    name = checking.project(project or os.environ.get("FORGELOG_PROJECT", ""))
    if run is not None and not hasattr(run, "flush"):
        raise InvalidInput(f"run: is a {type(run).__name__}; give what forgelog.run() returned")
    gateway = find_gateway(address, token)
    _check_answers(gateway, name)
    if gateway.key:
        os.environ["MLFLOW_TRACKING_TOKEN"] = gateway.key
    if front_door.has_tls(gateway.address) and (certificates := front_door.ca_file()):
        os.environ.setdefault("MLFLOW_TRACKING_SERVER_CERT_PATH", certificates)
    mlflow.set_tracking_uri(front_door.url_of(gateway.address) + (f"/mlflow/{name}" if name else ""))
    if experiment:
        mlflow.set_experiment(checking.text(experiment, "experiment", checking.MAX_EXPERIMENT))
    if run is not None:
        run.flush(WAIT)
        _wait_for(run, gateway, name)
        os.environ["MLFLOW_RUN_ID"] = run.id.replace(".", "-")  # its client takes no dot
    mlflow.autolog(**options)


def _check_answers(gateway: Gateway, project: str) -> None:
    """MLflow's client would try for minutes, each time. Raises `Unavailable`, and what is wrong with the key."""
    from forgelog.client.sync import Client

    with Client(gateway.address, token=gateway.key or None, project=project or None) as client:
        client.experiments.list(limit=1)


def _wait_for(run: Run, gateway: Gateway, project: str) -> None:
    """MLflow asks for the run at once, which the platform's tables may show a moment later."""
    from forgelog.client.sync import Client

    until = time.monotonic() + WAIT
    with Client(gateway.address, token=gateway.key or None, project=project or None) as client:
        while True:
            try:
                client.runs.get(run.id)
                return
            except NotFound:
                if time.monotonic() > until:
                    raise Unavailable(f"the platform at {gateway.address} does not have run {run.id} yet") from None
            time.sleep(0.05)
