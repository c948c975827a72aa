"""Calls over a service's local socket: answers and failures are those of gRPC, and nobody else gets in."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import grpc
import pytest

from events.process.keys import new_api_key
from events.process.retry_hint import retry_metadata, retry_seconds
from events.queries.callers import Callers
from events.queries.guard import Guarded, Places
from events.queries.local import client as client_module
from events.queries.local import frames, server
from events.queries.local.client import LocalClient, LocalConnection
from events.queries.local.places import MOST_PATH_BYTES, NoPlace, listening, socket_of
from events.queries.local.server import LocalServer
from events.queries.queries import QueryError
from forgelog_pb.jobs.v1.queries_pb2 import GetJobRequest
from tests import PATIENCE

KEY = new_api_key()
SERVICE = "test.v1.TestQueries"
PORT = 5001
MOST = 1 << 20

HELLO = frames.frame(frames.HELLO, frames.VERSION, KEY.encode())
WELCOME = frames.frame(frames.WELCOME, frames.VERSION)

Handler = Callable[[bytes, Any], Any]


def path_of(data: Path) -> Path:
    found = socket_of(data, f"127.0.0.1:{PORT}")
    assert found is not None
    return found


def client_of(data: Path, key: str = KEY) -> LocalClient:
    return LocalClient(path_of(data), key, most_sent=MOST, most_received=64 << 20)


async def connected(client: LocalClient) -> LocalConnection:
    await client.connect()
    connection = client.connection(b"")
    assert connection is not None
    return connection


async def started(
    data: Path, handlers: dict[str, Handler], host: str = "127.0.0.1", most_sent: int = 64 << 20
) -> LocalServer:
    made = LocalServer(Callers(KEY), most_received=MOST, most_sent=most_sent)
    of = {name: grpc.unary_unary_rpc_method_handler(handler) for name, handler in handlers.items()}
    made.add_registered_method_handlers(SERVICE, of)
    await made.start(data, host, PORT)
    return made


@asynccontextmanager
async def serving(data: Path, **handlers: Handler) -> AsyncIterator[LocalServer]:
    made = await started(data, handlers)
    try:
        yield made
    finally:
        await made.stop(0)


async def ask(
    connection: LocalConnection, name: str, request: bytes = b"", timeout: float = PATIENCE, **more: Any
) -> Any:
    return await connection.call(f"/{SERVICE}/{name}", request, timeout=timeout, **more)


async def refused(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


async def echo(request: bytes, _: Any) -> bytes:
    return request


class Held:
    """A handler that answers when it is told to."""

    def __init__(self) -> None:
        self.begun, self.go, self.cancelled = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def __call__(self, request: bytes, _: Any) -> bytes:
        self.begun.set()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return request


# What a call carries


async def test_calls_are_answered_each_with_its_own_answer(tmp_path: Path) -> None:
    async with serving(tmp_path, Echo=echo):
        connection = await connected(client_of(tmp_path))
        asked = [b"%d" % number for number in range(90)]
        assert await asyncio.gather(*(ask(connection, "Echo", each) for each in asked)) == asked


async def test_the_callers_trace_and_deadline_go_along(tmp_path: Path) -> None:
    async def told(_: bytes, context: Any) -> bytes:
        assert 0 < context.time_remaining() <= 7
        return repr(context.invocation_metadata()).encode()

    given = (("traceparent", "00-" + "a" * 32 + "-" + "b" * 16 + "-01"), ("baggage", "who=é"), ("x-bin", b"\0\xff"))
    async with serving(tmp_path, Told=told):
        answer = await ask(await connected(client_of(tmp_path)), "Told", timeout=7, metadata=given)
    assert answer == repr(given).encode()


async def test_a_large_answer_comes_whole_and_others_beside_it(tmp_path: Path) -> None:
    large = os.urandom(1 << 20) * 8

    async def much(_: bytes, __: Any) -> bytes:
        return large

    async with serving(tmp_path, Much=much, Echo=echo):
        connection = await connected(client_of(tmp_path))
        asked = [ask(connection, "Much"), ask(connection, "Echo", b"x"), ask(connection, "Much")]
        assert await asyncio.gather(*asked) == [large, b"x", large]


async def test_a_request_that_a_service_does_not_take_goes_by_grpc_which_says_so(tmp_path: Path) -> None:
    async with serving(tmp_path, Echo=echo):
        client = client_of(tmp_path)
        await connected(client)
        assert client.connection(bytes(MOST)) is not None
        assert client.connection(bytes(MOST + 1)) is None


# How a call fails


async def test_a_querys_refusal_comes_with_code_words_and_details(tmp_path: Path) -> None:
    """Through the guard of all queries, as a service's."""

    async def missing(_: Any, __: Any) -> Any:
        raise QueryError(grpc.StatusCode.NOT_FOUND, "there is no job 'é'")

    async def away(_: Any, context: Any) -> Any:
        code = grpc.StatusCode.UNAVAILABLE
        await context.abort(code, "come again", retry_metadata(code.value[0], "come again", 2.5))

    made = await started(tmp_path, {})
    handlers = {
        name: grpc.unary_unary_rpc_method_handler(each, GetJobRequest.FromString, GetJobRequest.SerializeToString)
        for name, each in {"Missing": missing, "Away": away}.items()
    }
    Guarded(made, "test").add_registered_method_handlers(SERVICE, handlers)
    connection = await connected(client_of(tmp_path))
    error = await refused(ask(connection, "Missing"))
    assert (error.code(), error.details()) == (grpc.StatusCode.NOT_FOUND, "there is no job 'é'")
    error = await refused(ask(connection, "Away"))
    assert (error.code(), error.details()) == (grpc.StatusCode.UNAVAILABLE, "come again")
    trailing: Any = error.trailing_metadata()
    assert retry_seconds(trailing) == 2.5
    error = await refused(ask(connection, "Missing", b"\xff\xff"))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "can't be decoded" in (error.details() or "")
    await made.stop(0)


async def test_a_handler_may_set_its_status(tmp_path: Path) -> None:
    async def set_(request: bytes, context: Any) -> bytes:
        await context.send_initial_metadata(())
        context.set_trailing_metadata((("why", "so"),))
        if request:
            context.set_code(grpc.StatusCode.DATA_LOSS)
            context.set_details("lost")
        return b"answer"

    async with serving(tmp_path, Set=set_):
        connection = await connected(client_of(tmp_path))
        assert await ask(connection, "Set") == b"answer"
        error = await refused(ask(connection, "Set", b"x"))
    assert (error.code(), error.details()) == (grpc.StatusCode.DATA_LOSS, "lost")
    trailing: Any = error.trailing_metadata()
    assert tuple(trailing) == (("why", "so"),)


async def test_what_a_service_lacks_or_breaks_on_fails_that_call_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(_: bytes, __: Any) -> bytes:
        raise ZeroDivisionError("a defect")

    async def much(_: bytes, __: Any) -> bytes:
        return bytes(MOST + 1)

    made = await started(tmp_path, {"Broken": broken, "Much": much, "Echo": echo}, most_sent=MOST)
    connection = await connected(client_of(tmp_path))
    assert (await refused(ask(connection, "None"))).code() is grpc.StatusCode.UNIMPLEMENTED
    assert (await refused(ask(connection, "Broken"))).code() is grpc.StatusCode.UNKNOWN
    assert "ZeroDivisionError: a defect" in caplog.text
    error = await refused(ask(connection, "Much"))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert f"{MOST + 1} bytes" in (error.details() or "")
    assert await ask(connection, "Echo", b"x") == b"x"
    await made.stop(0)


async def test_an_abort_ends_a_call_also_where_its_handler_goes_on(tmp_path: Path) -> None:
    """As in gRPC: there the status is sent when the handler asks for it."""

    async def goes_on(_: bytes, context: Any) -> bytes:
        context.set_details("set before")
        with suppress(grpc.aio.AbortError):
            await context.abort(grpc.StatusCode.NOT_FOUND)
        return b"answer"

    async with serving(tmp_path, GoesOn=goes_on):
        error = await refused(ask(await connected(client_of(tmp_path)), "GoesOn"))
    assert (error.code(), error.details()) == (grpc.StatusCode.NOT_FOUND, "set before")


async def test_a_failure_is_never_ok(tmp_path: Path) -> None:
    async def wrong(_: bytes, context: Any) -> None:
        await context.abort(grpc.StatusCode.OK, "a defect")

    async with serving(tmp_path, Wrong=wrong):
        error = await refused(ask(await connected(client_of(tmp_path)), "Wrong"))
    assert (error.code(), error.details()) == (grpc.StatusCode.UNKNOWN, "a defect")


async def test_the_words_of_a_failure_are_bounded_and_other_calls_go_on(tmp_path: Path) -> None:
    """Else a long one would be more than the caller takes of a frame, and end its connection."""
    held = Held()

    async def wordy(_: bytes, context: Any) -> None:
        await context.abort(grpc.StatusCode.INTERNAL, "é" * MOST, (("why", "x" * MOST),))

    async with serving(tmp_path, Wordy=wordy, Held=held):
        client = LocalClient(path_of(tmp_path), KEY, most_sent=MOST, most_received=10)
        connection = await connected(client)
        other = asyncio.create_task(ask(connection, "Held", b"x"))
        await held.begun.wait()
        error = await refused(ask(connection, "Wordy"))
        assert error.code() is grpc.StatusCode.INTERNAL
        assert error.details() == "é" * (frames.MOST_DETAILS_BYTES // 2)
        assert not error.trailing_metadata()
        held.go.set()
        assert await other == b"x"


async def test_a_caller_that_goes_ends_its_query_at_the_service(tmp_path: Path) -> None:
    held = Held()
    async with serving(tmp_path, Held=held, Echo=echo):
        connection = await connected(client_of(tmp_path))
        caller = asyncio.create_task(ask(connection, "Held"))
        await held.begun.wait()
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        await asyncio.wait_for(held.cancelled.wait(), PATIENCE)
        assert await ask(connection, "Echo", b"x") == b"x"


async def test_a_call_that_is_cancelled_before_it_begins_leaves_nothing(tmp_path: Path) -> None:
    made = await started(tmp_path, {"Echo": echo})
    reader, writer = await asyncio.open_unix_connection(str(path_of(tmp_path)))
    path = f"/{SERVICE}/Echo".encode()
    writer.write(HELLO + frames.call(1, 5, path, b"", b"") + frames.frame(frames.CANCEL, 1))
    assert await reader.readexactly(len(WELCOME)) == WELCOME
    writer.write(frames.call(1, 5, path, b"", b"y"))  # the number is free again
    assert await reader.readexactly(len(WELCOME) + 1) == frames.frame(frames.ANSWER, 1, b"y")
    assert not any(connection.tasks for connection in made.connections)
    writer.close()
    await made.stop(0)


async def test_a_deadline_that_passes_ends_the_query_at_both_ends(tmp_path: Path) -> None:
    held = Held()
    async with serving(tmp_path, Held=held, Echo=echo):
        connection = await connected(client_of(tmp_path))
        error = await refused(ask(connection, "Held", timeout=0.05))
        assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await asyncio.wait_for(held.cancelled.wait(), PATIENCE)
        assert await ask(connection, "Echo", b"x") == b"x"


async def test_a_deadline_ends_the_query_also_where_its_caller_stands_still(tmp_path: Path) -> None:
    held = Held()
    async with serving(tmp_path, Held=held):
        reader, writer = await asyncio.open_unix_connection(str(path_of(tmp_path)))
        writer.write(HELLO + frames.call(7, 0.05, f"/{SERVICE}/Held".encode(), b"", b""))  # and never a cancel
        assert await reader.readexactly(len(WELCOME)) == WELCOME
        await asyncio.wait_for(held.cancelled.wait(), PATIENCE)
        head = await reader.readexactly(9)
        body = await reader.readexactly(int.from_bytes(head[:4]))
        assert (head[4], head[5:]) == (frames.FAILED, b"\0\0\0\7")
        assert frames.read_failed(body).code == grpc.StatusCode.DEADLINE_EXCEEDED.value[0]
        writer.close()


@pytest.mark.parametrize(
    ("seconds", "milliseconds"),
    [(-1.0, 0), (0.0, 0), (0.0001, 1), (1.5, 1500), (float("inf"), frames.MOST_MILLISECONDS)],
)
def test_a_service_has_no_less_time_than_its_caller(seconds: float, milliseconds: int) -> None:
    sent = frames.call(1, seconds, b"/a/B", b"", b"")
    assert frames.read_call(sent[9:]).seconds == milliseconds / 1000


# How many at a time


class Doors:
    """A service of one query by both ways, with one number of places."""

    def __init__(self, data: Path, most: int, inner: Handler) -> None:
        self.local = LocalServer(Callers(KEY), most_received=MOST, most_sent=MOST)
        self.grpc = grpc.aio.server()
        self._data = data
        places = Places(most)
        of = {
            "One": grpc.unary_unary_rpc_method_handler(
                inner, GetJobRequest.FromString, GetJobRequest.SerializeToString
            ),
        }
        for each in (self.local, self.grpc):
            Guarded(each, "test", places=places).add_registered_method_handlers(SERVICE, of)

    async def __aenter__(self) -> grpc.aio.Channel:
        await self.local.start(self._data, "127.0.0.1", PORT)
        port = self.grpc.add_insecure_port("127.0.0.1:0")
        await self.grpc.start()
        self._channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
        return self._channel

    async def __aexit__(self, *_: object) -> None:
        await self._channel.close(None)
        await self.local.stop(0)
        await self.grpc.stop(0)


async def test_a_service_has_one_number_of_places_for_calls_by_socket_and_by_grpc(tmp_path: Path) -> None:
    held = Held()
    async with Doors(tmp_path, 1, held) as channel:
        connection = await connected(client_of(tmp_path))
        request = GetJobRequest(job_id="a").SerializeToString()
        by_grpc: Any = cast(Any, channel).unary_unary(f"/{SERVICE}/One")
        first = asyncio.create_task(ask(connection, "One", request))
        await held.begun.wait()
        for other in (ask(connection, "One", request), by_grpc(request, timeout=PATIENCE)):
            error = await refused(other)
            trailing: Any = error.trailing_metadata()
            assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert error.details() == "all 1 calls that this service answers at a time are under way; ask again"
            assert retry_seconds(trailing) == 1.0
        held.go.set()
        assert await first == request
        assert await by_grpc(request, timeout=PATIENCE) == request
        held.begun.clear()
        held.go.clear()
        gone = asyncio.create_task(ask(connection, "One", request))
        await held.begun.wait()
        gone.cancel()
        await asyncio.wait_for(held.cancelled.wait(), PATIENCE)
        held.go.set()
        assert await ask(connection, "One", request) == request


# Services that end and start


async def test_a_service_that_ends_fails_its_calls_and_is_found_again(tmp_path: Path) -> None:
    held = Held()
    client = client_of(tmp_path)
    async with serving(tmp_path, Held=held):
        connection = await connected(client)
        caller = asyncio.create_task(ask(connection, "Held"))
        await held.begun.wait()
    assert (await refused(caller)).code() is grpc.StatusCode.UNAVAILABLE
    assert (await refused(ask(connection, "Echo"))).code() is grpc.StatusCode.UNAVAILABLE
    assert client.connection(b"") is None
    await client.connect()
    assert client.connection(b"") is None
    async with serving(tmp_path, Echo=echo):
        assert await ask(await connected(client), "Echo", b"again") == b"again"
    await client.close()


async def test_calls_under_way_may_end_when_a_service_stops_and_further_ones_are_sent_elsewhere(tmp_path: Path) -> None:
    held = Held()
    made = await started(tmp_path, {"Held": held})
    connection = await connected(client_of(tmp_path))
    caller = asyncio.create_task(ask(connection, "Held", b"x"))
    await held.begun.wait()
    stopping = asyncio.create_task(made.stop(PATIENCE))
    error = await refused(ask(connection, "Held"))
    assert (error.code(), path_of(tmp_path).exists()) == (grpc.StatusCode.UNAVAILABLE, False)
    held.go.set()
    assert await caller == b"x"
    await stopping


async def test_answers_under_way_reach_a_caller_before_a_service_has_stopped(tmp_path: Path) -> None:
    large = bytes(8 << 20)

    async def much(_: bytes, __: Any) -> bytes:
        return large

    made = await started(tmp_path, {"Much": much})
    reader, writer = await asyncio.open_unix_connection(str(path_of(tmp_path)))
    writer.write(HELLO + frames.call(1, 5, f"/{SERVICE}/Much".encode(), b"", b""))
    assert await reader.readexactly(len(WELCOME)) == WELCOME
    await reader.readexactly(9)  # the answer has begun
    stopping = asyncio.create_task(made.stop(PATIENCE))
    assert await reader.readexactly(len(large)) == large
    await stopping
    assert not made.connections
    writer.close()


async def test_a_caller_that_does_not_read_holds_up_no_stop(tmp_path: Path) -> None:
    async def much(_: bytes, __: Any) -> bytes:
        return bytes(8 << 20)

    made = await started(tmp_path, {"Much": much})
    reader, writer = await asyncio.open_unix_connection(str(path_of(tmp_path)))
    writer.write(HELLO + frames.call(1, 5, f"/{SERVICE}/Much".encode(), b"", b""))
    assert await reader.readexactly(len(WELCOME)) == WELCOME
    await reader.readexactly(9)  # and no more of it
    await made.stop(0)
    assert not made.connections
    writer.close()


async def test_who_is_refused_is_gone_at_once_though_it_reads_nothing(tmp_path: Path) -> None:
    async def much(_: bytes, __: Any) -> bytes:
        return bytes(8 << 20)

    async with serving(tmp_path, Much=much) as made:
        reader, writer = await asyncio.open_unix_connection(str(path_of(tmp_path)))
        writer.write(HELLO + frames.call(1, PATIENCE, f"/{SERVICE}/Much".encode(), b"", b""))
        assert await reader.readexactly(len(WELCOME)) == WELCOME
        await reader.readexactly(9)  # and no more of it
        (connection,) = made.connections
        connection.data_received(b"\xff" * 9)  # reading is paused: as if it had come before
        async with asyncio.timeout(PATIENCE):
            while made.connections:
                await asyncio.sleep(0)
        writer.close()


async def test_a_service_that_can_not_be_used_is_tried_ever_more_seldom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(client_module, "time", SimpleNamespace(monotonic=lambda: now))
    client, tried = client_of(tmp_path), list[float]()

    async def ask_once() -> bool:
        """Whether there is a connection."""
        if client.connection(b"") is None and client.connecting is not None:
            tried.append(now)
            await client.connecting
        return client.connection(b"") is not None

    while now < 30:
        assert not await ask_once()
        now += 0.25
    assert tried == [0.0, 0.5, 1.5, 3.5, 7.5, 15.5, 23.5]
    async with serving(tmp_path, Echo=echo):
        now = 40.0
        assert await ask_once()
    async with asyncio.timeout(PATIENCE):
        while client.connection(b"") is not None:
            await asyncio.sleep(0)
    tried.clear()
    while now < 44:  # after a success it begins anew
        assert not await ask_once()
        now += 0.25
    assert [moment - 40.0 for moment in tried] == [0.5, 1.0, 2.0]
    await client.close()


async def test_a_closed_client_connects_no_more(tmp_path: Path) -> None:
    async with serving(tmp_path, Echo=echo):
        client = client_of(tmp_path)
        await connected(client)
        await client.close()
        assert client.connection(b"") is None
        assert client.connecting is None


async def test_what_a_killed_service_left_is_replaced(tmp_path: Path) -> None:
    path_of(tmp_path).parent.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path_of(tmp_path)))
    client = client_of(tmp_path)
    await client.connect()
    assert client.connection(b"") is None
    async with serving(tmp_path, Echo=echo):
        assert await ask(await connected(client), "Echo", b"x") == b"x"


async def test_two_services_at_one_port_of_two_addresses_have_a_socket_each(tmp_path: Path) -> None:
    async def four(_: bytes, __: Any) -> bytes:
        return b"4"

    async def six(_: bytes, __: Any) -> bytes:
        return b"6"

    by_four = await started(tmp_path, {"Which": four})
    by_six = await started(tmp_path, {"Which": six}, host="::1")
    for address, answer in ((f"127.0.0.1:{PORT}", b"4"), (f"[::1]:{PORT}", b"6")):
        path = socket_of(tmp_path, address)
        assert path is not None
        client = LocalClient(path, KEY, most_sent=MOST, most_received=MOST)
        assert await ask(await connected(client), "Which") == answer
        await client.close()
    await by_six.stop(0)
    assert path_of(tmp_path).exists()
    await by_four.stop(0)


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "localhost"])
async def test_a_service_that_listens_at_all_addresses_is_found_by_each(tmp_path: Path, host: str) -> None:
    made = await started(tmp_path, {"Echo": echo}, host=host)
    for address in ("127.0.0.1", "localhost", "::1", "[::1]"):
        path = socket_of(tmp_path, f"{address}:{PORT}")
        assert path is not None
        client = LocalClient(path, KEY, most_sent=MOST, most_received=MOST)
        assert await ask(await connected(client), "Echo", b"x") == b"x"
        await client.close()
    await made.stop(0)
    assert list((tmp_path / "sockets").iterdir()) == []


async def test_a_service_at_both_addresses_leaves_another_services_socket(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """gRPC is content with one of the two."""

    async def six(_: bytes, __: Any) -> bytes:
        return b"6"

    caplog.set_level(logging.INFO)
    by_six = await started(tmp_path, {"Which": six}, host="::1")
    by_both = await started(tmp_path, {"Echo": echo}, host="localhost")
    assert await ask(await connected(client_of(tmp_path)), "Echo", b"x") == b"x"
    path = socket_of(tmp_path, f"[::1]:{PORT}")
    assert path is not None
    assert await ask(await connected(LocalClient(path, KEY, most_sent=MOST, most_received=MOST)), "Which") == b"6"
    third = await started(tmp_path, {"Echo": echo})
    assert f"calls come by gRPC alone: another process listens at {path_of(tmp_path)}" in caplog.text
    for each in (third, by_both, by_six):
        await each.stop(0)


async def test_a_service_that_stops_leaves_the_socket_of_its_successor(tmp_path: Path) -> None:
    first = await started(tmp_path, {"Echo": echo})
    path_of(tmp_path).unlink()  # somebody's hand
    second = await started(tmp_path, {"Echo": echo})
    await first.stop(0)
    assert await ask(await connected(client_of(tmp_path)), "Echo", b"x") == b"x"
    await second.stop(0)
    assert not path_of(tmp_path).exists()


# Who gets in


async def test_folder_and_socket_are_their_users_alone(tmp_path: Path) -> None:
    async with serving(tmp_path, Echo=echo):
        path = path_of(tmp_path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert not path.exists()


async def test_a_folder_that_others_may_enter_is_used_by_neither_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    client = client_of(tmp_path)
    async with serving(tmp_path, Echo=echo):
        path_of(tmp_path).parent.chmod(0o755)
        await client.connect()
        assert client.connection(b"") is None
    async with serving(tmp_path, Echo=echo):
        assert not path_of(tmp_path).exists()
    assert "calls come by gRPC alone" in caplog.text
    assert "chmod 0700" in caplog.text


def test_a_file_in_a_sockets_place_is_left_alone(tmp_path: Path) -> None:
    path_of(tmp_path).parent.mkdir(mode=0o700)
    path_of(tmp_path).write_text("mine")
    with pytest.raises(NoPlace, match="is no socket; remove it"):
        listening(tmp_path, "127.0.0.1", PORT)
    assert path_of(tmp_path).read_text() == "mine"


async def test_a_folder_with_a_long_name_has_no_socket_for_either_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    long = tmp_path / ("x" * MOST_PATH_BYTES)
    assert socket_of(long, f"127.0.0.1:{PORT}") is None  # so the gateway tries none
    made = await started(long, {"Echo": echo})
    assert f"is too long for a socket ({MOST_PATH_BYTES} bytes); a data folder with a shorter name" in caplog.text
    assert not long.exists()
    await made.stop(0)


def test_the_longest_name_of_a_socket_can_be_used_by_both_ends(tmp_path: Path) -> None:
    room = MOST_PATH_BYTES - len(os.fsencode(tmp_path)) - len(f"//sockets/{PORT}-v6")
    data = tmp_path / ("x" * room)
    for made in listening(data, "localhost", PORT):
        with made.socket, socket.socket(socket.AF_UNIX) as caller:
            caller.connect(str(made.path))
    assert len(os.fsencode(made.path)) == MOST_PATH_BYTES
    assert socket_of(data, f"[::1]:{PORT}") == made.path


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("127.0.0.1:5001", True),
        ("localhost:5001", True),
        ("[::1]:5001", True),
        ("10.0.0.1:5001", False),
        ("jobs:5001", False),
        ("jobs.forgelog.svc:5001", False),
    ],
)
def test_a_service_of_another_machine_is_called_by_grpc(tmp_path: Path, address: str, local: bool) -> None:
    assert (socket_of(tmp_path, address) is not None) == local


def test_a_service_that_listens_for_other_machines_alone_has_no_socket(tmp_path: Path) -> None:
    assert listening(tmp_path, "10.0.0.1", PORT) == []


CALL = frames.call(1, 5, f"/{SERVICE}/Echo".encode(), b"", b"x")

NOT_OURS: list[Any] = [
    pytest.param(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", id="HTTP"),
    pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", id="HTTP/2"),
    pytest.param(b"\xff" * 9, id="a frame of 4 GiB"),
    pytest.param(bytes(9), id="no kind"),
    pytest.param(CALL, id="a call first"),
    pytest.param(frames.frame(frames.CANCEL, 1), id="a cancel first"),
    pytest.param(frames.frame(frames.HELLO, frames.VERSION, b""), id="no key"),
    pytest.param(frames.frame(frames.HELLO, frames.VERSION, new_api_key().encode()), id="another key"),
    pytest.param(frames.frame(frames.HELLO, frames.VERSION, b"\xff\xfe"), id="a key that is no text"),
    pytest.param(frames.frame(frames.HELLO, frames.VERSION + 1, KEY.encode()), id="another version"),
    pytest.param(frames.frame(frames.HELLO, frames.VERSION, bytes(5000)), id="a long key"),
    pytest.param(HELLO + HELLO, id="a second hello"),
    pytest.param(HELLO + frames.frame(frames.ANSWER, 1), id="an answer"),
    pytest.param(HELLO + frames.frame(frames.CALL, 1, b"123"), id="a call without a head"),
    pytest.param(HELLO + frames.frame(frames.CALL, 1, b"\0\0\0\1\xff\xff\0\0"), id="a call that is too short"),
    pytest.param(HELLO + b"\x7f\xff\xff\xff\x03\0\0\0\x01", id="a call of 2 GiB"),
]


@pytest.mark.parametrize("content", NOT_OURS)
async def test_who_does_not_speak_the_protocol_is_shut_out_and_others_are_served(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(tmp_path, Echo=echo) as made:
        connection = await connected(client_of(tmp_path))
        reader, writer = await asyncio.open_unix_connection(str(path_of(tmp_path)))
        writer.write(content)
        with suppress(ConnectionError):
            await asyncio.wait_for(reader.read(), PATIENCE)  # until it is closed
        writer.close()
        assert await ask(connection, "Echo", b"x") == b"x"
        assert len(made.connections) == 1
    assert "a local connection is closed" in caplog.text
    assert KEY not in caplog.text


async def test_who_says_nothing_is_shut_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "HELLO_SECONDS", 0.05)
    async with serving(tmp_path, Echo=echo):
        connection = await connected(client_of(tmp_path))
        reader, writer = await asyncio.open_unix_connection(str(path_of(tmp_path)))
        writer.write(HELLO[:20])
        assert await asyncio.wait_for(reader.read(), PATIENCE) == b""
        writer.close()
        assert await ask(connection, "Echo", b"x") == b"x"


async def test_a_malformed_call_ends_the_calls_of_its_connection_alone(tmp_path: Path) -> None:
    held = Held()
    async with serving(tmp_path, Held=held, Echo=echo):
        connection = await connected(client_of(tmp_path))
        reader, writer = await asyncio.open_unix_connection(str(path_of(tmp_path)))
        writer.write(HELLO + frames.call(7, 5, f"/{SERVICE}/Held".encode(), b"", b""))
        await asyncio.wait_for(held.begun.wait(), PATIENCE)
        writer.write(frames.call(7, 5, f"/{SERVICE}/Held".encode(), b"", b""))  # the number is in use
        await asyncio.wait_for(held.cancelled.wait(), PATIENCE)
        await asyncio.wait_for(reader.read(), PATIENCE)
        writer.close()
        assert await ask(connection, "Echo", b"x") == b"x"


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"\xff" * 9, id="a frame of 4 GiB"),
        pytest.param(frames.frame(frames.CALL, 1), id="a call"),
        pytest.param(frames.frame(frames.FAILED, 1, b"\x05\0\0\0\xff"), id="a failure that is too short"),
        pytest.param(frames.frame(frames.FAILED, 1, b"\x05\0\0\0\0\0\1"), id="metadata that is too short"),
        pytest.param(frames.frame(frames.WELCOME, 1), id="a second welcome"),
        pytest.param(b"", id="nothing"),
    ],
)
async def test_a_service_that_answers_nonsense_fails_the_calls_that_wait(tmp_path: Path, answer: bytes) -> None:
    async def wrong(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(len(HELLO))
        writer.write(WELCOME)
        await reader.read(100)
        writer.write(answer)
        await writer.drain()
        writer.close()

    path_of(tmp_path).parent.mkdir(mode=0o700)
    async with await asyncio.start_unix_server(wrong, str(path_of(tmp_path))):
        client = client_of(tmp_path)
        connection = await connected(client)
        assert (await refused(ask(connection, "Echo"))).code() is grpc.StatusCode.UNAVAILABLE
        assert client.connection(b"") is None
        await client.close()


async def test_a_service_with_another_key_is_called_by_grpc_which_says_so(tmp_path: Path) -> None:
    async with serving(tmp_path, Echo=echo):
        client = client_of(tmp_path, new_api_key())
        await client.connect()
        assert client.connection(b"") is None


async def test_a_handler_that_is_cancelled_from_within_ends_its_call(tmp_path: Path) -> None:
    async def gone(_: bytes, __: Any) -> bytes:
        raise asyncio.CancelledError

    async with serving(tmp_path, Gone=gone):
        error = await refused(ask(await connected(client_of(tmp_path)), "Gone"))
        assert error.code() is grpc.StatusCode.CANCELLED


async def test_calls_go_by_grpc_while_a_service_does_not_read(tmp_path: Path) -> None:
    """Else the gateway would hold all that is asked of a service that stands still."""
    go_on = asyncio.Event()

    async def stalled(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(len(HELLO))
        writer.write(WELCOME)
        await go_on.wait()
        writer.close()

    path_of(tmp_path).parent.mkdir(mode=0o700)
    async with await asyncio.start_unix_server(stalled, str(path_of(tmp_path))):
        client = client_of(tmp_path)
        connection = await connected(client)
        call = asyncio.ensure_future(ask(connection, "Echo", bytes(MOST)))
        await asyncio.sleep(0)
        assert client.connection(b"") is None
        await client.close()
        assert (await refused(call)).code() is grpc.StatusCode.UNAVAILABLE
        go_on.set()


async def test_clients_that_are_refused_again_and_again_are_logged_once_a_while(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(tmp_path, Echo=echo):
        client = client_of(tmp_path, new_api_key())
        for _ in range(5):
            await client.connect()
    assert caplog.text.count("a local connection is closed") == 1
