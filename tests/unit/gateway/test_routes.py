"""What HTTP asks a query by stands in the options of its rpc: paths, what they set, in which form they answer."""

from __future__ import annotations

import base64
import json
import re
import textwrap
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import grpc
import httpx
import pytest
import pytest_asyncio
from google.api.annotations_pb2 import http as bindings
from google.api.http_pb2 import HttpRule
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions
from google.protobuf.message import Message

from events.language.contexts import contexts
from forgelog_pb.jobs.v1.queries_pb2 import FollowLogsResponse
from forgelog_pb.query.v1 import options_pb2
from proto.generate import ROOT
from proto.summaries import first_sentence
from services.gateway.catalog import Catalog, Method
from services.gateway.routes import QueryRoute, RouteError, query_routes, routes_of
from tests import PATIENCE
from tests.unit.gateway.door import door

CATALOG = Catalog()
ROUTES = query_routes(CATALOG)

PATHS = {
    "/v1/allocations": "ListAllocations",
    "/v1/allocations/{allocation_id}": "GetAllocation",
    "/v1/jobs": "ListJobs",
    "/v1/jobs/{job_id}": "GetJob",
    "/v1/jobs/{job_id}/attempts": "ListAttempts",
    "/v1/jobs/{job_id}/chunks": "FollowLogs",
    "/v1/jobs/{job_id}/logs": "FollowLogs",
    "/v1/jobs/{job_id}/tasks": "ListTasks",
    "/v1/jobs/{job_ids}/watch": "WatchJobs",
    "/v1/jobs/{job_id}/why": "ExplainJob",
    "/v1/log/{context}/deadletters": "ListDeadLetters",
    "/v1/log/{context}/events": "WatchEvents",
    "/v1/log/{context}/history": "GetHistory",
    "/v1/log/{context}/status": "GetStatus",
    "/v1/log/{context}/{subject}/history": "GetHistory",
    "/v1/nodes": "ListNodes",
    "/v1/nodes/{node_id}": "GetNode",
    "/v1/pools": "ListPools",
    "/v1/pools/{pool}": "GetPoolSummary",
    "/v1/queues": "ListQueues",
    "/v1/queues/{queue}": "GetQueue",
    "/v1/queues/{queue}/entries": "ListEntries",
    "/v1/queues/{queue}/placements": "ListPlacements",
}
"""Paths that programs use: they stay."""

PIECES = (FollowLogsResponse(task=1, data=b"one\n"), FollowLogsResponse(task=1, eof=True))


class Services(grpc.GenericRpcHandler):  # type: ignore[type-arg]
    """Stands for every service: keeps what it was asked last, and answers all with nothing, but for output."""

    def __init__(self) -> None:
        self.asked: tuple[str, bytes] = ("", b"")

    def service(self, details: Any) -> Any:
        if details.method not in CATALOG.methods:
            return None

        def keep(request: bytes) -> list[bytes]:
            self.asked = (details.method, request)
            return [piece.SerializeToString() for piece in PIECES] if details.method.endswith("/FollowLogs") else [b""]

        async def one(request: bytes, _: Any) -> bytes:
            return keep(request)[0]

        async def several(request: bytes, _: Any) -> AsyncIterator[bytes]:
            for answer in keep(request):
                yield answer

        if CATALOG.methods[details.method].streams:
            return grpc.unary_stream_rpc_method_handler(several)
        return grpc.unary_unary_rpc_method_handler(one)


@pytest.fixture(scope="module")
def services() -> Services:
    return Services()


@pytest_asyncio.fixture(scope="module")
async def http(services: Services, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[httpx.AsyncClient]:
    """Of a gateway with these services."""
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((services,))
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    async with door(tmp_path_factory.mktemp("gateway"), services=dict.fromkeys(contexts(), address)) as gateway:
        headers = dict(gateway.credentials)
        async with httpx.AsyncClient(base_url=f"http://{gateway.address}", headers=headers, timeout=PATIENCE) as client:
            yield client
    await server.stop(0)


def test_every_path_that_programs_use_asks_its_query() -> None:
    assert {route.path: route.method.name for route in ROUTES}.items() >= PATHS.items()


def test_every_path_says_in_a_sentence_what_it_answers() -> None:
    said = {route.path: route.summary for route in ROUTES}
    assert all(summary.endswith(".") for summary in said.values())
    assert said["/v1/jobs"] == "Jobs, newest first.", "the first sentence of the rpc's comment"
    assert said["/v1/jobs/{job_id}/logs"] == "What a job printed, as text; live: follow.", "what the path says itself"


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.path)
async def test_a_paths_parts_and_the_urls_parameters_are_fields_of_the_request(
    http: httpx.AsyncClient, services: Services, route: QueryRoute
) -> None:
    fields = route.method.request.DESCRIPTOR.fields_by_name
    texts = {name: fields[name].type == FieldDescriptor.TYPE_STRING for name in route.variables}
    parts = {name: "jobs" if name == "context" else f"of-{name}" if text else "7" for name, text in texts.items()}
    answer = await http.get(route.path.format(**parts), params={"timeout": "20"})
    assert answer.status_code == 200, answer.text
    method, given = services.asked
    assert method == route.method.path
    asked: Any = route.method.request.FromString(given)
    for name, value in parts.items():
        field = getattr(asked, name)
        assert ([str(field)] if isinstance(field, str | int) else list(field)) == [value]
    assert {field.name for field, _ in asked.ListFields()} == {*parts, *(n for n, v in route.fixed.items() if v)}


async def test_one_rpc_is_text_at_one_path_and_json_at_another(http: httpx.AsyncClient) -> None:
    logs = await http.get("/v1/jobs/a/logs")
    assert (logs.headers["content-type"], logs.text) == ("text/plain; charset=utf-8", "one\n")
    chunks = await http.get("/v1/jobs/a/chunks")
    assert chunks.headers["content-type"] == "application/x-ndjson"
    first, last = (json.loads(line) for line in chunks.text.splitlines())
    assert (first["task"], base64.b64decode(first["data"]), last["eof"]) == (1, b"one\n", True)


async def test_what_a_path_sets_is_asked_for_and_not_taken_from_the_url(
    http: httpx.AsyncClient, services: Services
) -> None:
    await http.get("/v1/jobs/a/watch")
    watch: Any = CATALOG.by_path(services.asked[0]).request.FromString(services.asked[1])
    assert (list(watch.job_ids), watch.until_ended) == (["a"], True)
    refused = await http.get("/v1/jobs/a/watch?until_ended=true")
    assert (refused.status_code, refused.json()["error"]["errors"][0]["field"]) == (400, "until_ended")


def asked_by(name: str, rule: Any, *more: dict[str, Any]) -> Method:
    """A query of jobs whose rpc has these options instead of its own."""
    options = MethodOptions()
    extensions: Any = options.Extensions
    extensions[bindings].CopyFrom(HttpRule(**rule))
    for each in more:
        extensions[options_pb2.http].append(options_pb2.HttpPath(**each))
    return replace(CATALOG.find("JobQueries", name), options=options)


def test_a_query_without_the_option_has_no_path_of_its_own() -> None:
    method = replace(CATALOG.find("JobQueries", "GetJob"), options=MethodOptions())
    assert list(routes_of(method, "A job.")) == []


def test_a_binding_more_is_a_path_more() -> None:
    rule = {"get": "/v1/a", "additional_bindings": [{"get": "/v1/b/{name}"}]}
    more = {"path": "/v1/b/{name}", "summary": "By name.", "fixed": {"queue": "q"}}
    plain, other = routes_of(asked_by("ListJobs", rule, more), "Jobs.")
    assert (plain.path, plain.summary, plain.fixed, plain.form) == ("/v1/a", "Jobs.", {}, "json")
    assert (other.path, other.summary, other.fixed, other.variables) == (
        "/v1/b/{name}",
        "By name.",
        {"queue": "q"},
        ("name",),
    )


TEXT = options_pb2.HTTP_FORM_TEXT


@pytest.mark.parametrize(
    ("name", "rule", "more", "words"),
    [
        ("GetJob", {"post": "/v1/a"}, [], "a query has get: alone"),
        ("GetJob", {"get": "/v1/a", "body": "*"}, [], "a query has get: alone"),
        ("GetJob", {"get": "/v1/a", "additional_bindings": [{"put": "/v1/b"}]}, [], "a query has get: alone"),
        ("GetJob", {"get": "/a"}, [], "/a is no path that is taken; write /v1/"),
        ("GetJob", {"get": "/v1/a/"}, [], "no path that is taken"),
        ("GetJob", {"get": "/v1/{job_id=jobs/*}"}, [], "no path that is taken"),
        ("GetJob", {"get": "/v1/query/a"}, [], "the gateway's own; begin it with another word"),
        ("GetJob", {"get": "/v1/{jobid}"}, [], "has {jobid}, which is no such field; name a field of GetJobRequest"),
        ("GetJob", {"get": "/v1/{options}"}, [], "has {options}, which is no such field"),
        ("GetJob", {"get": "/v1/{job_id}/{job_id}"}, [], "sets job_id twice"),
        ("GetJob", {"get": "/v1/{job_id}"}, [{"path": "/v1/{job_id}", "fixed": {"job_id": "a"}}], "job_id twice"),
        (
            "GetJob",
            {"get": "/v1/a"},
            [{"path": "/v1/a", "fixed": {"jobs": "a"}}],
            "sets jobs: there is no such field; ",
        ),
        ("WatchJobs", {"get": "/v1/a"}, [{"path": "/v1/a", "fixed": {"until_ended": "so"}}], "not true or false"),
        ("GetJob", {"get": "/v1/a"}, [{"path": "/v1/a", "form": TEXT}], "streams whose answers have a field"),
        ("WatchJobs", {"get": "/v1/a"}, [{"path": "/v1/a", "form": TEXT}], "streams whose answers have a field"),
        ("GetJob", {"get": "/v1/a"}, [{"path": "/v1/b"}], "/v1/b is in forgelog.query.v1.http alone"),
        ("GetJob", {"get": "/v1/a"}, [{"path": "/v1/a"}, {"path": "/v1/a"}], "two entries"),
    ],
)
def test_options_that_are_no_paths_are_told_with_the_rpc(
    name: str, rule: dict[str, Any], more: list[dict[str, Any]], words: str
) -> None:
    with pytest.raises(RouteError) as raised:
        list(routes_of(asked_by(name, rule, *more), "A job."))
    assert str(raised.value).startswith(f"forgelog.jobs.v1.JobQueries.{name}: ")
    assert words in str(raised.value)


def test_a_path_needs_a_summary() -> None:
    with pytest.raises(RouteError, match="write a comment above the rpc"):
        list(routes_of(asked_by("GetJob", {"get": "/v1/a"}), ""))


def catalog_with(*methods: Method) -> Catalog:
    catalog = Catalog()
    catalog.methods.update({method.path: method for method in methods})
    return catalog


def test_two_queries_do_not_share_a_path() -> None:
    catalog = catalog_with(asked_by("GetJob", {"get": "/v1/queues/{job_id}"}))
    with pytest.raises(RouteError, match=r"/v1/queues/\{\w+\} is a path of \w+ too; choose another"):
        query_routes(catalog)


def test_a_word_is_compared_before_what_takes_any() -> None:
    catalog = catalog_with(asked_by("WatchJobs", {"get": "/v1/jobs/all"}))
    paths = [route.path for route in query_routes(catalog)]
    assert paths.index("/v1/jobs/all") < paths.index("/v1/jobs/{job_id}")


@pytest.mark.parametrize(
    ("comment", "sentence"),
    [
        (" Jobs, newest first.\n", "Jobs, newest first."),
        (" An aggregate's events.\n Or a flow's.\n", "An aggregate's events."),
        (" Over two\n lines. And more.", "Over two lines."),
        (" Such as events.jobs/3. More.", "Such as events.jobs/3."),
        (" no sentence", "no sentence"),
    ],
)
def test_a_summary_is_the_first_sentence_of_a_comment(comment: str, sentence: str) -> None:
    assert first_sentence(comment) == sentence


def test_paths_are_what_other_tools_read_from_the_options() -> None:
    """A plain message of `google.api`, as grpc-gateway and Envoy take it."""
    rule: Message = CATALOG.find("JobQueries", "FollowLogs").options.Extensions[bindings]
    assert rule == HttpRule(
        get="/v1/jobs/{job_id}/chunks", additional_bindings=[HttpRule(get="/v1/jobs/{job_id}/logs")]
    )


def test_the_page_on_the_layout_shows_an_rpc_as_it_is() -> None:
    page = (ROOT / "docs/layout.md").read_text()
    (shown,) = re.findall(r"```proto\n(.*?)```", page, re.DOTALL)
    assert textwrap.indent(shown, "  ") in (ROOT / "proto/forgelog/jobs/v1/queries.proto").read_text()
