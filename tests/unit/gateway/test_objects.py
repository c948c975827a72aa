"""Objects by HTTP: what is put is read, whole or in part; of what is wrong, cut or slow nothing is kept."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from blake3 import blake3

from events.objects.address import blob_name
from services.gateway.objects import MAX_ASKED, MISSING
from tests import PATIENCE
from tests.unit.gateway.door import Door, door

SMALL = b"a model of few words"
LARGE = b"".join(bytes([number]) * (1 << 20) for number in range(11))
"""A whole part, and a rest."""
BOUND = 0.5
MiB = 1 << 20

both_sizes = pytest.mark.parametrize("data", [b"", SMALL, LARGE], ids=["empty", "small", "large"])


@pytest_asyncio.fixture(scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Door, Path]]:
    folder = tmp_path_factory.mktemp("gateway")
    async with door(folder, gateway_body_seconds=BOUND, gateway_object_bytes=64 * MiB) as made:
        yield made, folder


@pytest.fixture
def gateway(shared: tuple[Door, Path]) -> Door:
    return shared[0]


@pytest.fixture
def store(shared: tuple[Door, Path]) -> Path:
    return shared[1] / "objects"


@pytest_asyncio.fixture
async def client(gateway: Door) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(
        base_url=f"http://{gateway.address}", headers=dict(gateway.credentials), timeout=PATIENCE, trust_env=False
    ) as made:
        yield made


def path(digest: str) -> str:
    return f"/v1/objects/{digest}"


def path_of(data: bytes) -> str:
    return path(digest_of(data))


def digest_of(data: bytes) -> str:
    return str(blake3(data).hexdigest())


async def streamed(data: bytes, piece: int = 100_000) -> AsyncIterator[bytes]:
    for at in range(0, len(data), piece):
        yield data[at : at + piece]


def files(store: Path) -> set[Path]:
    return {file for file in store.rglob("*") if file.is_file()}


def problem(answer: httpx.Response) -> str:
    return str(answer.json()["error"]["message"])


@both_sizes
async def test_what_is_put_is_read(client: httpx.AsyncClient, data: bytes) -> None:
    put = await client.put(path_of(data), content=data)
    assert (put.status_code, put.json()) == (200, {"digest": digest_of(data), "size": len(data)})
    got = await client.get(path_of(data))
    assert (got.status_code, got.content) == (200, data)
    assert got.headers["etag"] == f'"{digest_of(data)}"'
    head = await client.head(path_of(data))
    assert (head.status_code, head.headers["content-length"], head.content) == (200, str(len(data)), b"")


async def test_a_body_whose_length_is_not_said_is_taken(client: httpx.AsyncClient) -> None:
    data = LARGE + b"by pieces"
    assert (await client.put(path_of(data), content=streamed(data))).status_code == 200
    assert (await client.get(path_of(data))).content == data


async def test_an_address_as_it_is_shown_is_taken(client: httpx.AsyncClient) -> None:
    assert (await client.put(path(f"blake3:{digest_of(SMALL)}"), content=SMALL)).status_code == 200


async def test_a_browser_that_is_led_to_an_object_shows_nothing_of_it(client: httpx.AsyncClient) -> None:
    page = b"<script>alert(1)</script>"
    await client.put(path_of(page), content=page)
    headers = (await client.get(path_of(page))).headers
    assert headers["content-type"] == "application/octet-stream"
    assert headers["content-disposition"] == "attachment"
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
async def test_a_range_is_read(client: httpx.AsyncClient, data: bytes) -> None:
    await client.put(path_of(data), content=data)
    got = await client.get(path_of(data), headers={"Range": "bytes=3-"})
    assert (got.status_code, got.content) == (206, data[3:])
    assert got.headers["content-range"] == f"bytes 3-{len(data) - 1}/{len(data)}"
    behind = await client.get(path_of(data), headers={"Range": f"bytes={len(data)}-"})
    assert (behind.status_code, behind.headers["content-range"]) == (416, f"bytes */{len(data)}")


async def test_there_is_no_such_object(client: httpx.AsyncClient) -> None:
    got = await client.get(path("4f" * 32))
    assert got.status_code == 404
    assert "4f4f" in problem(got)


@pytest.mark.parametrize("digest", ["4f", "4F" * 32, "..%2f..%2fkeys%2fowner.key", "blake3:", "sha256:" + "4f" * 32])
async def test_what_is_no_digest_is_refused(client: httpx.AsyncClient, digest: str) -> None:
    for method in ("GET", "PUT"):
        answer = await client.request(method, path(digest), content=b"")
        assert answer.status_code in (400, 404), answer
    assert (await client.get(path(digest))).json()["error"]["code"] in ("invalid_argument", "not_found")


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
async def test_of_other_bytes_than_announced_nothing_is_kept(
    client: httpx.AsyncClient, store: Path, data: bytes
) -> None:
    await client.put(path_of(b"first"), content=b"first")
    before = files(store)
    other = digest_of(data + b"other")
    for content in (data, streamed(data)):
        answer = await client.put(path(other), content=content)
        assert answer.status_code == 400
        assert answer.json()["error"]["errors"][0]["field"] == "digest"
    assert files(store) == before
    assert (await client.get(path(other))).status_code == 404


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
async def test_of_an_upload_that_is_cut_nothing_is_kept(gateway: Door, store: Path, data: bytes) -> None:
    """The client goes away with its last byte unsent."""
    data += b"cut"
    before = files(store)
    _, writer = await _connect(gateway, data, len(data))
    writer.write(data[:-1])
    await writer.drain()
    writer.close()
    await _until(lambda: files(store) == before)
    async with asyncio.timeout(PATIENCE):
        assert (await gateway.ask(path_of(data), "HEAD", *gateway.credentials)).status == 404


async def test_a_client_that_stops_sending_is_cut(gateway: Door, store: Path) -> None:
    data = LARGE + b"stopped"
    before = files(store)
    reader, writer = await _connect(gateway, data, len(data))
    writer.write(data[: 9 * MiB])
    async with asyncio.timeout(PATIENCE):
        answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"the request's body's next 256 KiB did not come within 0.5 s" in answer
    writer.close()
    await _until(lambda: files(store) == before)


async def test_a_client_that_goes_on_sending_may_take_longer_than_the_bound(gateway: Door) -> None:
    data = os.urandom(4 * MiB)
    reader, writer = await _connect(gateway, data, len(data))
    for at in range(0, len(data), MiB):
        await asyncio.sleep(0.8 * BOUND)  # altogether longer than the bound
        writer.write(data[at : at + MiB])
        await writer.drain()
    async with asyncio.timeout(PATIENCE):
        assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
    writer.close()


async def test_what_can_not_be_an_object_is_refused_before_it_comes(gateway: Door, client: httpx.AsyncClient) -> None:
    reader, writer = await _connect(gateway, b"", 1 << 50)
    async with asyncio.timeout(PATIENCE):
        assert (await reader.readline()).startswith(b"HTTP/1.1 413 ")
    writer.close()
    packed = await client.put(path_of(SMALL), content=SMALL, headers={"Content-Encoding": "gzip"})
    assert packed.status_code == 415
    part = await client.put(path_of(SMALL), content=SMALL, headers={"Content-Range": "bytes 0-1/2"})
    assert part.status_code == 400


async def test_two_uploads_of_one_object_at_once_leave_one(client: httpx.AsyncClient, store: Path) -> None:
    data = LARGE + b"twice"
    before = files(store)
    answers = await asyncio.gather(*(client.put(path_of(data), content=streamed(data)) for _ in range(3)))
    assert [answer.status_code for answer in answers] == [200] * 3
    assert len(files(store) - before) == 2, "its bytes, and its entry"
    assert (await client.get(path_of(data))).content == data


async def test_what_is_missing_is_told(client: httpx.AsyncClient) -> None:
    await client.put(path_of(SMALL), content=SMALL)
    there = {"digest": digest_of(SMALL), "size": len(SMALL)}
    other_size = {**there, "size": 3}
    gone = {"digest": "00" * 32, "size": 3}
    answer = await client.post(MISSING, json={"objects": [gone, there, other_size, gone]})
    assert (answer.status_code, answer.json()) == (200, {"missing": [gone, other_size]})


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "objects"),
        ({"objects": [{"digest": "../x", "size": 1}]}, "objects[0].digest"),
        ({"objects": [{"digest": "00" * 32, "size": -1}]}, "objects[0].size"),
        ({"objects": [{"digest": "00" * 32, "size": False}]}, "objects[0].size"),
        ({"objects": [], "more": 1}, "more"),
        ({"objects": [{}] * (MAX_ASKED + 1)}, "objects"),
    ],
    ids=["nothing", "digest", "size", "no number", "more", "too many"],
)
async def test_a_wrong_question_is_refused_by_field(client: httpx.AsyncClient, body: object, field: str) -> None:
    answer = await client.post(MISSING, json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["errors"][0]["field"] == field


async def test_a_damaged_object_is_not_handed_out(client: httpx.AsyncClient, store: Path) -> None:
    await client.put(path_of(b"to be damaged"), content=b"to be damaged")
    (store / blob_name(digest_of(b"to be damaged"))).write_bytes(b"To be damaged")
    answer = await client.get(path_of(b"to be damaged"))
    assert answer.status_code == 500
    assert "is damaged" in problem(answer)

    data = LARGE + b"to be damaged"
    await client.put(path_of(data), content=data)
    (large,) = (file for file in (store / "large").iterdir() if file.stat().st_size == len(data))
    large.write_bytes(data[:-1] + b"D")
    with pytest.raises(httpx.RemoteProtocolError):
        await client.get(path_of(data))


async def test_without_room_an_upload_is_told_when_to_come_again(gateway: Door, client: httpx.AsyncClient) -> None:
    """Four uploads of unknown length hold all that may be held."""
    holding = [await _connect(gateway, b"", None) for _ in range(4)]
    for _, writer in holding:
        writer.write(b"1\r\nx\r\n")
        await writer.drain()

    async def refused() -> httpx.Response:
        while (answer := await client.put(path_of(SMALL), content=SMALL)).status_code == 200:
            await asyncio.sleep(0.01)
        return answer

    answer = await asyncio.wait_for(refused(), PATIENCE)
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) >= 1
    for _, writer in holding:
        writer.close()
    async with asyncio.timeout(PATIENCE):
        while (await client.put(path_of(SMALL), content=SMALL)).status_code == 429:
            await asyncio.sleep(0.01)


async def test_other_requests_are_answered_amid_uploads(client: httpx.AsyncClient) -> None:
    """Hashing and storing are not the event loop's work: a large upload leaves it to others between its pieces."""
    data = os.urandom(48 * MiB)
    uploading = asyncio.create_task(client.put(path_of(data), content=streamed(data, MiB)))
    answered = 0
    while not uploading.done():
        assert (await client.get("/healthz")).status_code == 200
        answered += 1
    assert (await uploading).status_code == 200
    assert answered >= 5


async def test_a_gateway_grows_little_by_a_large_object(tmp_path: Path) -> None:
    """In a process of its own, whose memory is looked at."""
    size = 256 * MiB
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FORGELOG_")} | {
        "FORGELOG_KAFKA": "127.0.0.1:1",
        "FORGELOG_GATEWAY": "127.0.0.1:0",
        "FORGELOG_DATA": str(tmp_path),
    }
    gateway = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.gateway", env=environment, stderr=asyncio.subprocess.PIPE
    )
    try:
        assert gateway.stderr is not None
        async with asyncio.timeout(PATIENCE):
            while not (found := re.search(rb"on (127.0.0.1:\d+)", line := await gateway.stderr.readline())):
                assert line, "it listens"
        address, key = found[1].decode(), (tmp_path / "keys" / "owner.key").read_text().strip()
        draining = asyncio.create_task(gateway.stderr.read())
        async with httpx.AsyncClient(
            base_url=f"http://{address}", headers={"Authorization": f"Bearer {key}"}, timeout=PATIENCE, trust_env=False
        ) as client:
            warm = b"w" * MiB
            assert (await client.put(path_of(warm), content=warm)).status_code == 200
            before = _peak(gateway.pid)
            piece = os.urandom(MiB)
            seen = blake3()
            for _ in range(size // MiB):
                seen.update(piece)
            whole = (piece for _ in range(size // MiB))

            async def body() -> AsyncIterator[bytes]:
                for each in whole:
                    yield each

            put = await client.put(path(seen.hexdigest()), content=body())
            assert put.json() == {"digest": seen.hexdigest(), "size": size}
            got = 0
            async with client.stream("GET", path(seen.hexdigest())) as answer:
                async for each in answer.aiter_raw():
                    got += len(each)
            assert got == size
            assert _peak(gateway.pid) - before <= size // 3  # parts of 8 MiB on their way, some of them twice
    finally:
        with suppress(ProcessLookupError):
            gateway.kill()
        await gateway.wait()
        await draining


def _peak(pid: int) -> int:
    """Most bytes that a process had resident."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.partition("VmHWM:")[2].split()[0]) << 10


async def _connect(gateway: Door, data: bytes, length: int | None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = gateway.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    said = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    lines = [f"PUT {path_of(data)} HTTP/1.1", f"Host: {gateway.address}", said]
    lines += [f"{name}: {value}" for name, value in gateway.credentials]
    writer.write("\r\n".join([*lines, "", ""]).encode())
    return reader, writer


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not holds():
            await asyncio.sleep(0.01)
