"""Requests that a model answers in a moment take a shorter way through the server, and are answered as others are."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from forgelog.serve import brief, starting
from forgelog.serve.callers import Callers
from forgelog.serve.engine import Engine
from forgelog.serve.http_door import HttpDoor
from forgelog.serve.runtimes import load_model
from forgelog.serve.runtimes.base import ModelFiles
from tests.serving.processes import PATIENCE, ModelServer, digits, model_server, write_digits_model

PATH = "/v2/models/digits/infer"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("models") / "digits"
    write_digits_model(made)
    return made


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[ModelServer]:
    with model_server(folder) as started:
        yield started


def body(pixels: Any = None, **more: Any) -> bytes:
    data = digits()[0][0].tolist() if pixels is None else pixels
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 64], "data": data}
    return json.dumps({"inputs": [tensor], "outputs": [{"name": "label"}], **more}).encode()


def request(content: bytes, path: str = PATH) -> bytes:
    return f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(content)}\r\n\r\n".encode() + content


class Talk:
    """A connection."""

    def __init__(self, server: ModelServer) -> None:
        self._socket = socket.create_connection(("127.0.0.1", server.http), timeout=PATIENCE)
        self._file = self._socket.makefile("rb")

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def answer(self) -> tuple[int, dict[str, str], Any]:
        """Status, headers and body of the next one."""
        status = int(self._file.readline().split()[1])
        headers = {}
        while line := self._file.readline().strip():
            name, _, value = line.decode().partition(": ")
            headers[name] = value
        return status, headers, json.loads(self._file.read(int(headers["content-length"])))

    def ask(self, data: bytes) -> tuple[int, dict[str, str], Any]:
        self.send(data)
        return self.answer()


def plain(answer: tuple[int, dict[str, str], Any]) -> Any:
    """An answer without its times."""
    status, headers, told = answer
    timing = re.sub(r"[\d.]+", "0", headers.pop("server-timing", ""))
    assert headers.pop("date").endswith(" GMT")
    return status, headers, timing, told


def test_all_answers_are_alike(server: ModelServer) -> None:
    talk = Talk(server)
    answers = [plain(talk.ask(request(body(id="7")))) for _ in range(3 * brief.CALLS)]
    assert answers[0][3]["outputs"] == [{"name": "label", "datatype": "INT64", "shape": [1], "data": [0]}]
    assert all(each == answers[0] for each in answers)
    (told,) = server.ask("GET", "/v2/models/digits/stats").json["model_stats"]
    assert told["inference_stats"]["success"]["count"] == len(answers)
    wrong = [plain(talk.ask(request(body([1.0] * 63)))), plain(talk.ask(request(b"{"))), plain(talk.ask(request(b"")))]
    assert [each[0] for each in wrong] == [400, 400, 400]
    assert wrong[0][3] == {"error": "input 'x': has 63 elements, and shape [1, 64] has 64"}
    assert "63 elements" in wrong[0][1]["x-forgelog-error"]


def test_requests_of_one_connection_are_answered_in_their_order(server: ModelServer) -> None:
    talk = Talk(server)
    health = b"GET /v2/health/live HTTP/1.1\r\nhost: localhost\r\n\r\n"
    many = [request(body(id="a")), health, request(body(id="b")), request(body([0.0] * 64, id="c")), health]
    talk.send(b"".join(many))
    found = [talk.answer()[2] for _ in many]
    assert [each.get("id", each.get("live")) for each in found] == ["a", True, "b", "c", True]


def test_a_body_may_come_in_pieces_and_a_client_may_leave(server: ModelServer) -> None:
    whole = request(body(id="pieces"))
    leaving = Talk(server)
    leaving.send(whole[:-5])
    leaving._file.close()
    leaving._socket.close()
    talk = Talk(server)
    for at in range(0, len(whole), 100):
        talk.send(whole[at : at + 100])
    assert talk.answer()[2]["id"] == "pieces"


async def engine_of(folder: Path) -> Engine:
    """One that knows that its model's calls are brief."""
    spec = starting.read([str(folder)], {}).spec
    engine = Engine(spec, load_model(ModelFiles(folder), spec.runtime, spec.model), print)
    await engine.start()
    assert engine._brief is not None
    for _ in range(brief.CALLS):
        engine._brief.took(64 * 4, 0.0)
    return engine


async def test_only_routers_are_answered(folder: Path) -> None:
    engine = await engine_of(folder)
    door = HttpDoor(engine, "1", callers=Callers("secret"))
    refused = door.answer(PATH.encode(), {"headers": []}, body())
    assert refused is not None
    assert refused[0].startswith(b"HTTP/1.1 403 Forbidden\r\n")
    answered = door.answer(PATH.encode(), {"headers": [(b"x-forgelog-replica-key", b"secret")]}, body())
    assert answered is not None
    assert answered[0].startswith(b"HTTP/1.1 200 OK\r\n")
    await engine.drain()
    stopped = door.answer(PATH.encode(), {"headers": [(b"x-forgelog-replica-key", b"secret")]}, body())
    assert stopped is not None
    assert stopped[0].startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: 1\r\n" in stopped[0]


async def test_a_request_that_takes_longer_is_read_once(folder: Path) -> None:
    engine = await engine_of(folder)
    door = HttpDoor(engine, "1")
    scope: dict[str, Any] = {"headers": [], "path": PATH, "method": "POST", "type": "http"}
    many = {"name": "x", "datatype": "FP32", "shape": [100, 64], "data": [0.0] * 6400}
    assert door.answer(PATH.encode(), scope, json.dumps({"inputs": [many]}).encode()) is None
    sent: list[Any] = []

    async def receive() -> Any:
        raise AssertionError("its body was read before")

    async def send(message: Any) -> None:
        sent.append(message)

    await door(scope, receive, send)
    assert sent[0]["status"] == 200
    assert len(json.loads(sent[1]["body"])["outputs"][0]["data"]) == 100
    await engine.drain()
