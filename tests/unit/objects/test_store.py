"""Objects, in a folder and in S3: create-only, all or nothing, checked, renewed."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import sys
from collections.abc import AsyncIterator, Iterable
from datetime import timedelta
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from events.language.objects import ObjectRef
from events.objects import store as store_module
from events.objects.address import Entry, blob_name, index_name, new_place
from events.objects.backend import Backend
from events.objects.hashing import NOTHING, PART_BYTES, Fingerprint
from events.objects.store import ObjectDamaged, ObjectMissing, ObjectRefused, Objects
from tests.unit.objects.conftest import Place

SMALL = b"a model of few words"
LARGE = b"".join(bytes([number]) * (1 << 20) for number in range(9))
"""A whole part, and a rest."""


both_sizes = pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])


async def ref_of(data: bytes) -> ObjectRef:
    seen = Fingerprint()
    await seen.add(data)
    return seen.ref


async def streamed(pieces: Iterable[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


@pytest.mark.parametrize("size", [0, 1, PART_BYTES - 1, PART_BYTES, PART_BYTES + 1, 2 * PART_BYTES, 2 * PART_BYTES + 5])
async def test_what_is_put_is_read(place: Place, size: int) -> None:
    data = (LARGE * 3)[:size]
    objects = Objects(place.url)
    ref = await objects.put(data)
    assert ref == await ref_of(data)
    assert await objects.read(ref) == data
    assert await objects.stat(ref.digest) == ref


async def test_pieces_of_any_length_are_one_object(place: Place) -> None:
    objects = Objects(place.url)
    ref = await objects.put(streamed([LARGE[:1], LARGE[1 : PART_BYTES + 7], b"", LARGE[PART_BYTES + 7 :]]))
    assert ref == await ref_of(LARGE)
    assert [len(piece) async for piece in objects.open(ref)] == [PART_BYTES, 1 << 20]


@both_sizes
async def test_equal_bytes_are_kept_once(place: Place, data: bytes) -> None:
    objects = Objects(place.url)
    ref = await objects.put(data)
    kept = place.names()
    assert await objects.put(data) == await objects.put(streamed([data]), expect=ref.digest, size=ref.size) == ref
    assert place.names() == kept


async def test_a_name_is_written_once(place: Place) -> None:
    backend = Backend(place.url)
    assert await backend.create("blobs/aa/name", b"first")
    assert not await backend.create("blobs/aa/name", b"second")
    assert place.read("blobs/aa/name") == b"first"


@both_sizes
async def test_writers_of_the_same_bytes_at_once_leave_one_object(place: Place, data: bytes) -> None:
    """All are amid it when the first one ends, and each is told the object, which has the bytes of one of them."""
    writers = 3
    amid = asyncio.Barrier(writers)

    async def slowly() -> AsyncIterator[bytes]:
        yield data[:-1]
        await amid.wait()
        yield data[-1:]

    refs = await asyncio.gather(*(Objects(place.url).put(slowly()) for _ in range(writers)))
    assert set(refs) == {await ref_of(data)}
    assert await Objects(place.url).read(refs[0]) == data
    assert len(place.names()) == (1 if data == SMALL else 2)
    assert not place.unfinished()


@both_sizes
async def test_a_request_that_was_sent_twice_does_no_harm(
    place: Place, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer to a create was lost, so the client sent it again and heard that the name is there already."""
    create = Backend.create

    async def twice(backend: Backend, name: str, content: bytes) -> bool:
        await create(backend, name, content)
        return await create(backend, name, content)

    monkeypatch.setattr(Backend, "create", twice)
    objects = Objects(place.url)
    assert await objects.read(await objects.put(data)) == data


@pytest.mark.parametrize(("start", "end"), [(0, 3), (5, 5), (7, None), (PART_BYTES - 1, PART_BYTES + 1), (1, 9 << 20)])
async def test_a_range_is_those_bytes(place: Place, start: int, end: int | None) -> None:
    objects = Objects(place.url)
    ref = await objects.put(LARGE)
    assert b"".join([piece async for piece in objects.open(ref, start, end)]) == LARGE[start:end]


@pytest.mark.parametrize(("start", "end"), [(-1, 3), (3, 2), (0, len(SMALL) + 1), (len(SMALL) + 1, None)])
async def test_what_is_no_range_of_an_object_is_refused(folder: Place, start: int, end: int | None) -> None:
    objects = Objects(folder.url)
    ref = await objects.put(SMALL)
    with pytest.raises(ValueError, match="no range of an object of 20 bytes"):
        await anext(objects.open(ref, start, end))


@both_sizes
async def test_a_flipped_byte_is_found_before_the_last_piece(place: Place, data: bytes) -> None:
    objects = Objects(place.url)
    ref = await objects.put(data)
    name = place.only("blobs" if data == SMALL else "large")
    place.write(name, bytes([data[0] ^ 1]) + data[1:])
    pieces = objects.open(ref)
    for _ in range((len(data) - 1) // PART_BYTES):
        assert await anext(pieces)
    with pytest.raises(ObjectDamaged, match=f"blake3:{ref.digest} is damaged: its bytes have the digest"):
        await anext(pieces)


@pytest.mark.parametrize("left", [0, 3, PART_BYTES, PART_BYTES + 1])
async def test_bytes_that_are_missing_at_the_end_are_found(place: Place, left: int) -> None:
    data = SMALL if left < len(SMALL) else LARGE
    objects = Objects(place.url)
    ref = await objects.put(data)
    place.write(place.only("blobs" if data == SMALL else "large"), data[:left])
    with pytest.raises(ObjectDamaged, match=f"it ends after {left} of {len(data)} bytes"):
        await objects.read(ref)


@both_sizes
async def test_what_is_not_there_is_missing(place: Place, data: bytes) -> None:
    objects = Objects(place.url)
    for ref in (await ref_of(data), await ref_of(b"")):
        assert await objects.stat(ref.digest) is None
        assert await objects.missing([ref]) == [ref]
        with pytest.raises(ObjectMissing, match=f"There is no object blake3:{ref.digest}"):
            await objects.read(ref)


async def test_a_reference_with_another_size_reads_nothing_wrong(folder: Place) -> None:
    objects = Objects(folder.url)
    ref = await objects.put(SMALL)
    for size in (0, 1, len(SMALL) - 1, len(SMALL) + 1):
        with pytest.raises(ObjectDamaged):
            await objects.read(ref.model_copy(update={"size": size}))
    with pytest.raises(ObjectMissing):
        await objects.read(ref.model_copy(update={"size": PART_BYTES + 1}))


@both_sizes
async def test_an_upload_that_is_not_what_was_announced_leaves_nothing(place: Place, data: bytes) -> None:
    objects = Objects(place.url)
    with pytest.raises(
        ObjectRefused, match=rf"digest: what came has blake3:{(await ref_of(data)).digest}, announced was"
    ):
        await objects.put(data, expect=NOTHING)
    with pytest.raises(ObjectRefused, match=f"size: {len(data)} of the announced {len(data) + 1} bytes came"):
        await objects.put(data, size=len(data) + 1)
    with pytest.raises(ObjectRefused, match=f"size: more than the announced {len(data) - 1} bytes came"):
        await objects.put(data, size=len(data) - 1)
    assert not place.names()
    assert not place.unfinished()


async def test_an_endless_upload_is_cut_behind_its_announced_size(place: Place) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield LARGE

    with pytest.raises(ObjectRefused, match="more than the announced"):
        await Objects(place.url).put(endless(), size=3 * PART_BYTES)
    assert not place.names()


async def test_an_object_has_a_largest_size(folder: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "MAX_OBJECT_BYTES", len(LARGE) - 1)
    with pytest.raises(ObjectRefused, match=f"at most {len(LARGE) - 1} bytes"):
        await Objects(folder.url).put(LARGE)
    assert not folder.names()


@pytest.mark.parametrize("before", [b"x", LARGE + LARGE], ids=["at once", "amid parts"])
async def test_what_the_source_raises_comes_out_and_nothing_is_kept(place: Place, before: bytes) -> None:
    class Gone(OSError):
        pass

    async def failing() -> AsyncIterator[bytes]:
        yield before
        raise Gone("the caller hung up")

    with pytest.raises(Gone, match="hung up"):
        await Objects(place.url).put(failing())
    assert not place.names()
    assert not place.unfinished()


async def test_a_cancelled_upload_leaves_nothing(place: Place) -> None:
    amid = asyncio.Event()

    async def stalling() -> AsyncIterator[bytes]:
        yield LARGE + LARGE
        amid.set()
        await asyncio.Event().wait()

    put = asyncio.create_task(Objects(place.url).put(stalling()))
    await asyncio.wait({put, asyncio.ensure_future(amid.wait())}, return_when=asyncio.FIRST_COMPLETED)
    assert place.unfinished() == 1
    put.cancel()
    with pytest.raises(asyncio.CancelledError):
        await put
    assert not place.names()
    assert not place.unfinished()


_WRITER = """
import asyncio, sys
from events.objects.store import Objects

async def source():
    for number in range(3):
        yield bytes([number]) * (8 << 20)
    print("amid", flush=True)
    await asyncio.Event().wait()

asyncio.run(Objects(sys.argv[1]).put(source()))
"""


async def test_a_writer_that_is_killed_amid_an_upload_leaves_nothing_that_can_be_read(place: Place) -> None:
    writer = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _WRITER, place.url, stdout=asyncio.subprocess.PIPE
    )
    assert writer.stdout is not None
    assert await writer.stdout.readline() == b"amid\n"
    assert place.unfinished() == 1
    writer.send_signal(signal.SIGKILL)
    await writer.wait()

    data = b"".join(bytes([number]) * PART_BYTES for number in range(3))
    objects = Objects(place.url)
    assert not place.names()
    assert await objects.stat((await ref_of(data)).digest) is None
    assert await objects.read(await objects.put(data)) == data


async def test_a_writer_that_is_killed_behind_an_upload_leaves_nothing_that_can_be_read(place: Place) -> None:
    """The bytes are there, and no entry says where."""
    await Backend(place.url).upload(new_place(), streamed([LARGE]))
    ref = await ref_of(LARGE)
    objects = Objects(place.url)
    assert await objects.stat(ref.digest) is None
    with pytest.raises(ObjectMissing):
        await objects.read(ref)
    assert await objects.read(await objects.put(LARGE)) == LARGE


async def test_what_a_power_cut_left_is_put_again(place: Place) -> None:
    """A file without its bytes, an entry without its text, an entry whose object is cut or gone."""
    objects = Objects(place.url)
    small, large = await objects.put(SMALL), await objects.put(LARGE)

    async def put_again(*damaged: ObjectRef) -> None:
        assert await objects.missing([small, large]) == list(damaged)
        assert [await objects.stat(ref.digest) for ref in damaged] == [None] * len(damaged)
        assert await objects.read(await objects.put(SMALL)) == SMALL
        assert await objects.read(await objects.put(LARGE, expect=large.digest)) == LARGE

    place.write(blob_name(small.digest), b"")
    place.write(index_name(large.digest), b"")
    await put_again(small, large)
    place.remove(large_place := Entry.model_validate_json(place.read(index_name(large.digest))).place)
    await put_again(large)
    assert large_place not in place.names()
    place.write(Entry.model_validate_json(place.read(index_name(large.digest))).place, LARGE[:-1])
    await put_again(large)


async def test_an_entry_that_names_another_place_is_not_followed(place: Place) -> None:
    objects = Objects(place.url)
    ref = await objects.put(LARGE)
    for forged in (b'{"place": "../../secret", "size": 9437184}', b'{"place": "blobs/aa/name", "size": 9437184}'):
        place.write(index_name(ref.digest), forged)
        with pytest.raises(ObjectDamaged, match="entry in the index can't be read"):
            await objects.read(ref)


async def test_missing_names_in_order_what_has_to_be_put(place: Place) -> None:
    objects = Objects(place.url)
    refs = [await ref_of(bytes([number])) for number in range(40)] + [await ref_of(LARGE), await ref_of(b"")]
    for data in (b"\x03", b"\x07", LARGE):
        await objects.put(data)
    there = {refs[3], refs[7], refs[40]}
    assert await objects.missing(refs) == [ref for ref in refs if ref not in there]
    assert await objects.missing([]) == []


@both_sizes
async def test_an_old_object_is_renewed(folder: Place, data: bytes) -> None:
    """Written anew under the same name, so that it is not taken for one that nothing will name any more."""
    objects = Objects(folder.url, renewed_after=timedelta(hours=1))
    ref = await objects.put(data)
    aged = path_of(folder) / (blob_name if data == SMALL else index_name)(ref.digest)
    kept = folder.names()
    for hours, renewed in ((0.5, False), (2, True), (-2, True)):
        then = os.stat(aged).st_mtime - hours * 3600
        os.utime(aged, (then, then))
        assert await objects.missing([ref]) == ([ref] if renewed else [])
        await objects.put(data)
        assert (aged.stat().st_mtime != then) is renewed
        assert folder.names() == kept
        assert await objects.read(ref) == data


@both_sizes
async def test_a_deleted_object_is_gone_and_may_be_put_again(place: Place, data: bytes) -> None:
    objects = Objects(place.url)
    ref = await objects.put(data)
    await objects.delete(ref.digest)
    assert not place.names()
    await objects.delete(ref.digest)
    assert await objects.read(await objects.put(data)) == data


@pytest.mark.parametrize("address", ["../../../etc/passwd", "blake3:..", "", "/etc/passwd"])
async def test_names_that_would_leave_the_store_are_refused(place: Place, address: str) -> None:
    objects = Objects(place.url)
    for refused in (objects.stat(address), objects.delete(address), objects.put(b"", expect=address or "..")):
        with pytest.raises(ValueError, match="no address of an object"):
            await refused
    unchecked = ObjectRef.model_construct(digest=address, size=1)
    with pytest.raises(ValueError, match="no address of an object"):
        await objects.read(unchecked)
    with pytest.raises(ValueError, match="no address of an object"):
        await objects.missing([unchecked])


def path_of(folder: Place) -> Path:
    return Path(unquote(urlsplit(folder.url).path))


@pytest.mark.parametrize("umask", [0, 0o077])
async def test_a_folder_is_its_user_s_alone_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        objects = Objects((tmp_path / "data" / "objects").as_uri())
        await objects.put(SMALL)
        await objects.put(LARGE)
    finally:
        os.umask(before)
    modes = {stat.filemode(each.stat().st_mode) for each in (tmp_path / "data").rglob("*")}
    assert modes == {"-rw-------", "drwx------"}
    assert stat.filemode((tmp_path / "data").stat().st_mode) == "drwx------"
