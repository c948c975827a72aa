"""Eight queries of TPC-H as stages of a worker's executor: their rows are those of DuckDB, on each engine.

FORGELOG_TEST_TPCH: the factor of the tables (0.01). Spark needs pyspark (the extra ``spark``) and a JDK. `make spark`
runs this and the other tests of Spark.
"""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.tpch import same, stages, tables
from bench.tpch_queries import QUERIES
from forgelog.embedded.ports import free_port
from forgelog.pipelines.engine.spark.sessions import java_home
from forgelog.worker.processes import end

FACTOR = os.environ.get("FORGELOG_TEST_TPCH", "0.01")


@pytest.fixture(scope="module")
def data() -> Path:
    return tables(FACTOR)


async def test_duckdb(data: Path) -> None:
    async with stages(data, memory=1 << 30) as worker:
        for name in QUERIES:
            done = await worker.run(name)
            same(name, data, done["files"])
            assert done["peak"] < 768 << 20


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """The address of a server of Spark Connect, a process of its own."""
    if importlib.util.find_spec("pyspark") is None:
        pytest.skip("the extra `spark` is not installed: uv sync --extra spark")
    port = free_port()
    said = {"spark.connect.grpc.binding.port": port, "spark.local.dir": tmp_path, "spark.ui.enabled": "false"}
    home = Path(importlib.util.find_spec("pyspark").origin).parent
    command = [str(home / "bin/spark-submit"), "--master", "local[2]", "--driver-memory", "2g"]
    for name, value in said.items():
        command += ["--conf", f"{name}={value}"]
    command += ["--class", "org.apache.spark.sql.connect.service.SparkConnectServer", "spark-internal"]
    environment = {**os.environ, "JAVA_HOME": str(java_home()), "SPARK_LOCAL_IP": "127.0.0.1"}
    with (tmp_path / "server.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=tmp_path, env=environment)
    try:
        _await(port, process, tmp_path / "server.log")
        yield f"sc://127.0.0.1:{port}"
    finally:
        end(process.pid)
        process.wait()


def _await(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + 120
    while time.monotonic() < until and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.2)
        else:
            return
    pytest.fail(f"Spark Connect does not answer: {log.read_text()[-2_000:]}")


async def test_spark_connect(data: Path, server: str, tmp_path: Path) -> None:
    (shared := tmp_path / "shared").mkdir()
    spark = {"remote": server, "folder": str(shared)}
    async with stages(data, memory=1 << 30, engine="spark", spark=spark) as worker:
        for name in QUERIES:
            done = await worker.run(name)
            same(name, data, done["files"])
    assert not list(shared.iterdir()), "rows between the engines are removed with the stage"
