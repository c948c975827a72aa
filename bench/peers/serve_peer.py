"""Ray Serve serving digits on this machine: MODEL=... python serve_peer.py PORT, until its input ends. Runs in an
environment of its own."""

from __future__ import annotations

import os
import sys

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import numpy as np
import onnxruntime
import ray
from ray import serve


@serve.deployment(max_ongoing_requests=100)
class Digits:
    def __init__(self, path: str) -> None:
        self.session = onnxruntime.InferenceSession(path)

    async def __call__(self, request):
        asked = await request.json()
        (label,) = self.session.run(["label"], {"x": np.array(asked["x"], np.float32)})
        return {"label": label.tolist()}


def start() -> None:
    """Start Ray. It gives its own processes 30 s, which they may not have on a busy machine."""
    for left in (2, 1, 0):
        try:
            ray.init(num_cpus=4, include_dashboard=False, logging_level="error", log_to_driver=False)
        except Exception:
            ray.shutdown()
            if not left:
                raise
        else:
            return


if __name__ == "__main__":
    start()
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
    serve.run(Digits.bind(os.environ["MODEL"]), route_prefix="/infer")
    print("ready", flush=True)
    sys.stdin.read()
    serve.shutdown()
    ray.shutdown()
