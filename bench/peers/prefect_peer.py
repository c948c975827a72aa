"""Prefect running steps that do nothing: python prefect_peer.py COUNT prints JSON.

The steps of a chain run one after the other in a flow, with Prefect's own server on this machine (SQLite). Then a flow
maps one task over COUNT items.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time

CHAIN = 50


def main(count: int) -> None:
    from prefect import __version__, flow, task

    @task
    def step(before: int) -> int:
        return before + 1

    @flow
    def chain() -> list[float]:
        times, value = [], 0
        for _ in range(CHAIN):
            began = time.perf_counter()
            value = step(value)
            times.append(time.perf_counter() - began)
        return times

    @flow
    def fan_out() -> float:
        began = time.perf_counter()
        step.map(range(count)).result()
        return time.perf_counter() - began

    chain()  # the first starts the server
    times = chain()
    tasks = count / fan_out()
    print(json.dumps({"version": __version__, "step_ms": statistics.median(times) * 1000, "tasks_per_s": tasks}))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="prefect-") as folder:
        os.environ.update(
            PREFECT_HOME=folder,
            PREFECT_LOGGING_LEVEL="ERROR",
            PREFECT_SERVER_ANALYTICS_ENABLED="false",
            PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS="60",
            DO_NOT_TRACK="1",
        )
        main(int(sys.argv[1]))
