"""MLflow's client, unchanged, against a server: python -m bench.mlflow_client URI prints what it reaches, as JSON.

`--record FILE`: also writes down the requests that it sends, one a line, to be played by `bench.player`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import requests
from mlflow import MlflowClient
from mlflow.entities import Metric

COUNTS = {"runs/create": 20, "runs/log-metric": 100, "runs/log-batch": 12}
"""Requests of each kind."""
METRICS = 1_000
"""Of a `log-batch`."""
START = 1_778_301_120_000


@contextlib.contextmanager
def recording(into: list[dict[str, Any]]) -> Iterator[None]:
    """Write down what the client sends."""
    adapter: Any = requests.adapters.HTTPAdapter
    send = adapter.send

    def recorded(self: Any, request: requests.PreparedRequest, *arguments: Any, **more: Any) -> Any:
        body = request.body or b""
        text = body.decode() if isinstance(body, bytes) else body
        into.append({"method": request.method, "path": request.path_url, "headers": {**request.headers}, "body": text})
        return send(self, request, *arguments, **more)

    adapter.send = recorded
    try:
        yield
    finally:
        adapter.send = send


def measure(client: MlflowClient) -> tuple[str, dict[str, float]]:
    """The run that it logs to, and requests/s of each kind."""
    run = client.create_run("0").info.run_id

    def metric(number: int) -> None:
        client.log_metric(run, "loss", 1 / (1 + number), timestamp=START + number, step=number)

    def batch(number: int) -> None:
        first = number * METRICS
        client.log_batch(
            run,
            metrics=[Metric("accuracy", 1 / (1 + step), START + step, step) for step in range(first, first + METRICS)],
        )

    calls: dict[str, Callable[[int], object]] = {
        "runs/create": lambda number: client.create_run("0", run_name=f"run {number}", tags={"team": "vision"}),
        "runs/log-metric": metric,
        "runs/log-batch": batch,
    }
    rates = {}
    for kind, call in calls.items():
        began = time.perf_counter()
        for number in range(COUNTS[kind]):
            call(number)
        rates[kind] = COUNTS[kind] / (time.perf_counter() - began)
    return run, rates


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.mlflow_client")
    parser.add_argument("uri")
    parser.add_argument("--record")
    given = parser.parse_args()
    sent: list[dict[str, Any]] = []
    with recording(sent) if given.record else contextlib.nullcontext():
        run, rates = measure(MlflowClient(given.uri))
    if given.record:
        with open(given.record, "w") as file:
            file.writelines(json.dumps(each) + "\n" for each in sent)
    sys.stdout.write(json.dumps({"run": run, "rates": rates}) + "\n")


if __name__ == "__main__":
    main()
