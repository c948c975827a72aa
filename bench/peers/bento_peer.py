"""BentoML serving digits: MODEL=... bentoml serve bento_peer:Digits. Runs in an environment of its own."""

from __future__ import annotations

import os

import bentoml
import numpy as np
import onnxruntime


@bentoml.service(workers=1)
class Digits:
    def __init__(self) -> None:
        self.session = onnxruntime.InferenceSession(os.environ["MODEL"])

    @bentoml.api(route="/infer")
    def infer(self, x: list[list[float]]) -> list[int]:
        (label,) = self.session.run(["label"], {"x": np.array(x, np.float32)})
        return label.tolist()
