"""Given a client of a project, when it asks for something by its name, then that project's is meant."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from forgelog import AsyncClient, NotFound
from forgelog.client import aio
from forgelog.client.core import namespace

LAB = "lab/vision"

Ask = Callable[[AsyncClient], Coroutine[Any, Any, Any]]


async def asked(ask: Ask, project: str | None) -> Any:
    """The first request of what a client of a project does."""
    requests: list[Any] = []

    async def call(_method: Any, request: Any, **_more: Any) -> Any:
        requests.append(request)
        raise NotFound("there is none")

    client = AsyncClient("localhost:1", project=project, token="none")
    client._core.connection.call = call  # type: ignore[method-assign]
    with pytest.raises(NotFound):
        await ask(client)
    await client.close()
    return requests[0]


@pytest.mark.parametrize(
    "ask",
    [
        lambda client: client.experiments.get(name="digits"),
        lambda client: client.tunings.get(name="digits"),
        lambda client: client.models.get("digits"),
        lambda client: client.models.version("digits@champion"),
        lambda client: client.datasets.get("digits/2"),
        lambda client: client.templates.get("digits"),
    ],
)
@pytest.mark.parametrize(("own", "meant"), [(LAB, LAB), (None, "local/default")])
async def test_a_name_is_one_of_the_client_s_project(
    ask: Ask, own: str | None, meant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FORGELOG_PROJECT", raising=False)
    request = await asked(ask, own)
    assert (request.project, request.name) == (meant, "digits")


async def test_another_project_may_be_named() -> None:
    request = await asked(lambda client: client.tunings.get(name="digits", project="lab/audio"), LAB)
    assert request.project == "lab/audio"


def test_no_call_means_a_project_that_the_client_was_not_made_for() -> None:
    named = [
        f"{method.__qualname__}: {given.default!r}"
        for each in vars(aio.AsyncClient).values()
        if isinstance(each, namespace)
        for method in vars(each.kind).values()
        if inspect.isfunction(method)
        for given in inspect.signature(method).parameters.values()
        if given.name == "project" and given.default
    ]
    assert named == []
