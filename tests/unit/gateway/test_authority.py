"""The name by which a gRPC connection calls the gateway is read from its bytes, however they come."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc
import pytest
import pytest_asyncio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from hpack import Decoder, Encoder

from services.gateway.authority import MAX_HEAD_BYTES, FirstHead, Unreadable, refusal
from services.gateway.front import PREFACE
from tests.unit.gateway.door import Door, door

SETTINGS = bytes.fromhex("000006 04 00 00000000 0003 00000064")
UPDATE = bytes.fromhex("000004 08 00 00000000 00010000")
DATA = bytes.fromhex("000003 00 01 00000001") + b"abc"


def frame(kind: int, flags: int, payload: bytes, stream: int = 1) -> bytes:
    return len(payload).to_bytes(3) + bytes((kind, flags)) + stream.to_bytes(4) + payload


def block(authority: str = "localhost:7070", *more: tuple[str, str], huffman: bool = True) -> bytes:
    found: bytes = Encoder().encode([(":method", "POST"), (":authority", authority), *more], huffman=huffman)
    return found


def read(data: bytes, pieces: int = 1) -> tuple[str | None, bytes]:
    head, passed = FirstHead(), b""
    for at in range(0, len(data), pieces):
        passed += head.feed(data[at : at + pieces])
    return head.authority, passed


HEADS = {
    "plain": frame(1, 4, block(huffman=False)),
    "huffman": frame(1, 4, block()),
    "padded": frame(1, 4 | 8, b"\x05" + block() + bytes(5)),
    "with a priority": frame(1, 4 | 32, bytes(5) + block()),
    "both": frame(1, 4 | 8 | 32, b"\x02" + bytes(5) + block() + bytes(2)),
    "in two frames": frame(1, 0, block()[:4]) + frame(9, 4, block()[4:]),
    "in three frames": frame(1, 0, b"") + frame(9, 0, block()[:1]) + frame(9, 4, block()[1:]),
}


@pytest.mark.parametrize("pieces", [1, 2, 7, 10_000])
@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
def test_the_name_is_found_and_every_byte_passes(head: bytes, pieces: int) -> None:
    sent = PREFACE + SETTINGS + UPDATE + head + DATA
    assert read(sent, pieces) == ("localhost:7070", sent)


def test_a_frame_in_parts_among_many_small_ones_passes() -> None:
    many = bytes.fromhex("000000 04 01 00000000") * 5000
    sent = PREFACE + many + HEADS["in three frames"] + many
    assert read(sent, 10_007) == ("localhost:7070", sent)
    assert read(sent, len(sent)) == ("localhost:7070", sent)


def test_what_comes_before_the_first_call_is_not_held() -> None:
    """A client waits for the answer to its settings before it calls."""
    head = FirstHead()
    assert head.feed(PREFACE + SETTINGS) == PREFACE + SETTINGS
    assert head.feed(UPDATE) == UPDATE
    assert head.feed(HEADS["in two frames"][:20]) == b""
    assert head.authority is None


def test_a_later_head_is_not_looked_at() -> None:
    later = frame(1, 4, block("evil.example"), stream=3)
    assert read(PREFACE + HEADS["plain"] + later)[0] == "localhost:7070"


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (block("%5B::1%5D:7070"), "[::1]:7070"),
        (Encoder().encode([(":method", "POST"), ("host", "evil.example")]), "evil.example"),
        (Encoder().encode([(":method", "POST")]), ""),
    ],
)
def test_names_in_other_ways(head: bytes, name: str) -> None:
    assert read(PREFACE + frame(1, 4, head))[0] == name


@pytest.mark.parametrize(
    "sent",
    [
        frame(1, 4, b"\xff\xff\xff\xff\xff\xff"),
        frame(1, 0, block()) + SETTINGS,
        frame(1, 0, block()) + frame(1, 4, block()),
        (MAX_HEAD_BYTES + 1).to_bytes(3) + b"\x01\x04" + bytes(4),
        frame(1, 0, b"") + 5 * frame(9, 0, bytes(MAX_HEAD_BYTES // 4)),
        frame(1, 4, block("x", *((f"h{number}", "y" * 1000) for number in range(80)))),
        frame(1, 4 | 8, b""),
        frame(1, 4 | 8, b"\xff" + block()),
    ],
    ids=[
        "no HPACK",
        "interrupted",
        "two begun",
        "large frame",
        "long",
        "long when unpacked",
        "no padding",
        "all padding",
    ],
)
def test_what_is_no_head_is_not_passed_on(sent: bytes) -> None:
    try:
        name, _ = read(PREFACE + sent)
    except Unreadable:
        return
    assert name == ""  # nobody's


def test_a_head_of_empty_frames_without_an_end_is_not_kept() -> None:
    """They hold nothing, so that no bound of what a head says stops them."""
    head = FirstHead()
    head.feed(PREFACE + frame(1, 0, b""))
    with pytest.raises(Unreadable, match="a head of more than"):
        head.feed(frame(9, 0, b"") * 20_000)


def test_a_refusal_is_an_answer_to_the_call() -> None:
    told = refusal(7, "host: 'ünknown'")
    assert told[:9] == frame(4, 0, b"", 0)
    length = int.from_bytes(told[9:12])
    assert (told[12:14], int.from_bytes(told[14:18])) == (b"\x01\x05", 7)
    head = dict(Decoder().decode(told[18 : 18 + length]))
    assert (head["grpc-status"], head["grpc-message"]) == ("7", "host: '%C3%BCnknown'")


@pytest_asyncio.fixture(scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Door]:
    async with door(tmp_path_factory.mktemp("gateway"), gateway_hosts="forgelog.example") as made:
        yield made


@pytest.mark.parametrize(
    ("name", "taken"),
    [
        *(("localhost", True), ("127.0.0.1:1", True), ("[::1]:7070", True), ("forgelog.example:443", True)),
        *(("evil.example", False), ("localhost.evil.example:7070", False), ("127.0.0.1.nip.io", False)),
    ],
)
async def test_a_connection_of_another_name_is_refused(gateway: Door, name: str, taken: bool) -> None:
    options = [("grpc.default_authority", name), ("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(gateway.address, options) as channel:
        check = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=20)
        if taken:
            await check
            return
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await check
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert refused.value.details() == (
        f"host: '{name}' is no name of this gateway; use 127.0.0.1 or localhost, or name it in FORGELOG_GATEWAY_HOSTS"
    )
