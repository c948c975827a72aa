"""Objects through the gateway, as clients and nodes use them: a real gateway, and one that is away, refuses or cuts."""

from __future__ import annotations

import asyncio
import http.client
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from blake3 import blake3

from events.language.objects import ObjectRef
from events.objects import remote as module
from events.objects.address import blob_name
from events.objects.remote import ObjectChanged, RemoteError, RemoteMissing, RemoteObjects, RemoteStopped
from tests.unit.gateway.door import Door, door


@pytest_asyncio.fixture(scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Door]:
    async with door(tmp_path_factory.mktemp("gateway")) as made:
        yield made


@pytest.fixture
def remote(gateway: Door) -> RemoteObjects:
    return RemoteObjects(gateway.address, gateway.key, patience=1.0)


def ref_of(data: bytes) -> ObjectRef:
    return ObjectRef(digest=blake3(data).hexdigest(), size=len(data))


def got(remote: RemoteObjects, ref: ObjectRef, folder: Path) -> bytes:
    remote.get(ref, lambda: (folder / "got").open("wb"))
    return (folder / "got").read_bytes()


@pytest.mark.parametrize("data", [b"", b"small", bytes(9 << 20)], ids=["empty", "small", "large"])
async def test_what_is_put_is_there_and_read(remote: RemoteObjects, data: bytes, tmp_path: Path) -> None:
    ref, told = ref_of(data), list[int]()
    assert await asyncio.to_thread(remote.missing, [ref]) == [ref]
    await asyncio.to_thread(remote.put, ref, lambda: BytesIO(data), told.append)
    assert sum(told) == len(data)
    assert await asyncio.to_thread(remote.missing, [ref]) == []
    assert await asyncio.to_thread(got, remote, ref, tmp_path) == data


async def test_more_objects_are_asked_for_than_fit_into_a_question(remote: RemoteObjects) -> None:
    refs = [ref_of(b"number %d" % number) for number in range(5_001)]
    assert await asyncio.to_thread(remote.missing, refs) == refs


@pytest.mark.parametrize("sent", [b"shorter", b"longer than was announced", b"AS ANNOUNCED"])
async def test_bytes_that_change_while_they_are_sent_are_refused(remote: RemoteObjects, sent: bytes) -> None:
    with pytest.raises(ObjectChanged, match="changed while they were sent"):
        await asyncio.to_thread(remote.put, ref_of(b"as announced"), lambda: BytesIO(sent))
    assert await asyncio.to_thread(remote.missing, [ref_of(b"as announced")]) == [ref_of(b"as announced")]


async def test_of_a_file_that_has_grown_since_its_announced_bytes_are_put(
    remote: RemoteObjects, tmp_path: Path
) -> None:
    ref = ref_of(b"step 1\n")
    await asyncio.to_thread(remote.put, ref, lambda: BytesIO(b"step 1\nstep 2\n"))
    assert await asyncio.to_thread(got, remote, ref, tmp_path) == b"step 1\n"


class NoPause(threading.Event):
    def wait(self, timeout: float | None = None) -> bool:
        raise AssertionError("it is to be asked again")


async def test_what_is_damaged_is_not_asked_for_again(tmp_path: Path) -> None:
    async with door(tmp_path) as gateway:
        remote, ref = RemoteObjects(gateway.address, gateway.key, stopped=NoPause()), ref_of(b"to be damaged")
        await asyncio.to_thread(remote.put, ref, lambda: BytesIO(b"to be damaged"))
        (tmp_path / "objects" / blob_name(ref.digest)).write_bytes(b"to be Damaged")
        with pytest.raises(RemoteError, match=f"The object blake3:{ref.digest} is damaged"):
            await asyncio.to_thread(got, remote, ref, tmp_path)


async def test_what_is_not_there_is_told(remote: RemoteObjects, tmp_path: Path) -> None:
    with pytest.raises(RemoteMissing, match="there is no object"):
        await asyncio.to_thread(got, remote, ref_of(b"never put"), tmp_path)


async def test_a_wrong_key_is_told_and_not_shown(gateway: Door) -> None:
    remote = RemoteObjects(gateway.address, "planted-key")
    with pytest.raises(RemoteError, match="authorization") as caught:
        await asyncio.to_thread(remote.missing, [ref_of(b"x")])
    assert "planted-key" not in str(caught.value)


async def test_nothing_goes_on_once_it_is_to_stop(gateway: Door) -> None:
    stopped = threading.Event()
    stopped.set()
    with pytest.raises(RemoteStopped):
        await asyncio.to_thread(RemoteObjects(gateway.address, gateway.key, stopped=stopped).missing, [ref_of(b"x")])


ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n"
LATER = b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize(
    "first", [b"", LATER, ANSWER[:9], ANSWER + b"obj", ANSWER.replace(b"7", b"3") + b"obj"],
    ids=["nothing", "429", "half a head", "half a body", "half of it"],
)  # fmt: skip
async def test_a_fault_of_the_network_is_tried_again(first: bytes, tmp_path: Path) -> None:
    answers = [first, ANSWER + b"objects"]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answers.pop(0))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()
        remote = RemoteObjects(f"{host}:{port}", "key", patience=10.0)
        if first.endswith(b"3\r\n\r\nobj"):  # a whole answer with other bytes is no fault of the network
            with pytest.raises(RemoteError, match="other bytes"):
                await asyncio.to_thread(got, remote, ref_of(b"objects"), tmp_path)
        else:
            assert await asyncio.to_thread(got, remote, ref_of(b"objects"), tmp_path) == b"objects"


async def test_a_gateway_that_stays_away_is_told(tmp_path: Path) -> None:
    with pytest.raises(RemoteError, match="can't be reached"):
        await asyncio.to_thread(got, RemoteObjects("127.0.0.1:1", "key", patience=0.3), ref_of(b"x"), tmp_path)


@pytest.mark.parametrize(
    "error", [socket.gaierror(-3, "Temporary failure in name resolution"), OSError(113, "No route to host")], ids=str
)
async def test_a_network_that_is_down_is_tried_again_and_told(
    gateway: Door, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    remote, tries = RemoteObjects(gateway.address, gateway.key, patience=10.0), list[str]()
    way = http.client.HTTPConnection.connect

    def connect(connection: http.client.HTTPConnection) -> None:
        tries.append("tried")
        if len(tries) < 3:
            raise error
        way(connection)

    monkeypatch.setattr(http.client.HTTPConnection, "connect", connect)
    assert await asyncio.to_thread(remote.missing, [ref_of(b"a")]) == [ref_of(b"a")]
    assert len(tries) == 3
    tries.clear()
    with pytest.raises(RemoteError, match=f"can't be reached: {error.strerror}"):
        await asyncio.to_thread(RemoteObjects(gateway.address, gateway.key, patience=0.0).missing, [ref_of(b"a")])


@pytest.mark.parametrize("fails", ["open", "read", "write", "close"])
async def test_what_fails_at_the_callers_file_is_raised_as_it_is_and_at_once(remote: RemoteObjects, fails: str) -> None:
    tries = list[str]()

    class Full(BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return fail() if fails == "read" else super().read(size)

        def write(self, data: Any) -> int:
            return fail() if fails == "write" else super().write(data)

        def close(self) -> None:
            super().close()
            if fails == "close" and tries.count("closed") == 0:
                tries.append("closed")
                fail()

    def fail() -> Any:
        raise OSError(28, "No space left on device")

    def opened() -> Full:
        tries.append("opened")
        return fail() if fails == "open" else Full()

    await asyncio.to_thread(remote.put, ref_of(b"a file"), lambda: BytesIO(b"a file"))
    with pytest.raises(OSError, match="No space left"):
        await asyncio.to_thread(remote.put if fails == "read" else remote.get, ref_of(b"a file"), opened)
    assert tries.count("opened") == 1


class Slow(BytesIO):
    """A file with reads and writes that take ten minutes each, by the clock of the module."""

    now = 0.0

    def monotonic(self) -> float:
        return Slow.now

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        Slow.now += 600 * bool(data)
        return data

    def write(self, data: Any) -> int:
        Slow.now += 600
        return super().write(data)


@asynccontextmanager
async def served(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[str]:
    """The address of a gateway that does so with each connection."""

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await serve(reader, writer)
        writer.close()

    server = await asyncio.start_server(once, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()
        yield f"{host}:{port}"


@pytest.mark.parametrize("verb", ["get", "put"])
async def test_a_transfer_of_hours_that_is_cut_is_tried_again(verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "time", Slow())
    data, answered = b"o" * (3 << 20), list[str]()
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        cut = not answered
        answered.append("cut" if cut else "whole")
        if verb == "put":
            await reader.readexactly(len(data))
            writer.write(b"" if cut else head % 0)
        else:
            writer.write(head % len(data) + data[: 2 << 20 if cut else len(data)])
            await writer.drain()

    async with served(serve) as address:
        remote = RemoteObjects(address, "key")
        if verb == "put":
            await asyncio.to_thread(remote.put, ref_of(data), lambda: Slow(data))
        else:
            await asyncio.to_thread(remote.get, ref_of(data), Slow)
    assert answered == ["cut", "whole"]


async def test_bytes_that_are_taken_and_refused_each_time_keep_it_up_no_longer() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\nsmall")
        writer.write(LATER)
        await writer.drain()

    async with served(serve) as address:
        remote = RemoteObjects(address, "key", patience=0.3)
        with pytest.raises(RemoteError, match="429"):
            await asyncio.to_thread(remote.put, ref_of(b"small"), lambda: BytesIO(b"small"))


async def test_the_first_failure_stops_the_transfers_beside_it() -> None:
    begun = threading.Event()

    class Endless(BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            begun.set()
            return b"x"

    async def serve(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        while await reader.read(1 << 16):
            pass

    def fail() -> None:
        begun.wait(30)
        raise RemoteMissing("the first")

    def both() -> None:
        with ThreadPoolExecutor(2) as pool:
            endless = ObjectRef(digest="00" * 32, size=1 << 36)
            remote.all_or_stop([pool.submit(remote.put, endless, Endless), pool.submit(fail)])

    async with served(serve) as address:
        remote = RemoteObjects(address, "key")
        with pytest.raises(RemoteMissing, match="the first"):
            await asyncio.to_thread(both)
