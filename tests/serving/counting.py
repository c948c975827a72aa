"""The model that tests of streams serve: it counts, one part for each word, and can be told to fail or to hang."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np


class Counting:
    inputs = ({"name": "prompt", "type": "string", "shape": [1]},)
    outputs = ({"name": "text", "type": "string", "shape": [1]}, {"name": "number", "type": "int64", "shape": [1]})

    def load(self, path: Path) -> None:
        self.closed = path / "closed"

    def predict(self, inputs: Mapping[str, Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
        text = inputs["prompt"][0].decode()
        if text == "fail":
            raise ValueError("told to")
        if text == "hang":
            while True:
                pass
        if text == "stick":
            time.sleep(3600)
        if text == "odd":
            return {"text": np.zeros((2, 2))}
        return {"text": np.array([text.upper()]), "number": np.array([len(text)])}

    def stream(self, inputs: Mapping[str, Any], parameters: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        try:
            for number, word in enumerate(inputs["prompt"][0].decode().split()):
                if word == "fail":
                    raise ValueError("told to")
                if word == "wait":
                    time.sleep(0.05)
                yield {"text": np.array([word]), "number": np.array([number])}
        except GeneratorExit:
            self.closed.write_text("closed")
            raise
