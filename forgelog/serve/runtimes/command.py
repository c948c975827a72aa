"""A program of the user's that serves a model, with the model server in front of it.

It is started in the folder of the model's files, with that folder in ``FORGELOG_MODEL`` and its port in
``FORGELOG_BACKEND_PORT``. Requests go to it as JSON of the Open Inference Protocol v2, several at a time. When it ends,
the replica ends.
"""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from events.language.deployments.serving import CommandBackend, RuntimeSettings, ServedModel
from forgelog.serve.problems import SIGN, Fault, NotServable, NotServableHere, ServingError
from forgelog.serve.runtimes.base import LoadedModel, ModelFiles, counts_rows
from forgelog.serve.schema import TensorSchema, of_signature
from forgelog.serve.tensors import Array, checked_shape, datatype_kept, from_nested, known_datatype, to_flat

AT_A_TIME = 16
START_SECONDS = 600.0
"""How long a program may take until it is ready; a deployment's startup probe is usually stricter."""
STOP_SECONDS = 5.0
_PAUSE = 0.05
_MAX_ANSWER = 1 << 30


def load(files: ModelFiles, settings: RuntimeSettings, served: ServedModel) -> LoadedModel:
    backend = settings.backend
    if backend is None:
        raise NotServable("runtime command needs backend: the program and its arguments")
    inputs, outputs = of_signature(served.signature.inputs), of_signature(served.signature.outputs, "output")
    if not inputs or not outputs:
        raise NotServable(f"nobody can ask a program what it takes; {SIGN}")
    port = _free_port()
    environment = {**os.environ, "FORGELOG_MODEL": str(files.folder), "FORGELOG_BACKEND_PORT": str(port)}
    environment.pop("FORGELOG_SERVING", None)
    try:
        process = subprocess.Popen(backend.arguments, cwd=files.folder, env=environment)
    except OSError as error:
        raise NotServableHere(
            f"{backend.arguments[0]}: {error.strerror}; name a program that is on this node"
        ) from None
    try:
        _wait(process, backend, port)
    except NotServable:
        _end(process)
        raise
    return CommandModel(process, backend, port, inputs, outputs)


class CommandModel:
    """A running program."""

    platform = "command"
    streams = False
    concurrency = AT_A_TIME

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        backend: CommandBackend,
        port: int,
        inputs: tuple[TensorSchema, ...],
        outputs: tuple[TensorSchema, ...],
    ) -> None:
        self.process = process
        self.port = port
        self.inputs, self.outputs = inputs, outputs
        self.mergeable = counts_rows(inputs) and counts_rows(outputs)
        self._path = backend.infer_path
        self._local = threading.local()

    def predict(self, inputs: Mapping[str, Array], parameters: Mapping[str, Any]) -> Mapping[str, Array]:
        tensors = []
        for name, array in inputs.items():
            datatype = datatype_kept(array)
            tensors.append({"name": name, "datatype": datatype, "shape": array.shape, "data": to_flat(datatype, array)})
        return outputs_of(*self._post(orjson.dumps({"inputs": tensors, "parameters": dict(parameters)})))

    def stream(self, inputs: Mapping[str, Array], parameters: Mapping[str, Any]) -> Iterator[Mapping[str, Array]]:
        yield self.predict(inputs, parameters)

    def close(self) -> None:
        _end(self.process)

    def _post(self, body: bytes) -> tuple[int, bytes]:
        """On this thread's connection; once more on a new one where the program has closed it."""
        for fresh in (False, True):
            connection = None if fresh else getattr(self._local, "connection", None)
            reused = connection is not None
            connection = connection or http.client.HTTPConnection("127.0.0.1", self.port)
            try:
                connection.request("POST", self._path, body, {"content-type": "application/json"})
                response = connection.getresponse()
                answer = response.read(_MAX_ANSWER)
            except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError) as error:
                connection.close()
                if not reused:
                    raise ServingError(
                        Fault.MODEL_FAILED, f"the deployment's program cut the connection: {error}"
                    ) from None
                continue
            except OSError as error:
                raise ServingError(Fault.UNAVAILABLE, f"the deployment's program does not answer: {error}") from None
            self._local.connection = connection
            return response.status, answer
        raise AssertionError("unreachable")


def outputs_of(status: int, body: bytes) -> dict[str, Array]:
    """The outputs of a program's answer. Raises `ServingError`: the request is wrong if the program says so, else the
    program is."""
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        answer = None
    if status != 200 or not isinstance(answer, dict) or not isinstance(answer.get("outputs"), list):
        said = answer.get("error") if isinstance(answer, dict) else ""
        fault = Fault.INVALID if 400 <= status < 500 else Fault.MODEL_FAILED
        raise ServingError(fault, f"the deployment's program answered {status}: {said or 'no outputs as JSON'}")
    try:
        return {
            str(each["name"]): _read(each) for each in answer["outputs"] if isinstance(each, dict) and "name" in each
        }
    except ServingError as error:
        told = error.message.replace("input ", "output ", 1)
        raise ServingError(Fault.MODEL_FAILED, f"the deployment's program answered wrongly: {told}") from None


def _read(given: Mapping[str, Any]) -> Array:
    name = str(given["name"])
    datatype, shape = known_datatype(name, given.get("datatype")), checked_shape(name, given.get("shape"))
    return from_nested(name, datatype, shape, given.get("data"))


def _wait(process: subprocess.Popen[bytes], backend: CommandBackend, port: int) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        if (code := process.poll()) is not None:
            raise NotServableHere(f"{backend.arguments[0]} ended with exit code {code} before it was ready")
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", backend.health_path)
            if connection.getresponse().status == 200:
                return
        except (OSError, http.client.HTTPException):
            pass  # it does not listen yet
        finally:
            connection.close()
        time.sleep(_PAUSE)
    raise NotServableHere(f"{backend.arguments[0]} is not ready after {START_SECONDS:g} s")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port
