"""How a replica starts, fails and ends."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from events.process.replica_keys import HEADER
from forgelog.embedded.ports import free_port
from tests.serving import counting
from tests.serving.processes import PATIENCE, ModelServer, model_server, refusal, write_digits_model

LIMITED = """
limits: {timeout_seconds: 0.5, drain_seconds: 20}
monitoring: {logging: {sample: 1, requests: true, responses: true, redact_patterns: ["secret-[a-z]+"]}}
processing:
  pre: |
    import time
    def preprocess(inputs, parameters):
        if parameters.get("slow"):
            while True:
                pass
        return inputs
  time_limit_seconds: 0.3
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "counting"
    found.mkdir()
    shutil.copyfile(counting.__file__, found / "counting.py")
    return found


@pytest.fixture
def server(folder: Path) -> Iterator[ModelServer]:
    spec = folder.parent / "spec.yaml"
    spec.write_text(LIMITED)
    with model_server(folder, "--class", "counting:Counting", "--spec", spec) as started:
        yield started


def ask(server: ModelServer, text: str, **parameters: Any) -> Any:
    inputs = [{"name": "prompt", "datatype": "BYTES", "shape": [1], "data": [text]}]
    return server.ask("POST", "/v2/models/counting/infer", {"inputs": inputs, "parameters": parameters, "id": text})


def test_a_model_that_fails_hangs_or_answers_wrongly_fails_its_request_alone(server: ModelServer) -> None:
    assert (ask(server, "fail").status, ask(server, "fail").error) == (500, "the model failed: ValueError: told to")
    hung = ask(server, "hang")
    assert (hung.status, "took longer than 0.5 s" in hung.error) == (504, True)
    odd = ask(server, "odd")
    assert (odd.status, odd.error) == (
        500,
        "the model gave 'text' as FP64, and its signature says BYTES",
    )
    slow = ask(server, "one", slow=True)
    assert (slow.status, slow.error) == (504, "the deployment's preprocess took longer than its limit of 0.3 s")
    assert ask(server, "one").json["outputs"][0]["data"] == ["ONE"]


def test_a_model_that_is_stuck_ends_the_replica(server: ModelServer) -> None:
    assert ask(server, "stick").status == 504
    assert server.ended() == 70
    assert "can't be interrupted" in "".join(server.lines)


def test_what_it_writes_down_is_redacted(server: ModelServer) -> None:
    ask(server, "my secret-word")
    ask(server, "fail", token="secret-token")
    assert server.stop() == 0
    written = [json.loads(line) for line in server.lines if line.startswith("{")]
    assert "secret-" not in "".join(server.lines)
    assert written[0]["inputs"] == {"prompt": ["my [redacted]"]}
    assert written[0]["outputs"]["text"] == ["MY SECRET-WORD"]
    assert (written[1]["code"], written[1]["error"]) == ("internal", "the model failed: ValueError: told to")
    assert written[1]["parameters"] == {"token": "[redacted]"}


def test_a_replica_that_stops_ends_what_it_has_taken(folder: Path) -> None:
    with model_server(folder, "--class", "counting:Counting") as server:
        answers: list[Any] = []
        prompt = {"prompt": "wait " * 20}
        stream = threading.Thread(
            target=lambda: answers.append(server.ask("POST", "/v2/models/counting/generate_stream", prompt))
        )
        stream.start()
        until = time.monotonic() + PATIENCE
        while "in_flight{" not in (text := server.ask("GET", "/metrics").body.decode()) or not _in_flight(text):
            assert time.monotonic() < until
        server.process.terminate()
        while (ready := server.ask("GET", "/v2/health/ready")).status == 200:
            assert time.monotonic() < until
        assert (ready.status, ready.headers["retry-after"]) == (503, "1")
        assert ready.error == "the replica takes no requests: it is stopping"
        assert server.ask("GET", "/v2/health/live").status == 200
        stream.join(PATIENCE)
        assert answers[0].body.count(b"data: ") == 20
        assert server.ended() == 0


def _in_flight(metrics: str) -> bool:
    line = next(line for line in metrics.splitlines() if line.startswith("forgelog_serving_in_flight{"))
    return float(line.rpartition(" ")[2]) > 0


def test_a_replica_reads_its_spec_and_its_ports_from_the_environment(tmp_path: Path) -> None:
    from blake3 import blake3

    from events.language.objects import ObjectRef

    write_digits_model(tmp_path / "made")
    data = (tmp_path / "made/model.onnx").read_bytes()
    line = json.dumps({"path": "model.onnx", "digest": blake3(data).hexdigest(), "size": len(data)})
    manifest = f'{{"forgelog_bundle":1}}\n{line}\n'.encode()
    bundle = ObjectRef(digest=blake3(manifest).hexdigest(), size=len(manifest))
    place = tmp_path / "cache" / bundle.digest  # as if another replica of this node had fetched it
    (place / "files").mkdir(parents=True)
    (place / "manifest").write_bytes(manifest)
    shutil.copyfile(tmp_path / "made/model.onnx", place / "files/model.onnx")
    http = free_port()
    grpc = free_port(avoid=[http])
    spec = {
        "deployment_id": "digits.abc234",
        "revision": 2,
        "model": {"name": "digits", "version": 3, "bundle": bundle.model_dump(mode="json")},
        "endpoints": ["rest", "grpc"],
        "health": {"path": "/healthz"},
    }
    environment = {
        "FORGELOG_SERVING": json.dumps(spec),
        "FORGELOG_PORT_HTTP": str(http),
        "FORGELOG_PORT_GRPC": str(grpc),
        "FORGELOG_ADDRESS": "127.0.0.2",
        "FORGELOG_MODEL_CACHE": str(tmp_path / "cache"),
        "FORGELOG_GATEWAY": "127.0.0.1:1",  # nobody needs it
        "FORGELOG_REPLICA_KEY": "known-to-routers",
    }
    with model_server(**environment) as server:
        assert (server.http, server.grpc) == (http, grpc)
        assert server.ask("GET", "/healthz").json == {"ready": True}
        assert server.ask("GET", "/v2/models/digits/config").status == 403
        config = server.ask("GET", "/v2/models/digits/config", headers={HEADER: "known-to-routers"}).json
        assert config["parameters"]["forgelog_revision"]["string_value"] == "2"
        import urllib.request

        with urllib.request.urlopen(f"http://127.0.0.2:{http}/v2/health/ready", timeout=PATIENCE) as answer:
            assert answer.status == 200


@pytest.mark.parametrize(
    ("arguments", "environment", "words"),
    [
        ((), {"FORGELOG_SERVING": ""}, "FORGELOG_SERVING is not set"),
        ((), {"FORGELOG_SERVING": "{}"}, "FORGELOG_SERVING: deployment_id: Field required"),
        (("nowhere",), {}, "is no folder"),
        ((".", "--class", "nothing:Model"), {}, "the version has no module nothing"),
        ((".", "--class", "counting:None_"), {}, "module counting has no None_"),
        ((".", "--runtime", "fortran"), {}, "'fortran' is none; there are command, mlflow, onnx, python, sklearn"),
        ((".",), {}, "no runtime is known for the version's files"),
        ((".", "--runtime", "onnx"), {}, "the version has no file that ends in .onnx"),
        ((".", "--class", "counting:Counting", "--spec", "wrong.yaml"), {}, "batching.max_size"),
        ((".", "--class", "counting:Counting", "--spec", "script.yaml"), {}, "line 2 of the script with preprocess"),
    ],
)
def test_what_can_not_be_served_says_why(
    folder: Path, arguments: tuple[str, ...], environment: dict[str, str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    (folder / "wrong.yaml").write_text("batching: {max_size: 0}")
    (folder / "script.yaml").write_text('processing: {pre: "x = 1\\ndef preprocess(:\\n"}')
    said = refusal(*arguments, **environment, FORGELOG_EXIT_MESSAGE=str(folder / "why"))
    assert words in said
    assert "Traceback" not in said
    assert said == f"error: {(folder / 'why').read_text()}\n"


BACKEND = """
import json, os, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.answer(200, {"folder": os.environ["FORGELOG_MODEL"], "path": self.path})

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.path == "/end":
            os._exit(3)
        (given,) = asked["inputs"]
        if given["data"][0] < 0:
            self.answer(400, {"error": "too low"})
        else:
            data = [2 * each for each in given["data"]]
            self.answer(200, {"outputs": [{**given, "name": "y", "data": data}]})

    def answer(self, status, body):
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass

ThreadingHTTPServer(("127.0.0.1", int(os.environ["FORGELOG_BACKEND_PORT"])), Handler).serve_forever()
"""


def test_a_program_of_the_users_is_served(tmp_path: Path) -> None:
    import sys

    folder = tmp_path / "double"
    folder.mkdir()
    (folder / "backend.py").write_text(BACKEND)
    tensors = {"type": "float32", "shape": [-1]}
    spec = tmp_path / "spec.yaml"
    spec.write_text(
        json.dumps(
            {
                "model": {"signature": {"inputs": [{"name": "x", **tensors}], "outputs": [{"name": "y", **tensors}]}},
                "runtime": {"name": "command", "backend": {"arguments": [sys.executable, "backend.py"]}},
            }
        )
    )
    with model_server(folder, "--runtime", "command", "--spec", spec) as server:
        assert server.infer("double", x=("FP32", [2], [1, 2.5])).json["outputs"][0]["data"] == [2.0, 5.0]
        refused = server.infer("double", x=("FP32", [1], [-1]))
        assert (refused.status, refused.error) == (400, "the deployment's program answered 400: too low")
        assert server.infer("double", x=("FP32", [1], ["one"])).status == 400
        assert server.ask("GET", "/any/path?x=1").json == {"folder": str(folder), "path": "/any/path?x=1"}
        assert server.ask("POST", "/end", {"inputs": []}).status == 503
        assert server.ended() == 1
        assert "its program ended with exit code 3" in "".join(server.lines)
