"""A key of an endpoint, from its issue to its end: its token is told once, to one caller, and is kept nowhere."""

from __future__ import annotations

import base64
import json
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import pytest
from aiokafka import AIOKafkaConsumer

from events.language.deployments.events import RoutingChanged
from events.log.access import client_options
from forgelog import AsyncClient
from forgelog.errors import NotFound, Refused
from forgelog_pb.deployments.v1 import key_queries_pb2 as pb
from forgelog_pb.deployments.v1 import key_queries_pb2_grpc as rpc
from tests.integration.calm import Calm
from tests.integration.cluster import Cluster


@pytest.fixture(scope="module")
async def platform(calm: Calm) -> Cluster:
    return await calm.platform()


@pytest.fixture(scope="module")
async def client(platform: Cluster) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(platform.gateway, token=platform.key) as client:
        yield client


@pytest.fixture(scope="module")
async def deployment(client: AsyncClient) -> str:
    """One without replicas."""
    return await client.deployments.create("keyed", {"command": "sleep", "args": ["1000"], "replicas": 0})


def claims(token: str) -> Any:
    part = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


async def test_its_issuer_gets_a_token_once_and_routers_refuse_a_revoked_key(
    platform: Cluster, client: AsyncClient, deployment: str
) -> None:
    issued = await client.endpoint_keys.issue("keyed", "the shop", ttl_seconds=3600, endpoints=["rest"])
    said = claims(issued.token)
    assert (said["aud"], said["sub"], said["exp"] - said["iat"]) == ([f"{deployment}/rest"], "the shop", 3600)
    assert (said["jti"], issued.key.issued_by) == (issued.key.key_id, "owner")
    assert issued.token not in repr(issued)

    wanted = pb.SignEndpointKeyRequest(deployment_id=deployment, key_id=issued.key.key_id)
    async with platform.channel() as channel:
        with pytest.raises(grpc.aio.AioRpcError, match="was handed over already") as again:
            await rpc.KeyQueriesStub(channel).SignEndpointKey(wanted)
    assert again.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    async with platform.service_channel("deployments") as channel:  # the platform itself is not its issuer
        with pytest.raises(grpc.aio.AioRpcError, match="who alone gets its token") as other:
            await rpc.KeyQueriesStub(channel).SignEndpointKey(wanted)
    assert other.value.code() is grpc.StatusCode.PERMISSION_DENIED

    await client.endpoint_keys.revoke("keyed", issued.key.key_id, reason="it leaked")
    told = await platform.event(RoutingChanged, lambda event: issued.key.key_id in event.table.keys.revoked)
    assert told.table.deployment_id == deployment
    assert issued.key.key_id not in [row.key_id for row in await client.endpoint_keys.list("keyed")]
    (row,) = await client.endpoint_keys.list("keyed", ended=True, name="SHOP")
    assert (row.revoked_by, row.reason, row.endpoints) == ("owner", "it leaked", ["rest"])


async def test_what_is_wrong_is_said_on_each_door(platform: Cluster, client: AsyncClient, deployment: str) -> None:
    with pytest.raises(Refused, match="has no endpoint nosuch; its endpoints are rest"):
        await client.endpoint_keys.issue("keyed", "shop", endpoints=["nosuch"])
    with pytest.raises(Refused, match="ttl_seconds"):
        await client.endpoint_keys.issue("keyed", "shop", ttl_seconds=5)
    with pytest.raises(Refused, match="there is no deployment 'nosuch'"):
        await client.endpoint_keys.issue("nosuch", "shop")
    with pytest.raises(NotFound, match="nosuch"):
        await client.endpoint_keys.list("nosuch")
    async with platform.http() as http:
        path = "/v1/query/KeyQueries/SignEndpointKey"
        for body, status, words in (
            ({}, 400, "deployment_id: is empty"),
            ({"deployment_id": deployment}, 400, "key_id: is empty"),
            ({"deployment_id": deployment, "key_id": "nosuch"}, 404, "there is no key"),
            ({"deployment_id": deployment, "key_id": "a", "token": "b"}, 400, "token"),
        ):
            answer = await http.post(path, json=body)
            assert answer.status_code == status, answer.text
            assert words in answer.text
        assert (await http.get("/v1/deployments/nosuch/keys")).status_code == 404
        assert "keys" in (await http.get("/v1/endpoint-keys", params={"name": "shop"})).json()


async def test_by_the_command_line(platform: Cluster, deployment: str, tmp_path: Path) -> None:
    issued = await platform.command(
        tmp_path, "keys", "issue", deployment, "--name", "ci", "--ttl", "2h", "--into", "token"
    )
    assert issued.returncode == 0, issued.stderr
    assert stat.S_IMODE((tmp_path / "token").stat().st_mode) == 0o600
    token = (tmp_path / "token").read_text().strip()
    assert claims(token)["aud"] == deployment
    assert token not in issued.stdout + issued.stderr
    listed = json.loads((await platform.command(tmp_path, "keys", "ls", deployment, "-o", "json")).stdout)
    assert [row["name"] for row in listed][:1] == ["ci"]
    assert token not in str(listed)
    there = await platform.command(tmp_path, "keys", "issue", deployment, "--name", "ci", "--into", "token")
    assert (there.returncode, "token is there; name a new file" in there.stderr) == (2, True)
    wrong = await platform.command(tmp_path, "keys", "issue", deployment, "--name", "ci", "--ttl", "soon")
    assert (wrong.returncode, "--ttl: 'soon' is not a duration" in wrong.stderr) == (2, True)
    revoked = await platform.command(tmp_path, "keys", "revoke", deployment, "ci", "--reason", "done")
    assert revoked.returncode == 0, revoked.stderr
    again = await platform.command(tmp_path, "keys", "revoke", deployment, "ci")
    assert (again.returncode, "has no good key 'ci'" in again.stderr) == (1, True)


async def test_token_and_private_key_are_kept_nowhere(platform: Cluster, client: AsyncClient, deployment: str) -> None:
    issued = await client.endpoint_keys.issue(deployment, "planted")
    keys = platform.folder / "keys"
    private = (keys / "endpoints.key").read_text().strip()
    planted = [private.encode(), base64.urlsafe_b64decode(private + "="), issued.token.encode()]
    planted.append(issued.token.rpartition(".")[2].encode())  # the signature
    known = issued.key.key_id.encode()  # what is looked through is not empty

    records = [content async for content in _records(platform)]
    assert any(known in content for content in records)
    rows = [content async for content in _rows(platform)]
    assert any(known in content for content in rows)
    files = [each for each in platform.folder.rglob("*") if each.is_file() and each != keys / "endpoints.key"]
    assert files
    for content in (*records, *rows, *(each.read_bytes() for each in files)):
        for secret in planted:
            assert secret not in content


async def _records(platform: Cluster) -> AsyncIterator[bytes]:
    """All that is in the platform's topics: keys, headers, values."""
    async with AIOKafkaConsumer(**client_options(platform.settings)) as asked:
        topics = [topic for topic in await asked.topics() if topic.startswith(platform.settings.prefix)]
    async with AIOKafkaConsumer(*topics, **client_options(platform.settings), auto_offset_reset="earliest") as consumer:
        ends = await consumer.end_offsets([*consumer.assignment()])
        while any([await consumer.position(place) < end for place, end in ends.items()]):
            for records in (await consumer.getmany(timeout_ms=500)).values():
                for record in records:
                    yield b"|".join([record.key or b"", record.value or b"", *(value for _, value in record.headers)])


async def _rows(platform: Cluster) -> AsyncIterator[bytes]:
    """All that is in the platform's tables, row by row as text."""
    db = await asyncpg.connect(platform.settings.postgres_required)
    try:
        found = "select table_schema, table_name from information_schema.tables where table_schema like $1"
        for schema, table in await db.fetch(found, f"{platform.settings.schema_}%"):
            for (row,) in await db.fetch(f'select t::text from "{schema}"."{table}" t'):
                yield row.encode()
    finally:
        await db.close()
