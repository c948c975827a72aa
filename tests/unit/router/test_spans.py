"""Which requests Envoy traces, where spans go, and what is in none."""

from __future__ import annotations

import pytest

from services.deployments.router.bootstrap import bootstrap
from services.deployments.router.listeners import listener
from services.deployments.router.messages import LISTENER, parse
from services.deployments.router.records import record
from services.deployments.router.routes import ways
from services.deployments.router.spans import collector, sampled
from tests.unit.router.inputs import revision, table
from tests.unit.router.test_records import line

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def test_a_route_says_the_share_where_there_is_a_collector() -> None:
    traced = table(revision(1, 10_000, "r1"), observability={"tracing": 0.25})
    assert sampled(traced)["tracing"] == {"random_sampling": {"numerator": 250_000, "denominator": "MILLION"}}
    assert sampled(table(revision(1, 10_000, "r1"))) == {}
    assert "random_sampling" in str(ways(traced, alone=True, traced=True))
    assert "random_sampling" not in str(ways(traced, alone=True))


def test_a_listener_traces_nothing_by_itself_and_no_path_is_in_a_span() -> None:
    made = listener("main", "127.0.0.1", 7080, secure=False, hops=0, log="l", traced=True)
    told = made["filter_chains"][0]["filters"][0]["typed_config"]["tracing"]
    assert (told["random_sampling"], told["max_path_tag_length"]) == ({"value": 0}, 0)
    assert parse(LISTENER, made).body.type_url.endswith(LISTENER)  # all that stands in it is known
    plain = listener("main", "127.0.0.1", 7080, secure=False, hops=0, log="l")
    assert "tracing" not in plain["filter_chains"][0]["filters"][0]["typed_config"]


def test_the_collector_is_where_the_settings_say() -> None:
    at = collector("http://spans.example.org:4317")["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]
    assert at["address"]["socket_address"] == {"address": "spans.example.org", "port_value": 4317}
    assert len(bootstrap("a", "http://c:4317")["static_resources"]["clusters"]) == 2
    assert len(bootstrap("a")["static_resources"]["clusters"]) == 1


@pytest.mark.parametrize(
    ("given", "wanted"),
    [(f"00-{TRACE}-00f067aa0ba902b7-01", TRACE), (f"00-{TRACE}-00f067aa0ba902b7-00", ""), ("nonsense", ""), ("-", "")],
)
def test_a_record_has_the_trace_that_is_kept(given: str, wanted: str) -> None:
    found = record(line(trace=given), "router-0", None)
    assert found is not None
    assert found["trace_id"] == wanted
