"""Given a router that answers as it likes, when a deployment is asked, then what is sent and what comes is readable."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from forgelog.client import inference, predicting
from forgelog.client.csv_inputs import read_table
from forgelog.errors import Busy, ForgelogError, InvalidInput, NotFound, Refused, Timeout, Unavailable
from forgelog.where import find_router

DESCRIBED = [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}]
ANSWER = {
    "model_name": "digits",
    "model_version": "3",
    "outputs": [
        {"name": "label", "datatype": "INT64", "shape": [2], "data": [7, 1]},
        {"name": "scores", "datatype": "FP32", "shape": [2, 2], "data": [0.1, 0.9, 0.5, 0.5]},
    ],
}


@pytest.fixture(autouse=True)
def _unnamed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (predicting.KEY, predicting.KEY_FILE, "FORGELOG_ROUTER"):
        monkeypatch.delenv(name, raising=False)


# What is sent


def test_an_input_gets_the_type_that_the_model_says_and_its_shape() -> None:
    sent = inference.request({"x": [[1, 2], [3, 4]]}, DESCRIBED, outputs=["label"], parameters={"k": 1})
    assert sent == {
        "inputs": [{"name": "x", "shape": [2, 2], "datatype": "FP32", "data": [1, 2, 3, 4]}],
        "outputs": [{"name": "label"}],
        "parameters": {"k": 1},
    }


def test_one_row_is_taken_for_one() -> None:
    (sent,) = inference.request({"x": [1, 2]}, DESCRIBED)["inputs"]
    assert (sent["shape"], sent["data"]) == ([1, 2], [1, 2])


@pytest.mark.parametrize(
    ("value", "shape", "datatype"),
    [
        ([[1, 2]], [1, 2], "INT64"),
        ([1, 2.5], [2], "FP64"),
        (["a"], [1], "BYTES"),
        ([[True]], [1, 1], "BOOL"),
        (3, [], "INT64"),
    ],
)
def test_without_a_description_the_values_say_their_type(value: Any, shape: list[int], datatype: str) -> None:
    (sent,) = inference.request({"x": value})["inputs"]
    assert (sent["shape"], sent["datatype"]) == (shape, datatype)


def test_an_array_of_numpy_is_a_list_of_lists() -> None:
    numpy = pytest.importorskip("numpy")
    (sent,) = inference.request({"x": numpy.ones((2, 2), dtype="float32")}, DESCRIBED)["inputs"]
    assert (sent["shape"], sent["data"]) == ([2, 2], [1.0, 1.0, 1.0, 1.0])


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({}, "input 'x' is missing"),
        ({"x": [[1, 2]], "y": [1]}, "input 'y' is none of the model's; they are x"),
        ({"x": [[1, 2], [3]]}, "has lists of 2 and of 1 items"),
        ({"x": [[1, 2], 3]}, "has a value where a list of 2 should be"),
        ({"x": [1, [2]]}, "has a list where a value should be"),
        ({"x": []}, "has an empty list"),
        ({"x": [[None, 1]]}, "has null"),
        ({"x": [["a", 1]]}, "mixes BYTES and INT64"),
    ],
)
def test_what_is_no_input_is_named(inputs: Any, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        inference.request(inputs, DESCRIBED)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"[1]", "is no JSON object"),
        (b"{", "is no JSON"),
        (b'{"x": [NaN]}', "is no JSON"),
        (b'{"inputs": [{"name": "x", "data": [1]}]}', "not each of them has name, shape, datatype and data"),
    ],
)
def test_what_is_no_file_of_inputs_is_said(text: bytes, said: str) -> None:
    with pytest.raises(InvalidInput, match=f"x.json: .*{said}"):
        predicting.read_inputs(text, "x.json")


def test_an_input_of_a_command_line() -> None:
    assert predicting.read_input("x=[[1,2]]", "--input") == ("x", [[1, 2]])
    for wrong, said in (
        ("x", "is not name=JSON"),
        ("=1", "is not name=JSON"),
        ("x=[1", "the value of x is no JSON"),
        ("x=Ada", "put a text in quotes"),
    ):
        with pytest.raises(InvalidInput, match=f"--input: .*{said}"):
            predicting.read_input(wrong, "--input")


# What comes back


def test_outputs_have_their_shapes_again_and_rows_for_tables() -> None:
    found = inference.values(ANSWER)
    assert found == {"label": [7, 1], "scores": [[0.1, 0.9], [0.5, 0.5]]}
    assert inference.rows(found) == [
        {"row": 0, "label": 7, "scores": [0.1, 0.9]},
        {"row": 1, "label": 1, "scores": [0.5, 0.5]},
    ]


@pytest.mark.parametrize(
    "answer", [{}, {"outputs": [{}]}, {"outputs": [{"name": "a", "shape": [2], "data": [1]}]}, {"outputs": 1}]
)
def test_what_is_no_answer_of_the_protocol_is_none(answer: Any) -> None:
    with pytest.raises(ValueError, match="none of the Open Inference Protocol"):
        inference.values(answer)


@pytest.mark.parametrize(
    ("status", "kind", "code", "said"),
    [
        (400, Refused, "invalid_argument", "shape"),
        (401, Refused, "unauthenticated", "forgelog keys issue"),
        (403, Refused, "permission_denied", "shape"),
        (404, NotFound, "not_found", "forgelog deployments show digits"),
        (413, Refused, "invalid_argument", "shape"),
        (429, Busy, "resource_exhausted", r"\(in 3 s\)"),
        (500, Refused, "internal", "status 500"),
        (501, Refused, "unimplemented", "shape"),
        (502, Unavailable, "unavailable", r"\(in 3 s\)"),
        (503, Unavailable, "unavailable", r"\(in 3 s\)"),
        (504, Timeout, "deadline_exceeded", "shape"),
    ],
)
def test_an_error_says_what_the_router_said_and_what_to_do(
    status: int, kind: type[ForgelogError], code: str, said: str
) -> None:
    with pytest.raises(kind, match=said) as caught:
        predicting.fail("digits", status, "wrong shape", "3")
    assert caught.value.code == code
    assert "digits: wrong shape" in str(caught.value)


def test_when_to_come_again_is_said_once() -> None:
    for words, told in (
        ("no replica is ready; come again in a second", "digits: no replica is ready; come again in a second"),
        (
            "too often; come again later, see Retry-After",
            "digits: too often; come again later, see Retry-After (in 1 s)",
        ),
    ):
        with pytest.raises(Unavailable) as caught:
            predicting.fail("digits", 503, words, "1")
        assert (str(caught.value), caught.value.retry_after) == (told, 1.0)


# Over the wire


@asynccontextmanager
async def router(*answers: tuple[int, dict[str, str], bytes]) -> AsyncIterator[tuple[str, list[dict[str, Any]]]]:
    """A router that gives these answers, one after the other, and keeps what it was asked."""
    waiting, got = list(answers), list[dict[str, Any]]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                got.append({"line": head[0], "headers": headers, "body": json.loads(body or b"null")})
                status, more, content = waiting.pop(0)
                lines = [f"HTTP/1.1 {status} Such", f"content-length: {len(content)}"]
                lines += [f"{name}: {value}" for name, value in more.items()]
                writer.write("\r\n".join([*lines, "", ""]).encode() + content)
        except asyncio.IncompleteReadError:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}", got


GOOD = (200, {"x-forgelog-revision": "2"}, json.dumps(ANSWER).encode())
MODEL = (200, {}, json.dumps({"name": "digits", "inputs": DESCRIBED}).encode())


async def ask(address: str, inputs: Any, **more: Any) -> predicting.Prediction:
    return await predicting.predict("digits", inputs, project="local/default", router=address, **more)


async def test_the_model_is_asked_for_its_inputs_then_the_request_goes_with_the_key() -> None:
    async with router(MODEL, GOOD) as (address, got):
        found = await ask(address, {"x": [[1, 2], [3, 4]]}, key="a.b.c")
    assert [each["line"] for each in got] == [
        "GET /v2/models/digits HTTP/1.1",
        "POST /v2/models/digits/infer HTTP/1.1",
    ]
    assert {each["headers"]["authorization"] for each in got} == {"bearer a.b.c"}
    assert (found.outputs["label"], found.model, found.version, found.revision) == ([7, 1], "digits", "3", 2)


async def test_a_request_of_the_protocol_goes_as_it_is() -> None:
    whole = {"id": "1", "inputs": [{"name": "x", "shape": [1], "datatype": "FP16", "data": [1]}]}
    async with router(GOOD) as (address, got):
        await ask(address, whole)
    assert [each["body"] for each in got] == [whole]
    assert "authorization" not in got[0]["headers"]


async def test_a_program_that_describes_nothing_gets_what_the_values_say() -> None:
    async with router((404, {}, b"{}"), GOOD) as (address, got):
        await ask(address, {"x": [[1]]})
    assert got[1]["body"]["inputs"][0]["datatype"] == "INT64"


async def test_a_table_is_sent_as_the_model_describes_its_inputs() -> None:
    table = read_table(b"a,b\n1,2\n", "rows.csv")
    async with router((200, {}, json.dumps({"inputs": DESCRIBED}).encode()), GOOD) as (address, got):
        await ask(address, table)
    (sent,) = got[1]["body"]["inputs"]
    assert (sent["shape"], sent["datatype"], sent["data"]) == ([1, 2], "FP32", [1.0, 2.0])
    async with router((404, {}, b'{"error": "there is no deployment"}')) as (address, _):
        with pytest.raises(NotFound, match="digits: there is no deployment"):
            await ask(address, table)


async def test_what_is_no_router_is_said() -> None:
    async with router((200, {}, b"<html>")) as (address, _):
        with pytest.raises(Unavailable, match="is there a router at"):
            await ask(address, {"x": [1]})
    with pytest.raises(Unavailable, match="can't be asked"):
        await ask(address, {"x": [1]})


async def test_an_error_without_json_is_said_as_it_is() -> None:
    async with router((503, {"retry-after": "2"}, b"no healthy\n upstream")) as (address, _):
        with pytest.raises(Unavailable, match="digits: no healthy upstream") as caught:
            await ask(address, {"x": [1]})
    assert caught.value.retry_after == 2.0


# Keys and routers


def test_a_key_is_given_or_of_the_environment_or_of_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.touch(0o600)
    file.write_text("of.the.file\n")
    assert predicting.find_key() == ""
    monkeypatch.setenv(predicting.KEY_FILE, str(file))
    assert predicting.find_key() == "of.the.file"
    monkeypatch.setenv(predicting.KEY, "of.the.environment")
    assert predicting.find_key() == "of.the.environment"
    assert predicting.find_key("given.to.it") == "given.to.it"
    file.chmod(0o644)
    monkeypatch.delenv(predicting.KEY)
    with pytest.raises(InvalidInput, match="can be read by other users"):
        predicting.find_key()


@pytest.mark.parametrize("key", ["a b", "é", "a\nb", " \n"])
def test_what_is_no_key_is_not_sent_and_not_shown(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(predicting.KEY, key)
    with pytest.raises(InvalidInput, match="FORGELOG_ENDPOINT_KEY: is no key") as caught:
        predicting.find_key()
    assert key not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("127.0.0.1:7080", "http://127.0.0.1:7080"),
        ("https://models.example", "https://models.example"),
        ("http://[::1]:7080/", "http://[::1]:7080"),
    ],
)
def test_a_router_is_a_url_or_an_address(given: str, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_router(given) == (url, False)
    monkeypatch.setenv("FORGELOG_ROUTER", given)
    assert find_router() == (url, False)


@pytest.mark.parametrize("given", ["ftp://a", "a:0", "a:70000", "http://user:secret@a", "a/b"])
def test_what_is_no_router_is_refused_and_not_shown(given: str) -> None:
    with pytest.raises(InvalidInput, match="is not the address of a router") as caught:
        find_router(given)
    assert "secret" not in str(caught.value)


def test_what_is_given_twice_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"^x\.json: key 'x' is given twice in one object; give it once$"):
        predicting.read_inputs(b'{"x": 1, "x": 2}', "x.json")
    with pytest.raises(InvalidInput, match=r"^--input: 'x' is given twice; give it once$"):
        predicting.read_pairs(["x=1", "y=2", "x=3"], "--input")
    assert predicting.read_pairs(["x=1", "y=[2]"], "--input") == {"x": 1, "y": [2]}


# Waiting until the router has a deployment


async def test_what_the_router_is_waited_for_is_told_once_and_the_wait_goes_on() -> None:
    unknown, told = (404, {}, b""), list[str]()
    async with router(unknown, unknown, unknown, (200, {"x-forgelog-revision": "1"}, b"")) as (address, got):
        waited = await predicting.routed("digits", answers=True, router=f"http://{address}", told=told.append, quiet=0)
    assert (waited, told, len(got)) == ("", ["the router does not know it yet"], 4)


async def test_a_wait_for_the_router_ends_with_what_it_lacked() -> None:
    async with router(*[(404, {}, b"")] * 50) as (address, _):
        waited = await predicting.routed("digits", answers=True, router=f"http://{address}", timeout=0.3)
    assert waited == "no router has it after 0.3 seconds: the router does not know it yet"
