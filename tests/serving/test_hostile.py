"""Requests that are wrong, or meant to do harm: each gets one clear answer, while others are served."""

from __future__ import annotations

import gzip
import json
import socket
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from forgelog_pb.inference import grpc_service_pb2 as pb
from forgelog_pb.inference import grpc_service_pb2_grpc as pb_grpc
from tests.serving.processes import PATIENCE, ModelServer, model_server, write_digits_model

INFER = "/v2/models/digits/infer"
LIMIT = 1 << 20

SPEC = f"""
endpoints: [rest, grpc, websocket, graphql]
limits: {{max_body_bytes: {LIMIT}}}
batching: {{enabled: true, max_size: 8, timeout_ms: 0}}
schemas: {{request: [{{name: x, minimum: 0, maximum: 16}}]}}
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelServer]:
    folder: Path = tmp_path_factory.mktemp("digits")
    write_digits_model(folder)
    spec = folder.parent / "hostile.yaml"
    spec.write_text(SPEC)
    with model_server(folder, "--spec", spec, "--name", "digits") as started:
        yield started


@pytest.fixture
def server(running: ModelServer) -> Iterator[ModelServer]:
    """While a test runs, others are served: each of their requests must succeed."""
    stopped = threading.Event()
    failed: list[Any] = []

    def others() -> None:
        while not stopped.is_set():
            answer = running.infer("digits", x=("FP32", [1, 64], [0] * 64))
            if answer.status != 200:
                failed.append(answer)

    thread = threading.Thread(target=others)
    thread.start()
    yield running
    stopped.set()
    thread.join(PATIENCE)
    assert failed == []


def tensor(**changes: Any) -> dict[str, Any]:
    given = {"name": "x", "datatype": "FP32", "shape": [1, 64], "data": [0] * 64, **changes}
    return {name: value for name, value in given.items() if value is not None}


DEEP = b'{"inputs": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "the body is no JSON"),
        (b"{", "the body is no JSON"),
        (b"[]", "the body should be a JSON object"),
        (b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 64], "data": [NaN]}]}', "the body is no JSON"),
        (DEEP, "the body is no JSON"),
        (b'{"inputs": [], "inputs": []}', "key 'inputs' is given twice in one object"),
        (b'{"inputs": [{"name": "x", "shape": [1], "n\\u0061me": "y"}]}', "key 'name' is given twice in one object"),
        ({}, "inputs should be a list"),
        ({"inputs": {}}, "inputs should be a list"),
        ({"inputs": [7]}, "inputs has 7"),
        ({"inputs": []}, "input 'x' is missing"),
        ({"inputs": [tensor(), tensor()]}, "comes twice"),
        ({"inputs": [tensor(name=7)]}, "has no name"),
        ({"inputs": [tensor(name="y")]}, "input 'y' is unknown; the model takes 'x'"),
        ({"inputs": [tensor(datatype="FP128")]}, "datatype 'FP128' is none"),
        ({"inputs": [tensor(datatype="INT64")]}, "datatype is INT64, and the model takes FP32"),
        ({"inputs": [tensor(shape=[64])]}, "shape is [64], and the model takes [-1, 64]"),
        ({"inputs": [tensor(shape=[-1, 64])]}, "shape has -1"),
        ({"inputs": [tensor(shape=[1.0, 64])]}, "shape has 1.0"),
        ({"inputs": [tensor(shape=[True, 64])]}, "shape has True"),
        ({"inputs": [tensor(shape=[1 << 50, 64])]}, "shape has"),
        ({"inputs": [tensor(shape=[1 << 39, 64])]}, "has 64 elements, and shape"),
        ({"inputs": [tensor(shape=[0, 64], data=[])]}, "has no element; give at least one row"),
        ({"inputs": [tensor(shape=[1] * 33)]}, "at most 32 whole numbers"),
        ({"inputs": [tensor(data=None)]}, "data should be a list, and is missing"),
        ({"inputs": [tensor(data="0" * 64)]}, "data should be a list"),
        ({"inputs": [tensor(data=[0] * 63)]}, "has 63 elements, and shape [1, 64] has 64"),
        ({"inputs": [tensor(data=["0"] * 64)]}, "data has '0', and datatype FP32 takes numbers"),
        ({"inputs": [tensor(data=[None] * 64)]}, "data has None"),
        ({"inputs": [tensor(data=[True] * 64)]}, "data has True"),
        ({"inputs": [tensor(data=[[0] * 32, [0] * 32])]}, "data has shape [2, 32], and shape says [1, 64]"),
        ({"inputs": [tensor(data=[[0] * 32, [0] * 31])]}, "data is nested unevenly"),
        ({"inputs": [tensor(data=[[0] * 63, 0])]}, "data is nested unevenly"),
        ({"inputs": [tensor(data=[1e300] * 64)]}, "has NaN or an infinite number"),
        ({"inputs": [tensor(data=[17] * 64)]}, "has 17, and the most that is allowed is 16"),
        ({"inputs": [tensor(data=[-1] * 64)]}, "has -1, and the least that is allowed is 0"),
        ({"inputs": [tensor(shape=[9, 64], data=[0] * 576)]}, "9 rows, and a batch has at most 8"),
        ({"inputs": [tensor()], "outputs": [{"name": "z"}]}, "output 'z' is unknown"),
        ({"inputs": [tensor()], "outputs": [{"name": "label"}] * 2}, "outputs names one twice"),
        ({"inputs": [tensor()], "outputs": "label"}, "outputs should be a list"),
        ({"inputs": [tensor()], "id": 7}, "id should be a text"),
        ({"inputs": [tensor()], "parameters": []}, "parameters of the request should be an object"),
        ({"inputs": [tensor(parameters={"binary_data_size": 4})]}, "both data and binary_data_size"),
        (
            {"inputs": [tensor(data=None, parameters={"binary_data_size": 256})]},
            "binary_data_size is 256, and 0 bytes are left",
        ),
        (
            {"inputs": [tensor()], "outputs": [{"name": "scores", "parameters": {"classification": -1}}]},
            "classification should be a whole number",
        ),
    ],
)
def test_wrong_requests_are_answered_400(server: ModelServer, body: Any, words: str) -> None:
    answer = server.ask("POST", INFER, body)
    assert (answer.status, words in answer.error) == (400, True), answer


def binary(**changes: Any) -> bytes:
    given = tensor(data=None, parameters={"binary_data_size": 256}, **changes)
    return json.dumps({"inputs": [given]}).encode()


@pytest.mark.parametrize(
    ("length", "raw", "words"),
    [
        ("-1", bytes(256), "Inference-Header-Content-Length is '-1'"),
        ("9" * 30, bytes(256), "Inference-Header-Content-Length"),
        ("x", bytes(256), "Inference-Header-Content-Length is 'x'"),
        ("3", bytes(256), "the body is no JSON"),
        (None, bytes(256), "the body is no JSON"),
        ("", b"", "Inference-Header-Content-Length is ''"),
        ("right", bytes(255), "binary_data_size is 256, and 255 bytes are left"),
        ("right", bytes(257), "1 bytes are left behind the tensors"),
        ("right", np.full(64, np.nan, np.float32).tobytes(), "has NaN"),
        ("right", np.full(64, np.inf, np.float32).tobytes(), "has NaN or an infinite number"),
    ],
)
def test_wrong_lengths_are_answered_400(server: ModelServer, length: str | None, raw: bytes, words: str) -> None:
    head = binary()
    headers = (
        {} if length is None else {"Inference-Header-Content-Length": str(len(head)) if length == "right" else length}
    )
    answer = server.ask("POST", INFER, head + raw, headers)
    assert (answer.status, words in answer.error) == (400, True), answer


def packed(body: bytes) -> bytes:
    """Gzip without the time in it: the workers of a parallel run name tests by their values, each for itself."""
    return gzip.compress(body, mtime=0)


def test_a_bomb_is_inflated_up_to_the_limit_only(server: ModelServer) -> None:
    answer = server.ask("POST", INFER, gzip.compress(bytes(200 << 20)), {"Content-Encoding": "gzip"})
    assert (answer.status, answer.error) == (
        413,
        f"the body has more than {LIMIT:,} bytes when it is inflated; send less",
    )


@pytest.mark.parametrize(
    ("coding", "body", "status", "words"),
    [
        ("gzip", b"no gzip", 400, "the body is no gzip"),
        ("gzip", packed(b"{}" * 100)[:-9], 400, "the body ends within its gzip"),
        ("deflate", b"xx", 400, "the body is no deflate"),
        ("br", b"{}", 415, "content-encoding 'br' is not taken here; send gzip, deflate"),
        ("gzip, gzip", packed(packed(bytes(2 << 20))), 413, "when it is inflated"),
    ],
)
def test_wrong_codings(server: ModelServer, coding: str, body: bytes, status: int, words: str) -> None:
    answer = server.ask("POST", INFER, body, {"Content-Encoding": coding})
    assert (answer.status, words in answer.error) == (status, True), answer


@pytest.mark.parametrize("coding", ["gzip", "deflate", "raw deflate"])
def test_right_codings_are_read(server: ModelServer, coding: str) -> None:
    text = json.dumps({"inputs": [tensor()]}).encode()
    raw = zlib.compressobj(wbits=-15)
    made = {
        "gzip": gzip.compress(text),
        "deflate": zlib.compress(text),
        "raw deflate": raw.compress(text) + raw.flush(),
    }
    answer = server.ask("POST", INFER, made[coding], {"Content-Encoding": coding.split()[-1]})
    assert answer.status == 200, answer


def test_a_body_of_100_mb_is_refused_by_its_length_without_being_read(server: ModelServer) -> None:
    with socket.create_connection(("127.0.0.1", server.http), timeout=PATIENCE) as sent:
        sent.sendall(f"POST {INFER} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {100 << 20}\r\n\r\n".encode())
        answer = received(sent)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"the body has more than 1,048,576 bytes" in answer


def test_a_body_without_a_length_is_refused_once_it_is_too_long(server: ModelServer) -> None:
    with socket.create_connection(("127.0.0.1", server.http), timeout=PATIENCE) as sent:
        sent.sendall(f"POST {INFER} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        for _ in range(17):
            sent.sendall(b"10000\r\n" + bytes(0x10000) + b"\r\n")
        answer = received(sent)
    assert answer.startswith(b"HTTP/1.1 413 ")


def test_a_flood_of_headers_is_refused(server: ModelServer) -> None:
    with socket.create_connection(("127.0.0.1", server.http), timeout=PATIENCE) as sent:
        sent.sendall(b"GET /v2 HTTP/1.1\r\nHost: localhost\r\n")
        try:
            for number in range(100):
                sent.sendall(f"x-{number}: {'y' * 4000}\r\n".encode())
            answer = received(sent)
        except ConnectionError:
            return  # closed while it still sent
    assert answer.startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize(
    "head",
    [
        b"nonsense\r\n\r\n",
        b"POST /v2 HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
        b"POST /v2 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v2 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        b"GET /v2 HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked, identity\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
def test_what_is_no_request_is_answered_400(server: ModelServer, head: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.http), timeout=PATIENCE) as sent:
        sent.sendall(head)
        answer = received(sent)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b'{"error":"' in answer


def received(sent: socket.socket) -> bytes:
    found = b""
    while piece := sent.recv(65536):
        found += piece
        if b'"}' in piece:
            break
    return found


@pytest.mark.parametrize(
    ("method", "path", "status", "words"),
    [
        ("GET", "/", 404, "there is nothing at '/'; the model is at /v2/models/digits"),
        ("GET", "/v2/models/cats", 404, "model 'cats' is not served here; there is 'digits'"),
        ("POST", "/v2/models/digits/versions/9/infer", 404, "version '9' of 'digits'"),
        ("GET", "/v2/models/digits/nonsense", 404, "there is nothing at"),
        ("GET", "/v2/models/%2e%2e/%2e%2e/etc", 404, "there is nothing at"),
        ("GET", INFER, 405, "takes POST, not GET"),
        ("DELETE", "/v2/models/digits", 405, "takes GET, not DELETE"),
        ("POST", "/v2/repository/models/digits/load", 501, "is not served here"),
        ("GET", "/v2/systemsharedmemory/status", 501, "is not served here"),
    ],
)
def test_wrong_places(server: ModelServer, method: str, path: str, status: int, words: str) -> None:
    answer = server.ask(method, path, b"{}" if method == "POST" else None)
    assert (answer.status, words in answer.error) == (status, True), answer


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("{", "Syntax Error"),
        ("{ infer(x: " + "[" * 100_000 + "]" * 100_000 + ") { label } }", "nested too deeply"),
        ("{ infer(x: [[0]]) { label } }", "shape is [1, 1], and the model takes [-1, 64]"),
        ('{ infer(x: [["0"]]) { label } }', "Float cannot represent"),
        ("{ infer { label } }", "is required"),
        ("{ nothing }", "Cannot query field 'nothing'"),
    ],
)
def test_wrong_queries_say_what_is_wrong(server: ModelServer, query: str, words: str) -> None:
    answer = server.ask("POST", "/graphql", {"query": query}, {"Content-Type": "application/json"})
    (error,) = answer.json["errors"]
    assert words in error["message"]
    assert "Traceback" not in answer.body.decode()


def test_a_query_of_100_mb_is_refused(server: ModelServer) -> None:
    answer = server.ask("POST", "/graphql", bytes(2 << 20), {"Content-Type": "application/json"})
    assert answer.status == 413


async def test_messages_of_websockets_are_inflated_up_to_the_limit_only(server: ModelServer) -> None:
    from websockets.asyncio.client import connect
    from websockets.exceptions import ConnectionClosedError

    async with connect(f"ws://{server.address}{INFER}") as socket:
        await socket.send("0" * (100 << 20))
        with pytest.raises(ConnectionClosedError) as error:
            await socket.recv()
    assert error.value.rcvd is not None
    assert error.value.rcvd.code == 1009  # message too big: RFC 6455, 7.4.1


def grpc_request(**changes: Any) -> Any:
    request = pb.ModelInferRequest(model_name="digits")
    request.inputs.add(**{"name": "x", "datatype": "FP32", "shape": [1, 64], **changes})
    return request


def _contents(**fields: Any) -> Any:
    request = grpc_request()
    for name, values in fields.items():
        getattr(request.inputs[0].contents, name).extend(values)
    return request


def _raw(*raws: bytes, **changes: Any) -> Any:
    request = grpc_request(**changes)
    request.raw_input_contents.extend(raws)
    return request


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (grpc_request(), "has 0 elements, and shape [1, 64] has 64"),
        (_contents(fp32_contents=[0.0] * 63), "has 63 elements"),
        (_contents(int64_contents=[0] * 64), "has int64_contents (64), and FP32 comes in fp32_contents"),
        (_contents(fp32_contents=[float("nan")] * 64), "has NaN"),
        (_raw(bytes(255)), "has 255 bytes, and FP32 of shape [1, 64] has 256"),
        (_raw(bytes(256), bytes(256)), "raw_input_contents has 2 tensors, and inputs has 1"),
        (_raw(bytes(256), shape=[-1, 64]), "shape has -1"),
        (_raw(bytes(256), shape=[1 << 62, 64]), "shape has"),
        (_raw(bytes(256), datatype="FP32\n"), "datatype 'FP32\\n' is none"),
    ],
)
def test_wrong_messages_are_invalid_arguments(server: ModelServer, request_: Any, words: str) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc}") as channel, pytest.raises(grpc.RpcError) as error:
        pb_grpc.GRPCInferenceServiceStub(channel).ModelInfer(request_, timeout=PATIENCE)
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT  # type: ignore[attr-defined]
    assert words in error.value.details()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("sent", "code", "words"),
    [
        ("{", 4400, "is no JSON"),
        ("[" * 100_000, 4400, "is no JSON"),
        ("[]", 4400, "should be a JSON object with type"),
        (b"{}", 4400, "send text"),
        ('{"type": "subscribe", "id": "1", "payload": 3}', 4400, "payload should be an object"),
    ],
)
async def test_a_message_that_is_none_of_graphqls_closes_its_websocket_with_why(
    server: ModelServer, sent: str | bytes, code: int, words: str
) -> None:
    from websockets.asyncio.client import connect
    from websockets.exceptions import ConnectionClosed
    from websockets.typing import Subprotocol

    url = f"ws://{server.address}/graphql"
    async with connect(url, subprotocols=[Subprotocol("graphql-transport-ws")]) as socket:
        await socket.send('{"type": "connection_init"}')
        assert "connection_ack" in str(await socket.recv())
        await socket.send(sent)
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()
    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, words in closed.value.rcvd.reason) == (code, True), closed.value.rcvd


def test_bytes_that_are_no_message_and_calls_that_are_not_served_are_answered_in_words(server: ModelServer) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc}") as channel:
        told = []
        for method in ("ModelInfer", "ServerLive", "TraceSetting"):
            with pytest.raises(grpc.RpcError) as error:
                channel.unary_unary(f"/inference.GRPCInferenceService/{method}")(b"\xff", timeout=PATIENCE)
            told.append((error.value.code().name, error.value.details()))  # type: ignore[attr-defined]
        stream = channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")
        good = _contents(fp32_contents=[0.0] * 64).SerializeToString()
        answers = [
            pb.ModelStreamInferResponse.FromString(each) for each in stream(iter([b"\xff", good]), timeout=PATIENCE)
        ]
    assert [code for code, _ in told] == ["INVALID_ARGUMENT", "INVALID_ARGUMENT", "UNIMPLEMENTED"]
    assert "can't be decoded" in told[0][1]
    assert "are not served here" in told[2][1]
    assert "can't be decoded" in answers[0].error_message
    assert [each.error_message for each in answers[1:]] == [""]


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
def test_a_message_of_100_mb_is_refused_also_when_it_is_compressed(server: ModelServer, compression: Any) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc}") as channel, pytest.raises(grpc.RpcError) as error:
        pb_grpc.GRPCInferenceServiceStub(channel).ModelInfer(
            _raw(bytes(100 << 20)), timeout=PATIENCE, compression=compression
        )
    assert error.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED  # type: ignore[attr-defined]
