"""Model servers for tests, each a process of its own, and the models that they serve."""

from __future__ import annotations

import http.client
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from events.process.exit_message import EXIT_PERMANENT

_READY = re.compile(r"is ready: HTTP (\d+)(?:, gRPC (\d+))?")
PATIENCE = 120.0
"""Seconds, against processes that hang."""


@dataclass
class Answer:
    """An answer of HTTP."""

    status: int
    body: bytes
    headers: Mapping[str, str]

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        found: str = self.json["error"]
        return found


class ModelServer:
    """A running process."""

    def __init__(self, process: subprocess.Popen[str], first: list[str]) -> None:
        self.process = process
        self.lines = first
        found = next(match for line in first if (match := _READY.search(line)))
        self.http = int(found[1])
        self.grpc = int(found[2] or 0)
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.http}"

    def _read(self) -> None:
        assert self.process.stdout is not None
        self.lines += self.process.stdout

    def ask(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Answer:
        """`body`: bytes, or what becomes JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.http, timeout=PATIENCE)
        try:
            sent = body if body is None or isinstance(body, bytes) else json.dumps(body)
            with suppress(BrokenPipeError, ConnectionResetError):  # it may answer before it has got all
                connection.request(method, path, sent, dict(headers or {}))
            response = connection.getresponse()
            return Answer(response.status, response.read(), {k.lower(): v for k, v in response.getheaders()})
        finally:
            connection.close()

    def infer(self, model: str, **inputs: Any) -> Answer:
        """A request with these inputs: name → (datatype, shape, data)."""
        listed = [
            {"name": name, "datatype": datatype, "shape": shape, "data": data}
            for name, (datatype, shape, data) in inputs.items()
        ]
        return self.ask("POST", f"/v2/models/{model}/infer", {"inputs": listed})

    def ended(self) -> int:
        """The exit code, once it has ended; its output is whole then."""
        code = self.process.wait(PATIENCE)
        self._reading.join(PATIENCE)
        return code

    def stop(self) -> int:
        self.process.terminate()
        return self.ended()


@contextmanager
def model_server(*arguments: str | Path, **environment: str) -> Iterator[ModelServer]:
    """One that is ready, at ports that were free."""
    ports = () if "FORGELOG_SERVING" in environment else ("--port", "0", "--grpc-port", "0")
    command = [sys.executable, "-m", "forgelog.serve", *map(str, arguments), *ports]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, **environment}
    )
    try:
        first: list[str] = []
        assert process.stdout is not None
        for line in process.stdout:
            first.append(line)
            if _READY.search(line):
                break
        else:
            raise AssertionError(f"it ended: {''.join(first)}")
        yield ModelServer(process, first)
    finally:
        process.kill()
        process.wait()


def refusal(*arguments: str | Path, code: int = EXIT_PERMANENT, **environment: str) -> str:
    """What a server says that can't start, and ends with this code."""
    command = [sys.executable, "-m", "forgelog.serve", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, timeout=PATIENCE)
    assert done.returncode == code, done
    return done.stderr


def digits() -> tuple[Any, Any]:
    """Images of 64 pixels, and the digits that they show."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    return images.astype(np.float32), labels


def write_digits_model(folder: Path) -> None:
    """A model in ONNX that tells digits: the nearest mean of each digit's images."""
    images, labels = digits()
    means = np.stack([images[labels == digit].mean(axis=0) for digit in range(10)]).astype(np.float32)
    weights = [
        numpy_helper.from_array(2 * means.T, "weights"),
        numpy_helper.from_array(-(means**2).sum(axis=1), "bias"),
    ]
    nodes = [
        helper.make_node("Gemm", ["x", "weights", "bias"], ["scores"]),
        helper.make_node("ArgMax", ["scores"], ["label"], axis=1, keepdims=0),
    ]
    write_model(
        folder / "model.onnx",
        nodes,
        [("x", TensorProto.FLOAT, ["n", 64])],
        [("label", TensorProto.INT64, ["n"]), ("scores", TensorProto.FLOAT, ["n", 10])],
        weights,
    )
    (folder / "labels.txt").write_text("zero one two three four five six seven eight nine".replace(" ", "\n"))


def write_model(path: Path, nodes: Any, inputs: Any, outputs: Any, weights: Any = ()) -> None:
    """A file of ONNX. Tensors: name, type, shape."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(*each) for each in inputs],
        [helper.make_tensor_value_info(*each) for each in outputs],
        weights,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, str(path))
