"""A request goes to the route that Starlette's own router would give it to, and few routes are compared with it."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import Match, Route

from services.gateway.http_answers import http_error
from services.gateway.routing import Routing
from tests.unit.gateway.test_gate import NO_PATHS, PATHS, ROUTES

ROUTING = Routing([route for route in ROUTES if isinstance(route, Route)])
METHODS = ("GET", "POST", "DELETE")


def taken(routes: Any, path: str, method: str) -> Any:
    """The route that takes a request, as Starlette finds it; None if none does."""
    scope = {"type": "http", "path": path, "method": method, "headers": []}
    return next((route for route in routes if route.matches(scope)[0] is Match.FULL), None)


def test_every_request_goes_to_the_same_route() -> None:
    for path in (*PATHS, *NO_PATHS, "/", "", "/v1", "/v1/no-such/x", "/api/2.0/mlflow/runs/create"):
        for method in METHODS:
            assert taken(ROUTING.candidates(path), path, method) is taken(ROUTES, path, method), (method, path)


def test_few_routes_are_compared_with_a_path_of_mlflow() -> None:
    assert len(ROUTES) > 100
    assert len(ROUTING.candidates("/api/2.0/mlflow/runs/create")) <= 5


def test_a_path_that_begins_with_a_variable_is_refused() -> None:
    with pytest.raises(ValueError, match=r"/\{any\}/x begins with a variable"):
        Routing([Route("/{any}/x", lambda _: None)])


@pytest.mark.parametrize(
    ("path", "instead"),
    [
        ("/v1/jbos", "did you mean /v1/jobs?"),
        ("/v1/jobs/", "did you mean /v1/jobs?"),
        ("/v1/jobs/j3slnqfnuxknb4/log", "did you mean /v1/jobs/{job_id}/logs?"),
        ("/v1/deployments/scorer/replica", "did you mean /v1/deployments/{deployment_id}/replicas?"),
        ("/v1/runs/x/zzzzzzzzzzzz", "there are /v1/runs, /v1/runs/{run_id}"),
        ("/zzz", "; / lists all paths"),
        ("/v1/" + "x" * 200, "; / lists all paths"),
    ],
)
async def test_a_path_that_is_none_is_told_with_those_that_are_near(path: str, instead: str) -> None:
    application = Starlette(exception_handlers={HTTPException: http_error})
    application.router = ROUTING
    transport = httpx.ASGITransport(app=application)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        answer = await client.get(path)
    text = answer.json()["error"]["message"]
    assert answer.status_code == 404
    assert instead in text
    assert len(text) < 1_500
