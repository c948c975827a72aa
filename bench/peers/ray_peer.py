"""Ray on this machine: python ray_peer.py COUNT prints JSON. Runs in the peers' own environment."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_DEDUP_LOGS", "0")

import ray


@ray.remote
def start() -> float:
    process = subprocess.Popen(["true"])
    started = time.time()
    process.wait()
    return started


def latency(count: int) -> list[float]:
    taken = []
    for _ in range(count):
        began = time.time()
        taken.append((ray.get(start.remote()) - began) * 1000)
    return taken


def main(count: int) -> None:
    ray.init(num_cpus=os.cpu_count(), include_dashboard=False, logging_level="error", log_to_driver=False)
    latency(20)
    taken = latency(50)
    began = time.perf_counter()
    ray.get([start.remote() for _ in range(count)])
    rate = count / (time.perf_counter() - began)
    print(json.dumps({"version": ray.__version__, "start_ms": statistics.median(taken), "jobs_per_s": rate}))
    ray.shutdown()


if __name__ == "__main__":
    main(int(sys.argv[1]))
