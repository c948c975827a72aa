"""Bare DuckDB: a process that runs TPC-H's queries on files, for `bench.tpch`. It is told what to do as an executor of
a worker is: a message for each query, with the folder of the files.
"""

from __future__ import annotations

import sys
import tempfile
import time
from typing import Any

import duckdb

from bench.tpch_queries import QUERIES, READS
from forgelog.worker.framing import Channel
from forgelog.worker.processes import Peak


def query(name: str, folder: str, threads: int, memory: int) -> dict[str, Any]:
    """A query over views of the files, in a connection of its own, with all rows fetched. `memory`: bytes that DuckDB
    may use before it spills; 0: its own choice."""
    with tempfile.TemporaryDirectory() as spill:
        config: dict[str, Any] = {"threads": threads, "temp_directory": spill}
        if memory:
            config["memory_limit"] = f"{memory}B"
        with duckdb.connect(config=config) as connection:
            for table in READS[name]:
                connection.execute(f"CREATE VIEW {table} AS SELECT * FROM read_parquet('{folder}/{table}.parquet')")
            return {"rows": len(connection.execute(QUERIES[name]).fetchall())}


def main() -> None:
    channel = Channel(int(sys.argv[1]))
    channel.send({"ready": True})
    peak = Peak()
    while (work := channel.receive()) is not None:
        peak.begin()
        began, cpu = time.perf_counter(), time.process_time()
        done = query(work["query"], work["folder"], work["threads"], work["memory"])
        took = {"seconds": time.perf_counter() - began, "cpu": time.process_time() - cpu}
        channel.send({**done, **took, "peak": peak.bytes()})


if __name__ == "__main__":
    main()
