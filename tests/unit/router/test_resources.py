"""Which of Envoy's resources follow from routing tables. No Envoy is needed here."""

from __future__ import annotations

from typing import Any

import pytest

from events.language.deployments.routing import RoutedReplica, RoutingTable
from events.process.replica_keys import HEADER, replica_key
from services.deployments.router import resources
from services.deployments.router.clusters import assignments, clusters, limits
from services.deployments.router.guards import BODY, HOLD, HOUR, KEY, MINUTE, ORIGIN, requirements
from services.deployments.router.naming import MAIN
from services.deployments.router.resources import Options
from services.deployments.router.routes import ways
from services.deployments.router.tables import Leaving
from tests.unit.router.inputs import replica, revision, table

SERVE = "/serve/local/default/digits/"


def main(given: RoutingTable, **options: Any) -> dict[str, list[dict[str, Any]]]:
    return ways(given, **{"alone": True, **options})[MAIN].paths


def to(route: dict[str, Any]) -> str | dict[str, int]:
    """The cluster that a route names, or the weights of several."""
    action = route["route"]
    if "cluster" in action:
        name: str = action["cluster"]
        return name
    return {one["name"]: one["weight"] for one in action["weighted_clusters"]["clusters"]}


def test_requests_are_split_among_revisions_that_have_a_weight_and_a_ready_replica() -> None:
    given = table(revision(1, 6_000, "a"), revision(2, 3_000, "b"), revision(3, 1_000), revision(4, 0, "c"))
    (split,) = main(given)[SERVE]
    assert to(split) == {"digits.abc234/1/http": 6_000, "digits.abc234/2/http": 3_000}
    assert HOLD not in split["typed_per_filter_config"]


def test_without_a_ready_replica_requests_wait_for_any_revision_that_has_a_weight() -> None:
    given = table(revision(1, 10_000), revision(2, 0, "b"), cold_start_seconds=30)
    (waiting,) = main(given)[SERVE]
    assert to(waiting) == "digits.abc234/any/http"
    assert waiting["route"]["idle_timeout"] == "90.000s"
    check = waiting["typed_per_filter_config"][HOLD]["check_settings"]
    assert check["context_extensions"] == {"deployment": "digits.abc234", "port": "http"}
    assert assignments(given)["digits.abc234/any/http"]["endpoints"] == []
    ready = assignments(table(revision(1, 10_000, "a"), revision(2, 0, "b")))["digits.abc234/any/http"]
    assert [one["metadata"]["filter_metadata"]["forgelog"] for one in ready["endpoints"][0]["lb_endpoints"]] == [
        {"replica": "a", "revision": "1"}
    ]


def test_rules_come_first_then_cookies_then_the_split() -> None:
    rules = [
        {"source": "header", "key": "x-group", "value": "beta", "revision": 2},
        {"source": "cookie", "key": "who", "value": "a.b", "revision": 1},
        {"source": "header", "key": "x", "value": "1", "revision": 3},
        {"source": "header", "key": "x", "value": "1", "revision": 9},
    ]
    given = table(
        revision(1, 9_000, "a"), revision(2, 1_000, "b"), revision(3, 0), rules=rules, session={"enabled": True}
    )
    routes = main(given)[SERVE]
    assert [route["match"].get("headers") for route in routes] == [
        [{"name": "x-group", "string_match": {"exact": "beta"}}],
        [{"name": "cookie", "string_match": {"safe_regex": {"regex": r"(^|.*;\s*)who=(a\.b)(\s*;.*|$)"}}}],
        [{"name": "cookie", "string_match": {"safe_regex": {"regex": r"(^|.*;\s*)fl\-digits\.abc234=(1)(\s*;.*|$)"}}}],
        [{"name": "cookie", "string_match": {"safe_regex": {"regex": r"(^|.*;\s*)fl\-digits\.abc234=(2)(\s*;.*|$)"}}}],
        None,
    ]
    assert [to(route) for route in routes[:4]] == [f"digits.abc234/{number}/http" for number in (2, 1, 1, 2)]


def test_every_revision_says_which_it_is_and_remembers_its_sessions() -> None:
    given = table(revision(1, 9_000, "a"), revision(2, 1_000, "b"), session={"enabled": True, "ttl_seconds": 60})
    weighted = main(given, secure=True)[SERVE][-1]["route"]["weighted_clusters"]["clusters"]
    headers = [[header["header"] for header in one["response_headers_to_add"]] for one in weighted]
    cookie = "; Path=/; Max-Age=60; HttpOnly; SameSite=Lax; Secure"
    assert headers == [
        [
            {"key": "x-forgelog-revision", "value": number},
            {"key": "set-cookie", "value": f"fl-digits.abc234={number}{cookie}"},
        ]
        for number in ("1", "2")
    ]


def test_a_deployment_has_a_path_by_its_project_and_by_the_protocols_name_of_models() -> None:
    given = table(
        revision(1, 10_000, "a"),
        endpoints=[
            {"name": "rest", "type": "rest", "idempotent": True},
            {"name": "q", "type": "graphql", "path": "/graphql"},
        ],
    )
    found = main(given)
    assert {
        prefix: (routes[-1]["match"], routes[-1]["route"].get("prefix_rewrite")) for prefix, routes in found.items()
    } == {
        SERVE: ({"prefix": SERVE}, "/"),
        "/serve/local/default/digits/graphql": (
            {"path_separated_prefix": "/serve/local/default/digits/graphql"},
            "/graphql",
        ),
        "/v2/models/digits": ({"path_separated_prefix": "/v2/models/digits"}, None),
        "/v2/models/digits.abc234": ({"path_separated_prefix": "/v2/models/digits.abc234"}, "/v2/models/digits"),
    }
    assert "/v2/models/digits" not in main(given, alone=False)


def test_a_models_name_of_any_script_is_written_as_in_urls() -> None:
    found = main(table(revision(1, 10_000, "a", model="digits №5")))
    assert found["/v2/models/digits"][0]["route"]["prefix_rewrite"] == "/v2/models/digits%20%E2%84%965"


def test_grpc_goes_by_names_in_its_metadata_and_an_own_port_needs_none() -> None:
    given = table(
        revision(1, 10_000, "a"), endpoints=[{"name": "g", "type": "grpc", "replica_port": "grpc", "port": 9_000}]
    )
    found = ways(given, alone=True)
    assert found.keys() == {MAIN, "port-9000"}
    assert found[MAIN].names.keys() == {"digits", "digits.abc234", "local/default/digits"}
    assert found["port-9000"].names.keys() == {""}
    assert clusters(given)["digits.abc234/1/grpc"]["typed_extension_protocol_options"].popitem()[1][
        "explicit_http_config"
    ] == {"http2_protocol_options": {}}


def test_the_oldest_deployment_has_its_name_alone_and_the_port_it_wants() -> None:
    old = table(name="one", created_at="2026-01-01T00:00:00Z", endpoints=[{"name": "a", "type": "rest", "port": 9_000}])
    new = old.model_copy(update={"deployment_id": "one.zzz222", "created_at": table().created_at})
    main_port = table(name="two", endpoints=[{"name": "a", "type": "rest", "port": 7_080}])
    assert resources.owners([new, old, main_port]) == {"one.abc234", "two.abc234"}
    claims = resources.claims([new, main_port, old], Options())
    assert claims.ports == {9_000: "one.abc234"}
    assert [words.partition(";")[0] for words in claims.refused] == [
        "endpoint a of one.zzz222 wants the port 9000, which is of one.abc234",
        "endpoint a of two.abc234 wants the port 7080, which is of all deployments together",
    ]
    assert resources.listeners(claims.ports, Options()).keys() == {MAIN, "port-9000"}


def test_listeners_do_not_change_with_the_tables() -> None:
    endpoint = {"name": "a", "type": "rest", "port": 9_000}
    one = table(revision(1, 10_000, "a"), endpoints=[endpoint])
    other = table(revision(2, 10_000), endpoints=[{**endpoint, "authentication": True, "requests_per_minute": 3}])
    for options in (Options(), Options(certificate=("CHAIN", "KEY"))):
        found = [resources.listeners(resources.claims([given], options).ports, options) for given in (one, other)]
        assert found[0] == found[1]
        assert "KEY" not in str(found[0])


def test_the_end_of_a_websocket_ejects_no_replica() -> None:
    kinds = ("rest", "websocket", "graphql")
    given = table(revision(1, 10_000, "a"), endpoints=[{"name": one, "type": one, "path": f"/{one}"} for one in kinds])
    found, places = clusters(given), ("digits.abc234/1/http", "digits.abc234/1/http+upgrades")
    assert ["outlier_detection" in found[name] for name in places] == [True, False]
    assert found.keys() == assignments(given).keys() == {*places, *(name.replace("/1/", "/any/") for name in places)}
    assert assignments(given)[places[0]]["endpoints"] == assignments(given)[places[1]]["endpoints"]
    assert {f"circuit_breakers.{name}.default.max_requests" for name in found} == limits(given).keys()
    paths = main(given)
    assert [to(paths[f"{SERVE}{kind}"][-1]) for kind in kinds] == [places[0], places[1], places[1]]


def test_clusters_do_not_change_with_their_replicas_and_the_bound_of_requests_does() -> None:
    one, two = table(revision(1, 10_000, "a"), concurrency=7), table(revision(1, 10_000, "a", "b"), concurrency=7)
    assert clusters(one) == clusters(two)
    assert limits(one)["circuit_breakers.digits.abc234/1/http.default.max_requests"] == 7
    assert limits(two)["circuit_breakers.digits.abc234/1/http.default.max_requests"] == 14


def test_all_requests_that_waited_may_go_on_at_once() -> None:
    for given in (table(revision(1, 10_000), concurrency=7), table(revision(1, 10_000, "a"), concurrency=7)):
        assert limits(given)["circuit_breakers.digits.abc234/any/http.default.max_requests"] == 1_000


def test_a_replica_that_leaves_is_drained_and_one_without_the_port_is_left_out() -> None:
    leaving = Leaving(1, RoutedReplica.model_validate(replica("gone", 21_000)))
    other = {"replica_id": "other", "address": "10.0.0.8", "ports": {"metrics": 1}}
    given = table(revision(1, 10_000, "a", replicas=[replica("a"), other]))
    (group,) = assignments(given, [leaving])["digits.abc234/1/http"]["endpoints"]
    found = {
        one["metadata"]["filter_metadata"]["forgelog"]["replica"]: one.get("health_status")
        for one in group["lb_endpoints"]
    }
    assert found == {"a": None, "gone": "DRAINING"}


def guarded(**endpoint: Any) -> dict[str, Any]:
    given = table(revision(1, 10_000, "a"), endpoints=[{"name": "rest", "type": "rest", **endpoint}])
    guards: dict[str, Any] = main(given)[SERVE][0]["typed_per_filter_config"]
    return guards


def test_an_endpoint_turns_on_what_it_needs_and_pays_for_nothing_else() -> None:
    assert guarded().keys() == {ORIGIN, BODY}
    assert guarded(authentication=True, requests_per_minute=1, requests_per_hour=1).keys() >= {KEY, MINUTE, HOUR}


@pytest.mark.parametrize(("limit", "routers", "tokens"), [(100, 1, 100), (100, 3, 34), (1, 4, 1)])
def test_routers_share_the_limits_of_rates(limit: int, routers: int, tokens: int) -> None:
    given = table(
        endpoints=[{"name": "rest", "type": "rest", "requests_per_minute": limit}, {"name": "g", "type": "grpc"}]
    )
    (one,) = resources.parts(given, Options(routers=routers), alone=True).rates[MINUTE]
    assert one["entries"] == [{"key": "endpoint", "value": "digits.abc234/rest"}, {"key": "remote_address"}]
    assert one["token_bucket"] == {"max_tokens": tokens, "tokens_per_fill": tokens, "fill_interval": "60.000s"}


def test_each_issuer_has_a_check_of_its_own_and_without_one_nobodys_keys_pass() -> None:
    issuer = {"issuer": "https://a", "public_keys": [{"key_id": "1", "x": "A" * 43}]}
    one, other = (table(keys={"issuer": {**issuer, "issuer": name}}) for name in ("https://a", "https://b"))
    filters = resources.keys(requirements(given.keys) for given in (one, other, table(), one))
    assert len(filters["typed_config"]["requirement_map"]) == 3
    name, nobody = requirements(table().keys)
    assert filters["typed_config"]["providers"][name] == nobody
    assert nobody["issuer"] == "nobody"


def test_replicas_get_the_key_of_their_deployment_and_it_is_not_shown() -> None:
    options = Options(replicas_key=b"what keys follow from")
    given = table(revision(1, 10_000, "a"))
    (route,) = resources.parts(given, options, alone=True).ways[MAIN].paths[SERVE]
    (sent,) = route["request_headers_to_add"]
    assert sent["header"] == {"key": HEADER, "value": replica_key(b"what keys follow from", "digits.abc234")}
    assert sent["append_action"] == "OVERWRITE_IF_EXISTS_OR_ADD"
    assert "what keys follow from" not in repr(options)
    assert "request_headers_to_add" not in main(given)[SERVE][0]


@pytest.mark.parametrize(("minimum", "concurrency", "together"), [(20, 100, 100), (200, 100, 200)])
def test_all_that_one_replica_had_may_be_sent_again_at_once(minimum: int, concurrency: int, together: int) -> None:
    given = table(revision(1, 10_000, "a"), retries={"minimum": minimum}, concurrency=concurrency)
    (thresholds,) = clusters(given)["digits.abc234/1/http"]["circuit_breakers"]["thresholds"]
    assert thresholds["retry_budget"]["min_retry_concurrency"] == together


def retried(idempotent: bool) -> list[tuple[bool, bool]]:
    """Of each route: whether it is of requests that only read, and whether one that has begun is sent again."""
    endpoint = {"name": "r", "type": "rest", "idempotent": idempotent}
    routes = main(table(revision(1, 10_000, "a"), endpoints=[endpoint]))[SERVE]
    return [
        ("headers" in route["match"], "reset" in route["route"]["retry_policy"]["retry_on"].split(","))
        for route in routes
    ]


def test_only_what_may_run_twice_is_sent_again_after_it_has_begun() -> None:
    assert retried(True) == [(False, True)]
    assert retried(False) == [(True, True), (False, False)]
    none = table(revision(1, 10_000, "a"), retries={"attempts": 0})
    assert "retry_policy" not in main(none)[SERVE][0]["route"]
