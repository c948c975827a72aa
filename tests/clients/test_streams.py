"""Answers part by part, by the clients that people have: an SSE reader, websockets, gql, and gRPC with reflection."""

from __future__ import annotations

import json
import re
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from gql import Client, gql
from gql.transport.exceptions import TransportQueryError
from gql.transport.httpx import HTTPXAsyncTransport
from gql.transport.websockets import WebsocketsTransport
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from websockets.asyncio.client import connect

from tests.serving import counting
from tests.serving.processes import ModelServer, model_server


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("counting")
    shutil.copyfile(counting.__file__, folder / "counting.py")
    return folder


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[ModelServer]:
    with model_server(folder, "--class", "counting:Counting", "--name", "counting", "--graphql") as started:
        yield started


def events(server: ModelServer, body: Any) -> Iterator[Any]:
    """The data of Server-Sent Events (WHATWG HTML, 9.2), each as it comes."""
    url = f"http://{server.address}/v2/models/counting/generate_stream"
    with httpx.stream("POST", url, json=body, timeout=60) as response:
        assert response.headers["content-type"].startswith("text/event-stream"), response.read()
        for line in response.iter_lines():
            if line.startswith("data: "):
                yield json.loads(line.removeprefix("data: "))


def test_events_come_for_each_part(server: ModelServer) -> None:
    found = [(each["text"], each["number"]) for each in events(server, {"prompt": "a b c"})]
    assert found == [("a", 0), ("b", 1), ("c", 2)]


def test_the_times_of_a_stream_are_in_its_trailer(server: ModelServer) -> None:
    body = b'{"prompt": "a b"}'
    head = "POST /v2/models/counting/{} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.http), timeout=60) as asked:
        asked.sendall(head.format("generate_stream", len(body)).encode() + body)
        answer = b"".join(iter(lambda: asked.recv(65_536), b""))
    trailer = answer.rpartition(b"\r\n0\r\n")[2]
    assert re.fullmatch(rb"server-timing: pre;dur=0.000, infer;dur=[\d.]+, post.*\r\n\r\n", trailer), answer
    whole = server.ask("POST", "/v2/models/counting/generate", {"prompt": "a"})
    assert "infer;dur=" in whole.headers["server-timing"]


def test_an_event_comes_before_the_next_part_is_made(server: ModelServer) -> None:
    prompt = "first " + "wait " * 200  # ten seconds
    began = time.monotonic()
    assert next(events(server, {"prompt": prompt}))["text"] == "first"
    assert time.monotonic() - began < 5


def test_a_model_makes_no_more_parts_when_nobody_reads(server: ModelServer, folder: Path) -> None:
    (folder / "closed").unlink(missing_ok=True)
    reading = events(server, {"prompt": "wait " * 10_000})
    next(reading)
    reading.close()  # type: ignore[attr-defined]
    until = time.monotonic() + 60
    while not (folder / "closed").exists():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_a_request_of_infer_is_streamed_in_its_own_form(server: ModelServer) -> None:
    request = {"id": "7", "inputs": [{"name": "prompt", "datatype": "BYTES", "shape": [1], "data": ["a b"]}]}
    first, second = events(server, request)
    assert first["id"] == "7"
    assert [each["outputs"][0]["data"] for each in (first, second)] == [["a"], ["b"]]


def test_what_fails_on_the_way_is_the_last_event(server: ModelServer) -> None:
    *_, last = events(server, {"prompt": "a fail c"})
    assert last == {"error": "the model failed: ValueError: told to"}


def test_what_is_wrong_from_the_start_is_no_stream(server: ModelServer) -> None:
    answer = server.ask("POST", "/v2/models/counting/generate_stream", {"prompt": 7})
    assert (answer.status, answer.error) == (400, "input 'prompt': data has 7, and datatype BYTES takes texts")


def test_generate_gives_a_single_part(server: ModelServer) -> None:
    assert server.ask("POST", "/v2/models/counting/generate", {"prompt": "one"}).json["text"] == "one"
    assert "in 2 parts" in server.ask("POST", "/v2/models/counting/generate", {"prompt": "one two"}).error


def message(text: str, **more: Any) -> str:
    return json.dumps({"inputs": [{"name": "prompt", "datatype": "BYTES", "shape": [1], "data": [text]}], **more})


async def test_websockets_answer_each_message(server: ModelServer) -> None:
    async with connect(f"ws://{server.address}/v2/models/counting/infer") as socket:
        await socket.send(message("one", id="1"))
        await socket.send("no json")
        await socket.send(message("two", id="2").encode())
        first, wrong, second = [json.loads(await socket.recv()) for _ in range(3)]
    assert (first["id"], first["outputs"][0]["data"]) == ("1", ["ONE"])
    assert wrong["error"].startswith("the body is no JSON")
    assert wrong["code"] == "invalid_argument"
    assert (second["id"], second["outputs"][1]["data"]) == ("2", [3])


async def test_websockets_stream(server: ModelServer) -> None:
    async with connect(f"ws://{server.address}/v2/models/counting/infer") as socket:
        await socket.send(message("a b", id="1", parameters={"stream": True}))
        parts = [json.loads(await socket.recv()) for _ in range(3)]
    assert [each["outputs"][0]["data"] for each in parts[:2]] == [["a"], ["b"]]
    assert parts[2] == {"id": "1", "final": True}


async def test_graphql_answers_queries(server: ModelServer) -> None:
    async with Client(
        transport=HTTPXAsyncTransport(f"http://{server.address}/graphql"), fetch_schema_from_transport=True
    ) as session:
        asked = gql('query { infer(prompt: ["one"]) { text number } model { name ready inputs { name datatype } } }')
        answer = await session.execute(asked)
    assert answer["infer"] == {"text": ["ONE"], "number": [3]}
    assert answer["model"]["inputs"] == [{"name": "prompt", "datatype": "BYTES"}]


async def test_graphql_takes_variables_and_says_what_is_wrong(server: ModelServer) -> None:
    async with Client(transport=HTTPXAsyncTransport(f"http://{server.address}/graphql")) as session:
        asked = gql("query ($prompt: [String!]!) { infer(prompt: $prompt) { text } }")
        asked.variable_values = {"prompt": ["a", "b"]}
        with pytest.raises(TransportQueryError) as error:
            await session.execute(asked)
    (said,) = error.value.errors or ()
    assert said["message"] == "input 'prompt': shape is [2], and the model takes [1]"
    assert said["extensions"]["code"] == "invalid_argument"


async def test_graphql_subscriptions_give_each_part(server: ModelServer) -> None:
    async with Client(transport=WebsocketsTransport(f"ws://{server.address}/graphql")) as session:
        asked = gql('subscription { generate(prompt: ["a b"]) { text number } }')
        found = [each["generate"] async for each in session.subscribe(asked)]
    assert found == [{"text": ["a"], "number": [0]}, {"text": ["b"], "number": [1]}]


def test_a_client_that_knows_nothing_finds_the_service_by_reflection(server: ModelServer) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc}") as channel:
        found = ProtoReflectionDescriptorDatabase(channel)
        assert {"inference.GRPCInferenceService", "grpc.health.v1.Health"} <= set(found.get_services())
        pool = DescriptorPool(found)
        method = pool.FindServiceByName("inference.GRPCInferenceService").FindMethodByName("ModelInfer")
        request, response = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
        call = channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer", request.SerializeToString, response.FromString
        )
        asked = request(model_name="counting")
        asked.inputs.add(name="prompt", datatype="BYTES", shape=[1]).contents.bytes_contents.append(b"one")
        answer, ended = call.with_call(asked, timeout=60)
    assert answer.raw_output_contents[0][4:] == b"ONE"
    assert dict(ended.trailing_metadata())["server-timing"].startswith("pre;dur=")


def test_grpc_streams_parts_and_says_which_is_the_last(server: ModelServer) -> None:
    from queue import Queue

    import numpy as np
    import tritonclient.grpc as triton

    answers: Queue[Any] = Queue()
    given = triton.InferInput("prompt", [1], "BYTES")
    given.set_data_from_numpy(np.array([b"a b"], dtype=object))
    with triton.InferenceServerClient(f"127.0.0.1:{server.grpc}") as client:
        client.start_stream(lambda result, error: answers.put((result, error)))
        client.async_stream_infer("counting", [given], enable_empty_final_response=True)
        found = [answers.get(timeout=60)[0] for _ in range(3)]
        client.stop_stream()
    assert [each.as_numpy("text").tolist() for each in found[:2]] == [[b"a"], [b"b"]]
    finals = [each.get_response().parameters["triton_final_response"].bool_param for each in found]
    assert finals == [False, False, True]
