"""Triton's client for Python, as it is released, against the model server: HTTP and gRPC, every call."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import tritonclient.grpc as over_grpc
import tritonclient.http as over_http
from tritonclient.utils import InferenceServerException

from tests.serving.processes import ModelServer, digits, model_server, write_digits_model

BATCHED = "batching: {enabled: true, max_size: 32, timeout_ms: 1}\nmodel: {name: digits, version: 3}\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelServer]:
    folder = tmp_path_factory.mktemp("digits")
    write_digits_model(folder)
    spec = folder.parent / "batched.yaml"
    spec.write_text(BATCHED)
    with model_server(folder, "--spec", spec) as started:
        yield started


@pytest.fixture(params=["http", "grpc"])
def triton(server: ModelServer, request: Any) -> Iterator[Any]:
    """Client and the module that has its inputs and outputs."""
    if request.param == "http":
        with over_http.InferenceServerClient(server.address, network_timeout=60) as client:
            yield client, over_http
    else:
        with over_grpc.InferenceServerClient(f"127.0.0.1:{server.grpc}") as client:
            yield client, over_grpc


def images(module: Any, array: Any, **options: Any) -> list[Any]:
    given = module.InferInput("x", list(array.shape), "FP32")
    given.set_data_from_numpy(array, **options)
    return [given]


def told(answer: Any) -> Any:
    """JSON of HTTP, messages of gRPC: as values."""
    from google.protobuf.json_format import MessageToDict

    return answer if isinstance(answer, dict | list) else MessageToDict(answer, preserving_proto_field_name=True)


def test_health(triton: Any) -> None:
    client, _ = triton
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("digits")
    assert client.is_model_ready("digits", "3")


def test_metadata(triton: Any) -> None:
    client, _ = triton
    assert told(client.get_server_metadata())["name"] == "forgelog"
    model = told(client.get_model_metadata("digits"))
    assert model["versions"] == ["3"]
    assert model["platform"] == "onnxruntime_onnx"
    assert [(each["name"], each["datatype"], [int(n) for n in each["shape"]]) for each in model["inputs"]] == [
        ("x", "FP32", [-1, 64])
    ]
    assert [each["name"] for each in model["outputs"]] == ["label", "scores"]


def test_configuration(triton: Any) -> None:
    client, _ = triton
    config = told(client.get_model_config("digits", "3"))
    config = config.get("config", config)
    assert config["max_batch_size"] == 32
    assert config["input"][0]["data_type"] == "TYPE_FP32"
    assert [int(n) for n in config["input"][0]["dims"]] == [64]
    assert int(config["dynamic_batching"]["max_queue_delay_microseconds"]) == 1000


def test_repository_index(triton: Any) -> None:
    client, _ = triton
    index = told(client.get_model_repository_index())
    (model,) = index["models"] if isinstance(index, dict) else index
    assert (model["name"], model["version"], model["state"]) == ("digits", "3", "READY")


def test_statistics_count_rows_and_batches(triton: Any) -> None:
    client, module = triton

    def rows() -> int:
        (model,) = told(client.get_inference_statistics("digits"))["model_stats"]
        return int(model.get("inference_count", 0))

    before = rows()
    client.infer("digits", images(module, np.zeros((3, 64), np.float32)))
    assert rows() == before + 3


def test_digits_are_told(triton: Any) -> None:
    client, module = triton
    pixels, labels = digits()
    found = [client.infer("digits", images(module, pixels[at : at + 32])).as_numpy("label") for at in range(0, 320, 32)]
    assert (np.concatenate(found) == labels[:320]).mean() > 0.85


def test_an_answer_names_its_model_version_and_request(triton: Any) -> None:
    client, module = triton
    answer = told(client.infer("digits", images(module, np.zeros((1, 64), np.float32)), request_id="7").get_response())
    assert (answer["model_name"], answer["model_version"], answer["id"]) == ("digits", "3", "7")


def test_only_outputs_that_are_asked_for_come(triton: Any) -> None:
    client, module = triton
    wanted = [module.InferRequestedOutput("scores")]
    answer = client.infer("digits", images(module, np.zeros((2, 64), np.float32)), outputs=wanted)
    assert answer.as_numpy("scores").shape == (2, 10)
    assert answer.as_numpy("label") is None


def test_classes_come_with_their_scores_and_labels(triton: Any) -> None:
    client, module = triton
    pixels, labels = digits()
    wanted = [module.InferRequestedOutput("scores", class_count=2)]
    answer = client.infer("digits", images(module, pixels[:2]), outputs=wanted).as_numpy("scores")
    assert answer.shape == (2, 2)
    best = [each.decode().split(":") for each in answer[:, 0]]
    assert [int(index) for _, index, _ in best] == labels[:2].tolist()
    assert [label for _, _, label in best] == ["zero", "one"]


@pytest.mark.parametrize("compression", ["gzip", "deflate"])
def test_compressed_requests(triton: Any, compression: str) -> None:
    client, module = triton
    named = "request_compression_algorithm" if module is over_http else "compression_algorithm"
    answer = client.infer("digits", images(module, np.zeros((2, 64), np.float32)), **{named: compression})
    assert answer.as_numpy("scores").shape == (2, 10)


@pytest.mark.parametrize("binary", [True, False])
def test_json_and_bytes_give_the_same(server: ModelServer, binary: bool) -> None:
    pixels, _ = digits()
    wanted = [over_http.InferRequestedOutput("scores", binary_data=binary)]
    with over_http.InferenceServerClient(server.address) as client:
        answer = client.infer("digits", images(over_http, pixels[:3], binary_data=binary), outputs=wanted)
    with over_grpc.InferenceServerClient(f"127.0.0.1:{server.grpc}") as client:
        same = client.infer("digits", images(over_grpc, pixels[:3])).as_numpy("scores")
    assert np.array_equal(answer.as_numpy("scores"), same)


def test_many_requests_at_a_time(server: ModelServer) -> None:
    pixels, labels = digits()
    with over_http.InferenceServerClient(server.address, concurrency=8) as client:
        asked = [client.async_infer("digits", images(over_http, pixels[n : n + 1])) for n in range(100)]
        found = [each.get_result().as_numpy("label")[0] for each in asked]
    assert (np.array(found) == labels[:100]).mean() > 0.85


def test_a_stream_of_grpc_answers_each_request_also_after_one_failed(server: ModelServer) -> None:
    import queue

    answers: queue.Queue[Any] = queue.Queue()
    with over_grpc.InferenceServerClient(f"127.0.0.1:{server.grpc}") as client:
        client.start_stream(lambda result, error: answers.put((result, error)))
        client.async_stream_infer("digits", images(over_grpc, np.zeros((1, 64), np.float32)), request_id="1")
        client.async_stream_infer("digits", images(over_grpc, np.zeros((1, 63), np.float32)), request_id="2")
        client.async_stream_infer("digits", images(over_grpc, np.zeros((1, 64), np.float32)), request_id="3")
        first, second, third = (answers.get(timeout=60) for _ in range(3))
        client.stop_stream()
    assert first[0].get_response().id == "1"
    assert "the model takes [-1, 64]" in str(second[1])
    assert third[0].get_response().id == "3"


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda client, module: client.infer("cats", images(module, np.zeros((1, 64), np.float32))),
            "'cats' is not served",
        ),
        (
            lambda client, module: client.infer("digits", images(module, np.zeros((1, 64), np.float32)), "9"),
            "version '9' of 'digits' is not served here; there is 3",
        ),
        (
            lambda client, module: client.infer("digits", images(module, np.zeros((1, 63), np.float32))),
            "input 'x': shape is [1, 63], and the model takes [-1, 64] (-1: any length)",
        ),
        (
            lambda client, module: client.infer("digits", images(module, np.full((1, 64), np.nan, np.float32))),
            "input 'x': has NaN",
        ),
        (
            lambda client, module: client.infer("digits", images(module, np.zeros((33, 64), np.float32))),
            "33 rows, and a batch has at most 32",
        ),
        (
            lambda client, module: client.infer(
                "digits",
                images(module, np.zeros((1, 64), np.float32)),
                outputs=[module.InferRequestedOutput("class")],
            ),
            "output 'class' is unknown; the model gives 'label', 'scores'",
        ),
        (lambda client, _: client.get_model_metadata("cats"), "'cats' is not served"),
    ],
)
def test_errors_can_be_read(triton: Any, call: Any, words: str) -> None:
    with pytest.raises(InferenceServerException, match=r".*") as error:
        call(*triton)
    assert words in str(error.value)


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.get_system_shared_memory_status(),
        lambda client: client.register_system_shared_memory("a", "/a", 64),
        lambda client: client.get_cuda_shared_memory_status(),
        lambda client: client.load_model("digits"),
        lambda client: client.unload_model("digits"),
        lambda client: client.get_trace_settings(),
        lambda client: client.get_log_settings(),
    ],
)
def test_what_is_not_here_says_so(triton: Any, call: Any) -> None:
    client, module = triton
    with pytest.raises(InferenceServerException) as error:
        call(client)
    assert error.value.status() == ("501" if module is over_http else "StatusCode.UNIMPLEMENTED")


def test_a_tensor_in_shared_memory_is_refused(triton: Any) -> None:
    client, module = triton
    given = module.InferInput("x", [1, 64], "FP32")
    given.set_shared_memory("region", 256)
    with pytest.raises(InferenceServerException, match="shared memory is not served"):
        client.infer("digits", [given])


@pytest.fixture(scope="module")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelServer]:
    folder: Path = tmp_path_factory.mktemp("echo")
    (folder / "model.py").write_text(
        "KINDS = ['BOOL', 'UINT8', 'UINT16', 'UINT32', 'UINT64', 'INT8', 'INT16', 'INT32', 'INT64', 'FP16', 'BF16',\n"
        "         'FP32', 'FP64', 'BYTES']\n"
        "TENSORS = [{'name': kind, 'type': kind, 'shape': [-1], 'required': False} for kind in KINDS]\n"
        "class Echo:\n"
        "    inputs = TENSORS\n"
        "    outputs = [{**each} for each in TENSORS]\n"
        "    def predict(self, inputs, parameters):\n"
        "        import numpy as np\n"
        "        none = {kind: np.zeros(0, object if kind == 'BYTES' else 'f4' if kind == 'BF16' else\n"
        "                {'BOOL': '?', 'FP16': 'f2', 'FP32': 'f4', 'FP64': 'f8'}.get(kind, kind.lower()))\n"
        "                for kind in KINDS}\n"
        "        return {**none, **inputs}\n"
    )
    with model_server(folder, "--class", "model:Echo", "--name", "echo") as started:
        yield started


VALUES: dict[str, Any] = {
    "BOOL": np.array([True, False]),
    "UINT8": np.array([0, 255], np.uint8),
    "UINT16": np.array([0, 65535], np.uint16),
    "UINT32": np.array([0, 2**32 - 1], np.uint32),
    "UINT64": np.array([0, 2**64 - 1], np.uint64),
    "INT8": np.array([-128, 127], np.int8),
    "INT16": np.array([-32768, 32767], np.int16),
    "INT32": np.array([-(2**31), 2**31 - 1], np.int32),
    "INT64": np.array([-(2**63), 2**63 - 1], np.int64),
    "FP16": np.array([0.5, -65504], np.float16),
    "BF16": np.array([0.5, -3.0], ml_dtypes.bfloat16),
    "FP32": np.array([0.1, 3e38], np.float32),
    "FP64": np.array([0.1, 1e308], np.float64),
    "BYTES": np.array([b"one", "zwölf".encode(), b"\xff\x00"], np.object_),
}


@pytest.mark.parametrize("kind", VALUES)
@pytest.mark.parametrize("module", [over_http, over_grpc], ids=["http", "grpc"])
def test_every_datatype_comes_back_as_it_went(echo: ModelServer, kind: str, module: Any) -> None:
    value = VALUES[kind]
    address = echo.address if module is over_http else f"127.0.0.1:{echo.grpc}"
    with module.InferenceServerClient(address) as client:
        given = module.InferInput(kind, list(value.shape), kind)
        given.set_data_from_numpy(value)
        answer = client.infer("echo", [given], outputs=[module.InferRequestedOutput(kind)])
    assert np.array_equal(answer.as_numpy(kind), value)
