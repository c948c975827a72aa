"""What callers of a query are told, on a real gRPC server: a database that is away, swapped tables, defects."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

import asyncpg
import grpc
import pytest
from aiokafka.errors import KafkaConnectionError, MessageSizeTooLargeError
from google.rpc.error_details_pb2 import BadRequest  # type: ignore[import-untyped]
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]

from events.language.common import FieldError
from events.process.channels import accepted, client_options, server_options
from events.process.retry_hint import DETAILS, retry_seconds
from events.queries import guard
from events.queries.guard import Guarded, passing
from events.queries.queries import QueryError, not_found
from events.queries.requests import named_by, unnamed
from events.queries.status import errors_in
from forgelog_pb.experiments.v1.queries_pb2 import GetExperimentRequest
from forgelog_pb.jobs.v1.queries_pb2 import FollowLogsRequest, GetJobRequest
from forgelog_pb.query.v1.options_pb2 import ReadOptions

STARTING_UP = asyncpg.CannotConnectNowError("the database system is starting up")
STALE = asyncpg.FeatureNotSupportedError("cached plan must not change result type")


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (STARTING_UP, "database"),
        (asyncpg.AdminShutdownError("terminating connection due to administrator command"), "database"),
        (asyncpg.CrashShutdownError("terminating connection because of crash of another process"), "database"),
        (asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation"), "database"),
        (asyncpg.InterfaceError("connection is closed"), "database"),
        (asyncpg.TooManyConnectionsError("sorry, too many clients already"), "database"),
        (asyncpg.InternalClientError("unexpected connection status"), "database"),
        (ConnectionRefusedError(), "database"),
        (KafkaConnectionError("no broker"), "broker"),
        (TimeoutError(), "database"),
        (STALE, "tables"),
        (asyncpg.InvalidCachedStatementError("cached statement plan is invalid"), "tables"),
        (asyncpg.UndefinedTableError('relation "jobs" does not exist'), "tables"),
        (asyncpg.InternalServerError("could not open relation with OID 16432"), "tables"),
    ],
)
def test_what_passes_by_itself(error: Exception, says: str) -> None:
    assert says in passing(error)
    assert "ask again" in passing(error)


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.exceptions._base.DataError("invalid input for query argument $1"),
        asyncpg.FeatureNotSupportedError("not here"),
        asyncpg.UniqueViolationError("duplicate key"),
        MessageSizeTooLargeError(),
        KeyError("status"),
        ValueError(),
    ],
)
def test_what_does_not(error: Exception) -> None:
    assert passing(error) == ""


class Tables:
    """Stands for tables that follow a log."""

    def __init__(self, why: str = "") -> None:
        self.why = why
        self.asked = 0

    async def why_behind(self) -> str:
        self.asked += 1
        return self.why


class Service:
    """A guarded service with a query and a stream, which fail with `failures`, one after the other, and then answer."""

    def __init__(
        self,
        *failures: Exception,
        after: int = 0,
        always: Exception | None = None,
        tables: Tables | None = None,
        service: str = "test.Queries",
    ) -> None:
        self.name = service
        self.failures = list(failures)
        self.tables = tables
        self.after = after
        """Answers that a stream gives before it fails."""
        self.always = always
        self.quiet = asyncio.Event()
        """What a stream without a failure waits for."""

    def _fail(self) -> None:
        if self.always is not None:
            raise self.always
        if self.failures:
            raise self.failures.pop(0)

    async def unary(self, request: bytes, context: Any) -> bytes:
        self._fail()
        return b"answer"

    async def stream(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        for _ in range(self.after):
            yield b"before"
        self._fail()
        await self.quiet.wait()
        yield b"answer"

    async def __aenter__(self) -> Service:
        self._server = grpc.aio.server(options=server_options(most_received=1 << 20, most_sent=1 << 20))
        handlers = {
            "Unary": grpc.unary_unary_rpc_method_handler(self.unary, _as_it_is, _as_it_is),
            "Stream": grpc.unary_stream_rpc_method_handler(self.stream, _as_it_is, _as_it_is),
            "Job": grpc.unary_unary_rpc_method_handler(self.unary, GetJobRequest.FromString, _as_it_is),
            "Logs": grpc.unary_stream_rpc_method_handler(self.stream, FollowLogsRequest.FromString, _as_it_is),
            "GetJob": grpc.unary_unary_rpc_method_handler(self.unary, GetJobRequest.FromString, _as_it_is),
            "FollowLogs": grpc.unary_stream_rpc_method_handler(self.stream, FollowLogsRequest.FromString, _as_it_is),
        }
        Guarded(self._server, "test", tables=self.tables).add_registered_method_handlers(self.name, handlers)
        port = self._server.add_insecure_port("127.0.0.1:0")
        await self._server.start()
        self.channel: Any = grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=client_options(1 << 20))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.channel.close()
        await self._server.stop(0)

    async def ask(self) -> bytes:
        answer: bytes = await self.channel.unary_unary("/test.Queries/Unary")(b"", timeout=30)
        return answer

    def follow(self) -> Any:
        return self.channel.unary_stream("/test.Queries/Stream")(b"", timeout=30)

    async def job(self, at: datetime | None = None) -> bytes:
        request = GetJobRequest(job_id="j1", options=ReadOptions(as_of=at) if at else None)
        call = self.channel.unary_unary("/test.Queries/Job", request_serializer=GetJobRequest.SerializeToString)
        answer: bytes = await call(request, timeout=30)
        return answer

    async def damaged(self, method: str) -> None:
        call = self.channel.unary_stream if method == "Logs" else self.channel.unary_unary
        answer = call(f"/test.Queries/{method}")(b"\xff\xff", timeout=30)
        await (all_of(answer) if method == "Logs" else answer)


def _as_it_is(message: bytes) -> bytes:
    return message


async def all_of(call: Any) -> list[bytes]:
    return [answer async for answer in call]


def test_the_fields_that_name_what_a_query_is_about_are_those_of_its_paths() -> None:
    assert named_by("forgelog.jobs.v1.JobQueries", "FollowLogs") == ("job_id",)
    assert named_by("forgelog.jobs.v1.JobQueries", "ListJobs") == ()
    assert named_by("test.Queries", "Unary") == ()


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (GetJobRequest(), "job_id"),
        (GetJobRequest(job_id="j1"), ""),
        (GetExperimentRequest(project="local/default", name="mnist"), ""),
    ],
)
def test_who_named_nothing_is_told_so_and_who_named_what_there_is_not_is_not(request_: Any, field: str) -> None:
    names = ("experiment_id",) if isinstance(request_, GetExperimentRequest) else ("job_id",)
    assert unnamed(request_, names) == field


async def test_a_query_that_names_nothing_is_no_search_for_what_there_is_not() -> None:
    async with Service(always=not_found("job", ""), tables=Tables(), service="forgelog.jobs.v1.JobQueries") as service:
        for name, call in (("GetJob", service.channel.unary_unary), ("FollowLogs", service.channel.unary_stream)):
            answer = call(f"/{service.name}/{name}")(b"", timeout=30)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await (all_of(answer) if name == "FollowLogs" else answer)
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert caught.value.details() == "job_id: is empty; name what is asked for"
        assert service.tables is not None
        assert service.tables.asked == 0


def test_what_is_quoted_is_never_long() -> None:
    assert len(not_found("job", "x" * 5_000).message) < 400


@pytest.mark.parametrize("error", [STARTING_UP, STALE, ConnectionRefusedError(), asyncpg.UndefinedTableError("gone")])
async def test_a_moment_without_the_database_is_not_seen(error: Exception) -> None:
    async with Service(error, error) as service:
        assert await service.ask() == b"answer"
    async with Service(error, error) as service:
        service.quiet.set()
        assert await all_of(service.follow()) == [b"answer"]


@pytest.mark.parametrize("method", [Service.ask, lambda service: all_of(service.follow())], ids=["query", "stream"])
async def test_a_database_that_stays_away_is_said_with_when_to_come_again(
    method: Callable[[Service], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "HELD_SECONDS", 0.0)
    async with Service(always=STARTING_UP) as service:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await method(service)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "ask again" in (caught.value.details() or "")
    assert retry_seconds(caught.value.trailing_metadata()) == guard.RETRY_AFTER  # type: ignore[arg-type]


async def test_a_stream_that_has_answered_is_never_begun_anew() -> None:
    """Its caller has what was sent, and goes on behind it."""
    async with Service(STARTING_UP, after=2) as service:
        call = service.follow()
        assert [await call.read(), await call.read()] == [b"before"] * 2
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (KeyError("status"), grpc.StatusCode.INTERNAL),
        (QueryError(grpc.StatusCode.NOT_FOUND, "there is none"), grpc.StatusCode.NOT_FOUND),
    ],
)
async def test_other_failures_are_told_at_once(error: Exception, code: grpc.StatusCode) -> None:
    async with Service(always=error) as service:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await service.ask()
    assert caught.value.code() is code
    assert retry_seconds(caught.value.trailing_metadata()) is None  # type: ignore[arg-type]


NONE = QueryError(grpc.StatusCode.NOT_FOUND, "there is no job 'j1'")


async def test_what_is_not_there_is_asked_for_again_once_the_tables_have_what_the_log_had() -> None:
    """They were behind when they said so."""
    async with Service(NONE, tables=Tables()) as service:
        assert await service.job() == b"answer"
    async with Service(NONE, tables=Tables()) as service:
        service.quiet.set()
        assert await all_of(service.follow()) == [b"answer"]


@pytest.mark.parametrize("method", [Service.ask, lambda service: all_of(service.follow())], ids=["query", "stream"])
async def test_what_is_in_no_table_that_has_all_is_not_there(method: Callable[[Service], Any]) -> None:
    async with Service(always=NONE, tables=Tables()) as service:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await method(service)
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.NOT_FOUND, "there is no job 'j1'")
    assert service.tables is not None
    assert service.tables.asked == 1


async def test_tables_that_stay_behind_do_not_say_what_is_not_there() -> None:
    async with Service(always=NONE, tables=Tables("the tables do not contain events.jobs/0@7 yet")) as service:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await service.job()
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "there is no job 'j1'" in (caught.value.details() or "")
    assert "events.jobs/0@7 yet; ask again" in (caught.value.details() or "")
    assert retry_seconds(caught.value.trailing_metadata()) == guard.RETRY_AFTER  # type: ignore[arg-type]


async def test_what_was_not_there_is_asked_for_again_too() -> None:
    """A name that is new stands for what had another one then, and a moment may be one of just now."""
    async with Service(NONE, tables=Tables()) as service:
        assert await service.job(datetime(2026, 1, 1, tzinfo=UTC)) == b"answer"


async def test_a_field_that_is_wrong_is_named_in_the_details_too() -> None:
    wrong = QueryError(grpc.StatusCode.INVALID_ARGUMENT, "page.limit: is -1; give 0 or more")
    async with Service(always=wrong) as service:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await service.ask()
    trailing: Any = caught.value.trailing_metadata()
    assert errors_in(trailing) == (FieldError(field="page.limit", problem="is -1", hint="give 0 or more"),)
    (detail,) = Status.FromString(dict(trailing)[DETAILS]).details
    (violation,) = BadRequest.FromString(detail.value).field_violations
    assert (violation.field, violation.description) == ("page.limit", "is -1; give 0 or more")


async def test_a_quiet_stream_says_that_it_was_accepted() -> None:
    async with Service() as service:
        call = service.follow()
        assert accepted(await call.initial_metadata())
        service.quiet.set()
        assert await all_of(call) == [b"answer"]


async def test_a_stream_that_fails_was_not_accepted() -> None:
    async with Service(always=KeyError("status")) as service:
        call = service.follow()
        assert not accepted(await call.initial_metadata())


@pytest.mark.parametrize(
    ("method", "message"),
    [("Job", "forgelog.jobs.v1.GetJobRequest"), ("Logs", "forgelog.jobs.v1.FollowLogsRequest")],
)
async def test_a_request_that_is_no_message_is_the_callers_mistake(method: str, message: str) -> None:
    async with Service() as service:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await service.damaged(method)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert message in (caught.value.details() or "")
