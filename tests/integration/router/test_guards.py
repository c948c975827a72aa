"""What a request must pass: keys, origins, rates, lengths, requests in flight; and how each refusal looks."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from events.process.replica_keys import HEADER, replica_key
from tests.integration.router.rig import SECRET, Issuer, Rig, revision, until, upstreams


def endpoint(**changes: Any) -> list[dict[str, Any]]:
    return [{"name": "rest", "type": "rest", "idempotent": True, **changes}]


def refused(answer: httpx.Response, status: int) -> str:
    """The words of an error as the Open Inference Protocol has it."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.json().keys() == {"error"}
    words: str = answer.json()["error"]
    return words


async def test_a_key_of_the_deployment_opens_it_until_it_is_revoked(router: Rig) -> None:
    issuer = Issuer()
    async with upstreams("a") as (a,), router.client() as client:
        table = router.table(
            revision(1, 10_000, a), endpoints=endpoint(authentication=True), keys={"issuer": issuer.public()}
        )
        path, deployment = f"/serve/local/default/{table['name']}/v2", table["deployment_id"]
        await router.put(table)

        async def asked(**headers: str) -> httpx.Response:
            return await client.get(path, headers={name.replace("_", "-"): value for name, value in headers.items()})

        good = issuer.token(aud=deployment, jti="one")
        assert (await asked(authorization=f"Bearer {good}")).status_code == 200
        assert (await asked(x_api_key=good)).status_code == 200
        assert (await asked(x_api_key=issuer.token(aud=[f"{deployment}/rest"], jti="two"))).status_code == 200
        assert not [request for request in a.got if {"authorization", "x-api-key"} & request["headers"].keys()]

        assert "a key of this deployment is needed" in refused(await asked(), 401)
        for wrong in (
            issuer.token(aud=deployment, jti="one", exp=1_000_000_000),
            issuer.token(aud=deployment, jti="one", iss="https://other.test"),
            Issuer().token(aud=deployment, jti="one"),
            good[:-6] + "AAAAAA",
            "nothing",
        ):
            refused(await asked(x_api_key=wrong), 401)
        for wrong in (
            issuer.token(aud="other.abc234", jti="one"),
            issuer.token(aud=f"{deployment}/graphql", jti="one"),
            issuer.token(jti="one"),
            issuer.token(aud=deployment),
        ):
            assert "the key is not for this endpoint" in refused(await asked(x_api_key=wrong), 403)

        await router.put({**table, "keys": {"issuer": issuer.public(), "revoked": ["zero", "one"]}})
        refused(await asked(x_api_key=good), 403)
        assert (await asked(x_api_key=issuer.token(aud=deployment, jti="two"))).status_code == 200
        # The issuer signs by other keys from now on.
        other = Issuer()
        await router.put({**table, "keys": {"issuer": other.public()}})
        refused(await asked(x_api_key=good), 401)
        assert (await asked(x_api_key=other.token(aud=deployment, jti="one"))).status_code == 200
        # Nobody can have a key of a deployment without an issuer.
        await router.put({**table, "keys": {}})
        assert (await asked(x_api_key=good)).status_code in (401, 403)
        assert len(a.got) == 5


async def test_before_the_first_key_every_request_lacks_one(router: Rig) -> None:
    async with upstreams("a") as (a,), router.client() as client:
        table = router.table(revision(1, 10_000, a), endpoints=endpoint(authentication=True))
        await router.put(table)
        path = f"/serve/local/default/{table['name']}/v2"
        assert "a key of this deployment is needed" in refused(await client.get(path), 401)
        for token in (Issuer().token(aud=table["deployment_id"], jti="one"), "nothing"):
            refused(await client.get(path, headers={"x-api-key": token}), 401)
        assert a.got == []


async def test_pages_of_other_origins_are_refused(router: Rig) -> None:
    async with upstreams("a") as (a,), router.client() as client:
        table = router.table(revision(1, 10_000, a), endpoints=endpoint(allowed_origins=["https://shop.example"]))
        path = f"/serve/local/default/{table['name']}/v2"
        await router.put(table)
        assert (await client.get(path)).status_code == 200
        answer = await client.get(path, headers={"origin": "https://shop.example"})
        assert answer.headers["access-control-allow-origin"] == "https://shop.example"
        for origin in ("https://evil.example", "https://shop.example.evil", "http://shop.example", "null"):
            assert "origin" in refused(await client.get(path, headers={"origin": origin}), 403)
        before = {"origin": "https://shop.example", "access-control-request-method": "POST"}
        answer = await client.options(path, headers=before)
        assert answer.status_code == 200
        assert "POST" in answer.headers["access-control-allow-methods"]
        assert len(a.got) == 2

        await router.put({**table, "endpoints": endpoint()})
        refused(await client.get(path, headers={"origin": "https://shop.example"}), 403)
        await router.put({**table, "endpoints": endpoint(allowed_origins=["*"])})
        assert (await client.get(path, headers={"origin": "https://any.example"})).status_code == 200


@pytest.mark.parametrize(("field", "longest"), [("requests_per_minute", 20), ("requests_per_hour", 1_200)])
async def test_each_caller_may_ask_so_often(router: Rig, field: str, longest: int) -> None:
    issuer = Issuer()
    async with upstreams("a") as (a,), router.client() as client:
        limited = endpoint(authentication=True, **{field: 3})
        given = {"endpoints": limited, "keys": {"issuer": issuer.public()}, "session": {"enabled": True}}
        table = router.table(revision(1, 10_000, a), **given)
        await router.put(table)

        async def asked(key: str, start: str = f"/serve/local/default/{table['name']}") -> httpx.Response:
            token = issuer.token(aud=table["deployment_id"], jti=key)
            return await client.post(f"{start}/v2", headers={"x-api-key": token})

        # By whatever way it comes, and whatever changes meanwhile: it is the same caller.
        assert (await asked("one")).status_code == 200
        await router.put({**table, "revisions": [revision(2, 10_000, a)]})
        assert (await asked("one")).status_code == 200
        assert (await asked("one", f"/v2/models/{table['name']}")).status_code == 200
        answer = await asked("one")
        assert "Retry-After" in refused(answer, 429)
        assert 1 <= int(answer.headers["retry-after"]) <= longest
        assert (await asked("two")).status_code == 200


async def test_without_keys_each_address_may_ask_so_often(router: Rig) -> None:
    async with upstreams("a") as (a,), router.client() as client:
        table = router.table(revision(1, 10_000, a), endpoints=endpoint(requests_per_minute=2))
        await router.put(table)
        path = f"/serve/local/default/{table['name']}/"
        forged = {"x-forwarded-for": "9.9.9.9"}
        found = [(await client.get(path, headers=headers)).status_code for headers in ({}, {}, {}, forged)]
        assert found == [200, 200, 429, 429]


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_longer_body_is_refused(router: Rig, chunked: bool) -> None:
    async def pieces() -> Any:
        for _ in range(20):
            yield b"x" * 100

    async with upstreams("a") as (a,), router.client() as client:
        table = router.table(revision(1, 10_000, a), endpoints=endpoint(max_body_bytes=1_000))
        path = f"/serve/local/default/{table['name']}/"
        await router.put(table)
        assert (await client.post(path, content=b"x" * 1_000)).json()["body"] == 1_000
        answer = await client.post(path, content=pieces() if chunked else b"x" * 1_001)
        assert "body is longer" in refused(answer, 413)
        assert [request["body"] for request in a.got] == [1_000]


async def test_more_requests_than_the_replicas_may_have_are_turned_away(router: Rig) -> None:
    async with upstreams("a", "b") as (a, b), router.client() as client:
        a.gate = b.gate = asyncio.Event()
        table = router.table(revision(1, 10_000, a, b), concurrency=2, retries={"attempts": 0})
        path = f"/serve/local/default/{table['name']}/"
        await router.put(table)
        open_ = [asyncio.create_task(client.get(path)) for _ in range(4)]
        await until(lambda: a.in_flight + b.in_flight == 4)
        answer = await client.get(path)
        assert "come again in a second" in refused(answer, 503)
        assert answer.headers["retry-after"] == "1"
        # With a replica fewer there is room for fewer; those that are under way go on.
        await router.put({**table, "revisions": [revision(1, 10_000, a)]})
        refused(await client.get(path), 503)
        a.gate.set()
        assert [(await task).status_code for task in open_] == [200] * 4
        assert (await client.get(path)).status_code == 200


async def test_a_silent_replica_is_answered_for(router: Rig) -> None:
    async with upstreams("a") as (a,), router.client() as client:
        a.gate = asyncio.Event()
        table = router.table(revision(1, 10_000, a), endpoints=endpoint(timeout_seconds=0.2))
        await router.put(table)
        assert "in the time" in refused(await client.get(f"/serve/local/default/{table['name']}/"), 504)
        a.gate.set()


async def test_what_nobody_serves_is_not_found(router: Rig) -> None:
    async with upstreams("a") as (a,), router.client() as client:
        table = router.table(revision(1, 10_000, a))
        name, deployment = table["name"], table["deployment_id"]
        await router.put(table)
        for path in ("/", f"/serve/local/default/{name}x/", f"/serve/local/other/{name}/", f"/v2/models/{name}x/infer"):
            assert "no deployment" in refused(await client.get(path), 404)
        for path in (f"/v2/models/{name}/infer?a=b", f"/v2/models/{deployment}/infer?a=b"):
            assert (await client.get(path)).json()["line"] == "GET /v2/models/digits/infer?a=b HTTP/1.1"
        assert (await client.get(f"/v2/models/{name}")).json()["line"] == "GET /v2/models/digits HTTP/1.1"
        assert (await client.get("/v2")).json()["name"] == "forgelog-router"
        router.give({**table, "terminated": True})
        await until(lambda: deployment not in router.companion.tables.now)
        await until(lambda: gone(client, f"/v2/models/{name}"))


async def gone(client: httpx.AsyncClient, path: str) -> bool:
    return (await client.get(path)).status_code == 404


async def test_the_oldest_of_one_name_has_the_name_alone(router: Rig) -> None:
    async with upstreams("first", "second") as (first, second), router.client() as client:
        mine = router.table(revision(1, 10_000, first), name="same", created_at="2026-01-01T00:00:00Z")
        theirs = {
            **router.table(revision(1, 10_000, second), name="same", created_at="2026-02-01T00:00:00Z"),
            "deployment_id": "same.zzz222",
            "project": "other/team",
        }
        await router.put(theirs)
        assert (await client.get("/v2/models/same")).json()["name"] == "second"
        await router.put(mine)
        assert (await client.get("/v2/models/same")).json()["name"] == "first"
        assert (await client.get("/v2/models/same.zzz222")).json()["name"] == "second"
        assert (await client.get("/serve/other/team/same/v2")).json()["name"] == "second"


async def test_the_platforms_own_headers_come_from_the_router_alone(router: Rig) -> None:
    async with upstreams("a") as (a,), router.client() as client:
        table = router.table(revision(1, 10_000, a))
        await router.put(table)
        given = {"X-Forgelog-Actor": "owner", "x-forgelog-": "1", "x-other": "kept", "x_forgelog_actor": "owner"}
        given[HEADER], id = "guessed", table["deployment_id"]
        answer = await client.get(f"/serve/local/default/{table['name']}/", headers=given)
        assert answer.headers["x-forgelog-revision"] == "1"
        got = answer.json()["headers"]
        assert {name: got[name] for name in got if "forgelog" in name} == {HEADER: replica_key(SECRET, id).lower()}
        assert got["x-other"] == "kept"
