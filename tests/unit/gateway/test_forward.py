"""What the gateway makes of a service's failure: its own answer, or that it is away and when to come again."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest
from grpc.aio import AioRpcError, Metadata

from events.process.retry_hint import retry_metadata
from events.process.settings import Settings
from services.gateway.catalog import Catalog
from services.gateway.errors import DoorError
from services.gateway.forward import Forwarder, Relayed
from services.gateway.http_answers import error_response
from services.gateway.limits import Bounds
from services.gateway.principal import Access


@pytest.fixture
def forwarder(tmp_path: Path) -> Forwarder:
    settings = Settings(services={"jobs": "127.0.0.1:1"}, data=tmp_path)
    return Forwarder(settings, Catalog(), Bounds.of(settings), Access(settings))


@pytest.mark.parametrize(
    ("code", "details"),
    [
        (grpc.StatusCode.UNAVAILABLE, "failed to connect to all addresses"),
        (grpc.StatusCode.UNAVAILABLE, "Socket closed"),
        (grpc.StatusCode.UNAVAILABLE, "keepalive watchdog timeout"),
        (grpc.StatusCode.CANCELLED, "the server shuts down"),
    ],
)
def test_a_service_that_is_away_is_said_with_when_to_come_again(
    forwarder: Forwarder, code: grpc.StatusCode, details: str
) -> None:
    failed = forwarder._failed("jobs", AioRpcError(code, Metadata(), Metadata(), details))
    assert isinstance(failed, DoorError)
    assert "the jobs service can't be reached" in failed.message
    answer = error_response(failed)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


def test_a_service_that_can_not_answer_now_speaks_for_itself(forwarder: Forwarder) -> None:
    code = grpc.StatusCode.UNAVAILABLE
    trailing = Metadata(*retry_metadata(code.value[0], "the database can't be reached", 2.5))
    failed = forwarder._failed("jobs", AioRpcError(code, Metadata(), trailing, "the database can't be reached"))
    assert isinstance(failed, Relayed)
    answer = error_response(failed)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "3")
    assert b'"retry_after_ms":2500' in answer.body


@pytest.mark.parametrize("details", ["Deadline Exceeded", "Stream removed (Deadline Exceeded)"])
def test_a_timeout_that_was_too_short_is_named(forwarder: Forwarder, details: str) -> None:
    failed = forwarder._failed("jobs", AioRpcError(grpc.StatusCode.DEADLINE_EXCEEDED, Metadata(), Metadata(), details))
    assert isinstance(failed, DoorError)
    assert [(each.field, each.hint) for each in failed.errors] == [("timeout", "give a longer one")]
    assert "the jobs service" in failed.message
    assert error_response(failed).status_code == 504


def test_a_query_of_the_log_without_a_context_is_told_which_there_are(forwarder: Forwarder) -> None:
    method = Catalog().find("LogQueries", "GetStatus")
    with pytest.raises(DoorError) as caught:
        forwarder.context_of(method, method.request().SerializeToString())
    (error,) = caught.value.errors
    assert (error.field, error.hint) == ("context", "name one of jobs")


def test_a_service_that_does_not_know_the_gateway_is_not_the_callers_fault(forwarder: Forwarder) -> None:
    """The services' key was changed, and not all were started again: the caller's own key is as good as ever."""
    refused = AioRpcError(grpc.StatusCode.UNAUTHENTICATED, Metadata(), Metadata(), "the key is not this platform's")
    failed = forwarder._failed("jobs", refused)
    assert isinstance(failed, DoorError)
    assert failed.code is grpc.StatusCode.UNAVAILABLE
    assert "the jobs service has another services' key than the gateway" in failed.message
    assert "restart the platform" in failed.message


def test_another_refusal_goes_on_as_it_is(forwarder: Forwarder) -> None:
    error = AioRpcError(grpc.StatusCode.NOT_FOUND, Metadata(), Metadata(), "there is no job 'x'")
    failed = forwarder._failed("jobs", error)
    assert isinstance(failed, Relayed)
    answer = error_response(failed)
    assert (answer.status_code, "retry-after" in answer.headers) == (404, False)


@pytest.mark.parametrize(
    ("context", "code"),
    [
        ("nope", grpc.StatusCode.NOT_FOUND),
        ("", grpc.StatusCode.NOT_FOUND),
        ("resources", grpc.StatusCode.UNIMPLEMENTED),
    ],
)
def test_a_context_that_does_not_exist_is_told_from_one_that_has_no_service_here(
    forwarder: Forwarder, context: str, code: grpc.StatusCode
) -> None:
    with pytest.raises(DoorError) as refused:
        forwarder.channel(context)
    assert refused.value.code == code
    assert "jobs" in refused.value.message
