"""What routing tables take and refuse, and in which words."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from events.language.deployments.routing import RoutingTable

REPLICA = {"replica_id": "r1", "address": "10.0.0.7", "ports": {"http": 20_000}}


def revision(number: int = 1, **changes: Any) -> dict[str, Any]:
    return {"revision": number, "weight": 10_000, "model": "digits", "version": 3, "replicas": [REPLICA], **changes}


def endpoint(**changes: Any) -> dict[str, Any]:
    return {"name": "rest", "type": "rest", **changes}


def rule(**changes: Any) -> dict[str, Any]:
    return {"source": "header", "key": "x-group", "value": "beta", "revision": 1, **changes}


def table(**changes: Any) -> RoutingTable:
    given = {
        "number": 1,
        "deployment_id": "digits.abc234",
        "project": "local/default",
        "name": "digits",
        "created_at": "2026-11-27T12:00:00Z",
        "revisions": [revision()],
        "endpoints": [endpoint()],
        **changes,
    }
    return RoutingTable.model_validate(given)


def refusal(**changes: Any) -> str:
    with pytest.raises(ValidationError) as error:
        table(**changes)
    return str(error.value)


def test_a_table_is_read_as_it_was_written() -> None:
    written = table(
        revisions=[revision(1, weight=9_000), revision(2, weight=1_000)],
        endpoints=[endpoint(), endpoint(name="grpc", type="grpc", port=9_000, replica_port="grpc")],
        rules=[rule(), rule(source="cookie", match="present", value="", revision=2)],
        shadow={"revision": 2, "weight": 500},
        keys={"issuer": {"issuer": "https://a.example", "public_keys": [{"key_id": "1", "x": "A" * 43}]}},
    )
    assert RoutingTable.model_validate_json(written.to_json()) == written


def test_weights_are_all_of_the_requests_or_none() -> None:
    assert table(revisions=[revision(1, weight=0), revision(2, weight=0)])
    assert "weights of revisions are 9999" in refusal(revisions=[revision(1, weight=9_999)])
    assert "weights of revisions are 20000" in refusal(revisions=[revision(1), revision(2)])
    assert "revisions.0.weight" in refusal(revisions=[revision(1, weight=10_001)])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"revisions": [revision(1), revision(1, weight=0)]}, "two with revision 1"),
        ({"revisions": [revision(replicas=[REPLICA, REPLICA])]}, "two with replica_id r1"),
        ({"endpoints": [endpoint(), endpoint(path="/v2")]}, "two with name rest"),
        ({"endpoints": [endpoint(), endpoint(name="b")]}, "two endpoints have the path /"),
        ({"endpoints": [endpoint(port=80), endpoint(name="b", port=80)]}, "the path / at port 80"),
        (
            {"keys": {"issuer": {"issuer": "a", "public_keys": [{"key_id": "1", "x": "A" * 43}] * 2}}},
            "two with key_id 1",
        ),
    ],
)
def test_what_is_named_twice_is_refused(changes: dict[str, Any], words: str) -> None:
    assert words in refusal(**changes)


def test_a_grpc_endpoint_may_have_the_path_of_another_since_its_methods_have_their_own() -> None:
    assert table(endpoints=[endpoint(), endpoint(name="grpc", type="grpc", replica_port="grpc")])


@pytest.mark.parametrize("path", ["", "v2", "/v2/", "//", "/../x", "/a b", "/a?b", "/a%2f", "/" + "x" * 200])
def test_paths_that_could_mean_something_else_are_refused(path: str) -> None:
    assert "endpoints.0.path" in refusal(endpoints=[endpoint(path=path)])


@pytest.mark.parametrize("address", ["localhost", "10.0.0", "0.0.0.0", "::", "224.0.0.1", "10.0.0.7:80", ""])
def test_a_replica_is_at_the_address_of_one_machine(address: str) -> None:
    assert "replicas.0.address" in refusal(revisions=[revision(replicas=[{**REPLICA, "address": address}])])


@pytest.mark.parametrize("origin", ["https://a.example", "http://localhost:8000", "https://[fd00::7]:443", "*"])
def test_origins_are_written_as_browsers_send_them(origin: str) -> None:
    assert table(endpoints=[endpoint(allowed_origins=[origin])])


@pytest.mark.parametrize("origin", ["a.example", "https://a.example/", "https://*.example", "null", "ftp://a"])
def test_other_origins_are_refused(origin: str) -> None:
    assert "allowed_origins.0" in refusal(endpoints=[endpoint(allowed_origins=[origin])])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"value": ""}, "give the value to compare with"),
        ({"match": "present"}, "leave value out"),
        ({"match": "regex", "value": "("}, "no regular expression"),
        ({"match": "regex", "value": "a(?=b)"}, "RE2"),
        ({"match": "regex", "value": r"(a)\1"}, "RE2"),
        ({"key": "X-Forgelog-Revision"}, "the platform's own"),
        ({"key": "a b"}, "rules.0.key"),
        ({"value": "é"}, "rules.0.value"),
        ({"value": "a\nb"}, "rules.0.value"),
    ],
)
def test_rules_that_could_not_be_kept_are_refused(changes: dict[str, Any], words: str) -> None:
    assert words in refusal(rules=[rule(**changes)])


@pytest.mark.parametrize("name", ["", "Digits", "a.b", "-a", "a-", "a" * 64, "a_b"])
def test_a_name_can_stand_in_urls_and_cookies(name: str) -> None:
    assert "name" in refusal(name=name)
