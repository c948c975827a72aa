"""Dagster running steps that do nothing: python dagster_peer.py COUNT prints JSON.

The steps of a chain run in one process (its fastest executor) on an instance that stores runs and events on this
machine (SQLite). Then an op is mapped over COUNT items.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from importlib.metadata import version

CHAIN = 50


def main(count: int, folder: str) -> None:
    from dagster import DagsterInstance, DynamicOut, DynamicOutput, job, op

    @op
    def first() -> int:
        return 0

    @op
    def step(before: int) -> int:
        return before + 1

    @op(out=DynamicOut())
    def items():
        for number in range(count):
            yield DynamicOutput(number, mapping_key=str(number))

    @job
    def chain():
        value = first()
        for number in range(CHAIN):
            value = step.alias(f"step_{number}")(value)

    @job
    def fan_out():
        items().map(step)

    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    with DagsterInstance.local_temp(folder) as instance:
        chain.execute_in_process(instance=instance, run_config=quiet)
        began = time.perf_counter()
        chain.execute_in_process(instance=instance, run_config=quiet)
        step_ms = (time.perf_counter() - began) / (CHAIN + 1) * 1000
        began = time.perf_counter()
        fan_out.execute_in_process(instance=instance, run_config=quiet)
        tasks = count / (time.perf_counter() - began)
    print(json.dumps({"version": version("dagster"), "step_ms": step_ms, "tasks_per_s": tasks}))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="dagster-") as folder:
        os.environ.update(DAGSTER_HOME=folder, DAGSTER_DISABLE_TELEMETRY="1", DO_NOT_TRACK="1")
        main(int(sys.argv[1]), folder)
