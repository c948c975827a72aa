"""Requests wait where no replica is ready, and are answered when one is."""

from __future__ import annotations

import asyncio

import pytest

from tests.integration.router.rig import Rig, revision, until, upstreams


async def test_requests_at_zero_replicas_wait_and_are_answered(router: Rig) -> None:
    async with upstreams("a") as (a,), router.client() as client:
        table = router.table(revision(1, 10_000), concurrency=1_000)
        deployment, path = table["deployment_id"], f"/serve/local/default/{table['name']}/"
        await router.put(table)
        waiting = [asyncio.create_task(client.post(path, content=b"123")) for _ in range(50)]
        held = router.companion.holding.held
        await until(lambda: held[deployment] == 50)
        assert router.demanded[deployment] == 50
        await router.put({**table, "revisions": [revision(1, 10_000, a)]})
        answers = [await task for task in waiting]
        assert [(answer.status_code, answer.json()["body"]) for answer in answers] == [(200, 3)] * 50
        assert deployment not in held
        assert (await client.get(path)).status_code == 200


async def test_another_revision_may_get_ready_than_the_one_that_was_there(router: Rig) -> None:
    async with upstreams("b") as (b,), router.client() as client:
        table = router.table(revision(1, 10_000))
        await router.put(table)
        waiting = asyncio.create_task(client.get(f"/serve/local/default/{table['name']}/"))
        await until(lambda: router.companion.holding.held[table["deployment_id"]] == 1)
        await router.put({**table, "revisions": [revision(1, 0), revision(2, 10_000, b)]})
        assert (await waiting).json()["name"] == "b"


@pytest.mark.parametrize("ended", [False, True])
async def test_nobody_waits_in_vain_for_long(router: Rig, ended: bool) -> None:
    async with router.client() as client:
        table = router.table(revision(1, 10_000), cold_start_seconds=3_600 if ended else 0.1)
        await router.put(table)
        waiting = asyncio.create_task(client.get(f"/serve/local/default/{table['name']}/"))
        if ended:
            await until(lambda: router.companion.holding.held[table["deployment_id"]] == 1)
            router.give({**table, "terminated": True})
        answer = await waiting
        if ended:
            assert (answer.status_code, answer.json()) == (404, {"error": "the deployment has ended"})
        else:
            words = {"error": "no replica was ready within 0.1 s; come again in a second"}
            assert (answer.status_code, answer.headers["retry-after"], answer.json()) == (503, "1", words)


async def test_nobody_waits_for_a_replica_of_a_deployment_that_has_failed(router: Rig) -> None:
    async with router.client() as client:
        table = router.table(revision(1, 10_000), cold_start_seconds=3_600)
        path = f"/serve/local/default/{table['name']}/"
        await router.put(table)
        waiting = asyncio.create_task(client.get(path))
        await until(lambda: router.companion.holding.held[table["deployment_id"]] == 1)
        await router.put({**table, "cold_start_seconds": 0.0})
        for answer in (await waiting, await client.get(path)):
            assert answer.status_code == 503
            assert "none is waited for" in answer.json()["error"]
        assert router.demanded[table["deployment_id"]] == 2
