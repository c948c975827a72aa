"""The gateway's checks: a caller without a key gets nothing, by any path; a web page gets nothing even with it."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from events.process.keys import new_api_key
from events.process.settings import Settings, SettingsError
from forgelog.client.keyed import KeyedChannel
from forgelog_pb.gateway.v1 import commands_pb2, commands_pb2_grpc
from services.gateway.catalog import Catalog
from services.gateway.errors import DoorError
from services.gateway.http import Http
from services.gateway.mlflow.door import MlflowDoor
from services.gateway.objects import MISSING, OBJECT, ObjectDoor
from services.gateway.openlineage import LINEAGE
from services.gateway.principal import Access, Principal
from services.gateway.servicer import SERVICE
from tests.unit.gateway.attacks import ATTACKS, BODY, JSON, Attack
from tests.unit.gateway.door import Door, door

CATALOG = Catalog()
NOBODY: Any = None
OBJECTS = ObjectDoor(NOBODY, NOBODY)
MLFLOW = MlflowDoor(NOBODY, NOBODY)
ROUTES = Http(NOBODY, NOBODY, CATALOG, NOBODY, NOBODY, NOBODY, OBJECTS, NOBODY, MLFLOW).application().routes
OPEN = ("/healthz", "/readyz")
QUERIES = tuple(f"/v1/query/{method.service}/{method.name}" for method in CATALOG.methods.values())
PATHS = (
    *(
        re.sub(r"\{(\w+)\}", lambda part: "1" if part[1] in ("number", "revision", "version") else "x", each.path)
        for each in ROUTES
        if each.path not in OPEN
    ),
    *QUERIES,
)
NO_PATHS = ("/no/such/path", "/v1/jobs/", "//evil.example/v1/jobs", "/healthz/", "/HEALTHZ", "/healthz/../v1/jobs")
REFLECTION = tuple(f"/grpc.reflection.{each}.ServerReflection/ServerReflectionInfo" for each in ("v1", "v1alpha"))
COMMANDS = tuple(f"/{SERVICE}/{each.name}" for each in commands_pb2.DESCRIPTOR.services_by_name["Commands"].methods)
RPCS = (
    *CATALOG.methods,
    *COMMANDS,
    "/forgelog.gateway.v1.Points/Log",
    *REFLECTION,
    "/grpc.health.v1.Health/Watch",
    "/no.such.Service/Call",
)


@pytest_asyncio.fixture(scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Door]:
    async with door(tmp_path_factory.mktemp("gateway")) as made:
        yield made


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.about)
async def test_what_a_web_page_can_send_is_refused(gateway: Door, attack: Attack) -> None:
    answer = await gateway.send(attack.request(gateway.address, gateway.credentials))
    assert answer.status == attack.status, answer
    assert attack.words in (json.loads(answer.body)["error"]["message"] if answer.body else ""), answer
    assert not {each for each in answer.headers if each.startswith("access-control")}
    without = await gateway.send(attack.request(gateway.address))
    assert without.status in (400, 401, 403), without


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "localhost"},
        {"Host": "LocalHost:7070"},
        {"Host": "[::1]:7070"},
        {"Host": "127.0.0.1:7070", "Origin": "http://127.0.0.1:7070", "Sec-Fetch-Site": "same-origin"},
        {"Host": "127.0.0.1", "Sec-Fetch-Site": "none"},
    ],
    ids=str,
)
async def test_its_own_names_and_pages_are_taken(gateway: Door, headers: dict[str, str]) -> None:
    attack = Attack("", 200, "", (), "/schemas", "GET", host=[headers.pop("Host")])
    answer = await gateway.send(attack.request(gateway.address, (*headers.items(), *gateway.credentials)))
    assert answer.status == 200, answer


async def test_a_target_may_be_a_whole_url(gateway: Door) -> None:
    attack = Attack("", 200, "", (), "http://HOST/schemas", "GET")
    assert (await gateway.send(attack.request(gateway.address, gateway.credentials))).status == 200


@pytest.mark.parametrize(
    ("target", "field"),
    [
        ("/v1/jobs?name=%ff", "name"),
        ("/v1/jobs?nam%ff=a", "query"),
        ("/v1/jobs?name=%c3%a9&project=%ed%a0%80", "project"),
        ("/v1/jobs/a%ffb", "path"),
        ("http://HOST/v1/jobs/a%ffb", "path"),
    ],
)
async def test_what_is_no_text_is_refused(gateway: Door, target: str, field: str) -> None:
    """Each such byte was U+FFFD, so what differs in them alone was the same."""
    attack = Attack("", 400, "", (), target, "GET")
    answer = await gateway.send(attack.request(gateway.address, gateway.credentials))
    error = json.loads(answer.body)["error"]
    assert (answer.status, error["errors"][0]["field"]) == (400, field)
    assert "is not text" in error["message"]


async def test_an_id_in_a_header_that_is_no_text_is_refused(gateway: Door) -> None:
    """Two of them were one id, and the second command a repeat of the first."""
    headers = (JSON, ("ce-type", "SubmitJob"), ("ce-id", "a%fe"), *gateway.credentials)
    answer = await gateway.ask("/v1/commands", "POST", *headers, body=b"{}")
    assert (answer.status, json.loads(answer.body)["error"]["errors"][0]["field"]) == (400, "ce-id")


async def test_a_name_that_is_set_is_taken(tmp_path: Path) -> None:
    async with door(tmp_path, gateway_hosts="forgelog.example, [fe80::1]") as gateway:
        for host, status in (("forgelog.example:443", 200), ("[FE80::1]:1", 200), ("evil.example", 403)):
            attack = Attack("", 200, "", (), "/schemas", "GET", host=[host])
            assert (await gateway.send(attack.request(gateway.address, gateway.credentials))).status == status


@pytest.mark.parametrize("hosts", ["forgelog.example:443", "https://forgelog.example", "a b", "*", "::1", "user@a"])
def test_a_name_that_is_none_is_said(hosts: str) -> None:
    with pytest.raises(
        SettingsError, match=r"^FORGELOG_GATEWAY_HOSTS: should be host names or addresses without ports"
    ):
        Settings.load(gateway_hosts=hosts)


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH"])
async def test_a_stranger_gets_nothing_at_any_path(gateway: Door, method: str) -> None:
    for path in (*PATHS, *NO_PATHS):
        answer = await gateway.ask(path, method, JSON, body=BODY.encode() if method == "POST" else b"")
        assert (answer.status, answer.headers["www-authenticate"]) == (401, "bearer"), (path, answer)
        if method != "HEAD":
            error = json.loads(answer.body)["error"]
            assert error["code"] == "unauthenticated"
            assert "is missing" in error["message"]
            assert "forgelog token" in error["message"]


@pytest.mark.parametrize(
    ("credentials", "problem"),
    [
        pytest.param(f"Bearer {new_api_key()}", "not this platform's", id="another key"),
        ("Bearer", "no bearer token"),
        ("Bearer ", "no bearer token"),
        ("Basic b3duZXI6b3duZXI=", "no bearer token"),
        ("KEY", "no bearer token"),
        ("Bearer KEYx", "not this platform's"),
        ("Bearer " + "x" * 10_000, "not this platform's"),
        ("Bearer ünïcode", "not this platform's"),
    ],
)
async def test_a_wrong_key_is_none(gateway: Door, credentials: str, problem: str) -> None:
    given = credentials.replace("KEY", gateway.key)
    for path in ("/v1/jobs", "/healthz", "/readyz"):
        answer = await gateway.ask(path, "GET", ("Authorization", given))
        assert answer.status == 401
        assert problem in answer.body
        assert gateway.key not in answer.body


@pytest.mark.parametrize(
    "line", [b"Authorization: Bearer %s\0", b"Authorization : Bearer %s", b"GET /v1/jobs?token=%s HTTP/9.9.9"]
)
async def test_a_head_that_is_none_is_not_repeated(gateway: Door, line: bytes) -> None:
    """If a caller misspells the header of a key, the key is in no error log."""
    secret = b"flk_5ecret"
    begun = b"" if line.startswith(b"GET") else b"GET /v1/jobs HTTP/1.1\r\nHost: localhost\r\n"
    answer = await gateway.send(begun + line % secret + b"\r\n\r\n")
    assert answer.status == 400
    assert "are not HTTP/1.1: illegal " in answer.body
    assert secret.decode() not in answer.body


async def test_two_keys_are_none(gateway: Door) -> None:
    other = ("Authorization", f"Bearer {new_api_key()}")
    answer = await gateway.ask("/v1/jobs", "GET", *gateway.credentials, other)
    assert (answer.status, "given twice" in answer.body) == (400, True)


async def test_a_stranger_is_told_yes_or_no(gateway: Door) -> None:
    assert json.loads((await gateway.ask("/healthz")).body) == {"status": "alive"}
    strange, known = await gateway.ask("/readyz"), await gateway.ask("/readyz", "GET", *gateway.credentials)
    assert (strange.status, json.loads(strange.body)) == (503, {"ready": False})
    assert (known.status, list(json.loads(known.body))) == (503, ["ready", "missing"])


async def call(channel: Any, path: str) -> tuple[grpc.StatusCode, str]:
    """How a call ends, and why, or that it is answered. (Calls of all kinds look the same on the wire.)"""
    try:
        async for _ in channel.stream_stream(path)(iter([b""]), timeout=20):
            break
    except grpc.aio.AioRpcError as error:
        return error.code(), error.details() or ""
    return grpc.StatusCode.OK, ""


@pytest.mark.parametrize("key", ["", "wrong"])
async def test_a_stranger_gets_nothing_by_any_rpc(gateway: Door, key: str) -> None:
    async with KeyedChannel(grpc.aio.insecure_channel(gateway.address), key) as channel:
        for path in RPCS:
            code, why = await call(channel, path)
            assert (code, "forgelog token" in why) == (grpc.StatusCode.UNAUTHENTICATED, True), path
        await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=20)


async def test_with_the_key_each_rpc_is_there(gateway: Door) -> None:
    async with KeyedChannel(grpc.aio.insecure_channel(gateway.address), gateway.key) as channel:
        for path in RPCS:
            code, _ = await call(channel, path)
            assert code not in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED), path


async def test_each_door_asks_whether_it_may(gateway: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """A door that forgot to ask would answer here."""

    def nobody(_: Access, principal: Principal, action: str) -> None:
        raise DoorError(grpc.StatusCode.PERMISSION_DENIED, f"{principal.name} may not do {action}")

    monkeypatch.setattr(Access, "authorize", nobody)
    posts = ("/v1/commands", MISSING, "/v1/query/x/x", LINEAGE)
    asked = [("GET", path, "") for path in PATHS if path not in posts]
    place = {"namespace": "file", "name": "/a"}
    event = {"eventType": "COMPLETE", "job": place, "run": {"runId": "r"}, "outputs": [place]}
    asked += [("POST", LINEAGE, json.dumps(event))]
    asked += [("POST", "/v1/commands", BODY), *(("POST", path, "{}") for path in (MISSING, *QUERIES))]
    asked += [("PUT", OBJECT.format(digest="4f" * 32), "{}")]
    for method, path, body in asked:
        answer = await gateway.ask(path, method, JSON, *gateway.credentials, body=body.encode())
        assert answer.status == 403, (path, answer)
    async with KeyedChannel(grpc.aio.insecure_channel(gateway.address), gateway.key) as channel:
        for path in (each for each in RPCS if each not in (*COMMANDS, "/no.such.Service/Call")):
            assert (await call(channel, path))[0] is grpc.StatusCode.PERMISSION_DENIED, path
        stub: Any = commands_pb2_grpc.CommandsStub(channel)
        command = commands_pb2.Command(type="SubmitJob", json=json.dumps(json.loads(BODY)["data"]).encode())
        for ask in (
            lambda: stub.Publish(commands_pb2.PublishRequest(command=command)),
            lambda: stub.PublishAndWait(commands_pb2.PublishAndWaitRequest(command=command)),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await ask()
            assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
        many = await stub.PublishMany(commands_pb2.PublishManyRequest(commands=[command]))
        assert "may not do forgelog.jobs.v1.SubmitJob" in many.outcomes[0].rejection.message


@pytest.mark.parametrize("way", ["plain", "structured", "binary", "batch", "grpc"])
async def test_the_actor_is_the_key_s_owner_and_never_the_caller_s_word(gateway: Door, way: str) -> None:
    body = json.loads(BODY)["data"]
    event = {"specversion": "1.0", "id": "a1", "source": "x", "type": "SubmitJob", "data": body}
    kinds = {
        "plain": ("application/json", {"type": "SubmitJob", "data": body, "actor": "ACTOR"}),
        "structured": ("application/cloudevents+json", {**event, "actor": "ACTOR"}),
        "batch": ("application/cloudevents-batch+json", [{**event, "actor": "ACTOR"}]),
        "binary": ("application/json", body),
    }
    for actor, problem in (("Ada Lovelace", "actor: is 'Ada Lovelace', but the key is owner's"), ("owner", "")):
        if way == "grpc":
            async with KeyedChannel(grpc.aio.insecure_channel(gateway.address), gateway.key) as channel:
                command = commands_pb2.Command(type="SubmitJob", json=json.dumps(body).encode(), actor=actor)
                stub: Any = commands_pb2_grpc.CommandsStub(channel)
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await stub.Publish(commands_pb2.PublishRequest(command=command))
                said = refused.value.details() or ""
        else:
            kind, data = kinds[way]
            headers = [("Content-Type", kind), *gateway.credentials]
            headers += [("ce-type", "SubmitJob"), ("ce-actor", actor)] if way == "binary" else []
            text = json.dumps(data).replace("ACTOR", actor).encode()
            said = (await gateway.ask("/v1/commands?wait=false", "POST", *headers, body=text)).body
        assert (problem or "takes no commands now") in said, said
