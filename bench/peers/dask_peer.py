"""Dask on this machine: python dask_peer.py COUNT prints JSON. Runs in the peers' own environment."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time

import distributed


def start(_: int) -> float:
    process = subprocess.Popen(["true"])
    started = time.time()
    process.wait()
    return started


def latency(client: distributed.Client, count: int) -> list[float]:
    taken = []
    for number in range(count):
        began = time.time()
        taken.append((client.submit(start, number, pure=False).result() - began) * 1000)
    return taken


def main(count: int) -> None:
    with (
        distributed.LocalCluster(n_workers=os.cpu_count(), threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        latency(client, 20)
        taken = latency(client, 50)
        began = time.perf_counter()
        client.gather(client.map(start, range(count), pure=False))
        rate = count / (time.perf_counter() - began)
        version = distributed.__version__
        print(json.dumps({"version": version, "start_ms": statistics.median(taken), "jobs_per_s": rate}))


if __name__ == "__main__":
    main(int(sys.argv[1]))
