"""Uploads whose parts go straight to the store: what came whole becomes an object, and nothing else does."""

from __future__ import annotations

import os
import traceback
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from blake3 import blake3

from events.language.objects import MAX_OBJECT_BYTES, ObjectRef
from events.objects.address import blob_name, bound_place, index_name, new_place
from events.objects.garbage import GRACE, execute, make_plan, parse_plan
from events.objects.hashing import PART_BYTES
from events.objects.multipart import (
    LEAST_PART_BYTES,
    Multipart,
    PartsRefused,
    Sent,
    Stored,
    UploadUnknown,
    check_parts,
    offered,
)
from events.objects.store import ObjectMissing, Objects, ObjectStoreError
from tests.s3 import KEY, SECRET
from tests.unit.objects.conftest import Place
from tests.unit.objects.test_garbage import Known

FIRST, SECOND = os.urandom(LEAST_PART_BYTES), os.urandom(PART_BYTES)


def uploads(place: Place) -> tuple[Objects, Multipart]:
    objects = Objects(place.url)
    assert objects.multipart is not None
    return objects, objects.multipart


async def sent(links: list[str], *parts: bytes) -> list[Sent]:
    """Put parts by their links, as any program does."""
    async with httpx.AsyncClient() as http:
        answers = [await http.put(link, content=data) for link, data in zip(links, parts, strict=False)]
    assert [answer.status_code for answer in answers] == [200] * len(answers)
    return [Sent(number, answer.headers["etag"]) for number, answer in enumerate(answers, 1)]


async def test_parts_become_an_object_that_is_kept_once(s3: Place) -> None:
    objects, multipart = uploads(s3)
    of = blake3(FIRST + SECOND).hexdigest()
    for _ in range(2):
        at = new_place()
        id, links = await multipart.begin(at, 2)
        parts = await sent(links, FIRST, SECOND)
        assert s3.unfinished() == 1
        await multipart.complete(at, id, parts)
        assert await objects.adopt(at) == ObjectRef(digest=of, size=len(FIRST + SECOND))
        assert await objects.read(ObjectRef(digest=of, size=len(FIRST + SECOND))) == FIRST + SECOND
    assert len(s3.names()) == 2, "an entry, and the bytes of the first upload"
    assert s3.only("index") == index_name(of)
    assert s3.unfinished() == 0
    with pytest.raises(UploadUnknown):
        await multipart.complete(at, id, parts)


async def test_a_small_upload_becomes_an_object_as_any_small_one_does(s3: Place) -> None:
    objects, multipart = uploads(s3)
    at = new_place()
    id, links = await multipart.begin(at, 1)
    await multipart.complete(at, id, await sent(links, b"small"))
    ref = await objects.adopt(at)
    assert s3.names() == {blob_name(ref.digest)}
    assert await objects.put(b"small") == ref


async def test_bytes_that_an_object_has_already_go(s3: Place) -> None:
    objects = Objects(s3.url)
    ref = await objects.put(FIRST + SECOND)
    there, at = s3.names(), new_place()
    s3.write(at, FIRST + SECOND)
    assert await objects.adopt(at) == ref
    assert s3.names() == there
    with pytest.raises(ObjectMissing):
        await objects.adopt(at)
    with pytest.raises(ValueError, match="no name of large bytes"):
        await objects.adopt("large/../blobs/aa")


async def test_a_link_reads_one_object(s3: Place) -> None:
    objects = Objects(s3.url)
    for data in (b"small", FIRST + SECOND, b""):
        link = await objects.link(await objects.put(data), timedelta(minutes=5))
        async with httpx.AsyncClient() as http:
            assert (await http.get(link)).content == data
            if data:
                assert (await http.get(link, headers={"range": "bytes=1-3"})).content == data[1:4]
    with pytest.raises(ObjectMissing):
        await objects.link(ObjectRef(digest="4f" * 32, size=1), timedelta(minutes=5))


def test_a_folder_has_neither(folder: Place, s3: Place) -> None:
    assert (Objects(folder.url).multipart, Objects(folder.url).signs, Objects(s3.url).signs) == (None, False, True)


def test_uploads_are_offered_where_the_platform_can_sign_them(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (offered("s3://bucket"), offered("gs://bucket"), offered("file:///x")) == (True, False, False)
    monkeypatch.setenv("AWS_SERVER_SIDE_ENCRYPTION", "sse-c")
    assert not offered("s3://bucket"), "each part would need the platform's key"


@pytest.mark.parametrize(
    ("there", "told"),
    [
        ({1: Stored('"a"', LEAST_PART_BYTES)}, "part 2 never came"),
        ({1: Stored('"x"', LEAST_PART_BYTES), 2: Stored('"b"', 1)}, "part 1 is not what the store has"),
        ({1: Stored('"a"', LEAST_PART_BYTES - 1), 2: Stored('"b"', 1)}, "part 1 has 5242879 bytes"),
        ({1: Stored('"a"', MAX_OBJECT_BYTES), 2: Stored('"b"', 1)}, "an object has at most"),
    ],
)
def test_parts_that_make_no_object_are_named(there: dict[int, Stored], told: str) -> None:
    with pytest.raises(PartsRefused, match=told):
        check_parts([Sent(1, "a"), Sent(2, '"b"')], there)


async def test_a_refused_upload_can_still_be_completed(s3: Place) -> None:
    objects, multipart = uploads(s3)
    at = new_place()
    id, links = await multipart.begin(at, 2)
    (first,) = await sent(links[:1], FIRST)
    with pytest.raises(PartsRefused, match="part 2 never came to the store"):
        await multipart.complete(at, id, [first, Sent(2, first.etag)])
    second = (await sent(links[1:], b"end"))[0]
    await multipart.complete(at, id, [first, Sent(2, second.etag)])
    assert (await objects.adopt(at)).size == len(FIRST) + 3


async def test_what_was_left_alone_is_collected(s3: Place) -> None:
    objects, multipart = uploads(s3)
    left, ended = new_place(), new_place()
    id, links = await multipart.begin(left, 2)
    await sent(links, FIRST)
    other, links = await multipart.begin(ended, 1)
    parts = await sent(links, b"whole")
    # moto has one time at which all uploads began, long ago
    (begun, *_) = [each.begun for each in await multipart.unfinished()]
    young = await make_plan(objects, Known(), s3.url, now=begun + GRACE - timedelta(hours=1))
    assert young.unended == ()
    plan = await make_plan(objects, Known(), s3.url, now=begun + GRACE + timedelta(hours=1))
    assert {(each.place, each.size) for each in plan.unended} == {(left, len(FIRST)), (ended, len(b"whole"))}
    assert plan.bytes == len(FIRST) + len(b"whole")
    await multipart.complete(ended, other, parts)
    removed = await execute(objects, Known(), parse_plan(plan.to_text().encode(), s3.url))
    assert (removed.uploads, removed.bytes, s3.unfinished()) == (1, len(FIRST), 0)
    assert s3.names() == {ended}, "it ended before, and is young"
    with pytest.raises(UploadUnknown):
        await multipart.complete(left, id, [])
    await multipart.abort(left, id)
    later = await make_plan(objects, Known(), s3.url, now=datetime.now(UTC) + 2 * GRACE)
    assert [each.place for each in later.left] == [ended], "nobody made it an object"


def test_a_place_is_bound_to_what_it_is_for() -> None:
    assert bound_place("s", "a", "b") == bound_place("s", "a", "b")
    assert len({bound_place(*words) for words in (("s", "a", "b"), ("t", "a", "b"), ("s", "b", "a"), ("s", "ab"))}) == 4


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "the store can't be reached"),
        ({"AWS_ACCESS_KEY_ID": "", "AWS_EC2_METADATA_DISABLED": "true"}, "there are no credentials"),
        ({}, "the store answered 404 NoSuchBucket. Check the name in FORGELOG_OBJECTS"),
    ],
)
@pytest.mark.usefixtures("s3")
async def test_an_error_says_what_to_do_and_has_no_key(
    monkeypatch: pytest.MonkeyPatch, wrong: dict[str, str], told: str
) -> None:
    for name, value in wrong.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ObjectStoreError, match=told) as caught:
        await Multipart("s3://none-of-the-buckets").begin(new_place(), 1)
    shown = "".join(traceback.format_exception(caught.value))
    assert not any(word in shown for word in (KEY, SECRET, "X-Amz"))
