"""Objects: bytes that are too large for events, kept under their digest.

Contract
--------
Create-only
    An object's bytes never change. The same bytes are kept once, however often and by however many writers they are
    put.
All or nothing
    An object can be read once its last byte is in the store, never before. A writer that is killed leaves nothing that
    can be read.
Checked
    `open` compares the bytes with the digest if it reads all of them, and yields the last part only if they agree. It
    does not check a range: BLAKE3 needs all bytes.
Durable
    When `put` returns, the bytes are in the store (of a local folder: on the disk). Name an object in an event after
    that, never before.
Renewed
    `put` writes an object again that was put more than `RENEWED_AFTER` ago, and `missing` returns it. So an object that
    an event is about to name is not old, and garbage collection can rely on the age.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from events.language.common import shown
from events.language.objects import MAX_OBJECT_BYTES, ObjectRef
from events.objects.address import (
    Entry,
    blob_name,
    digest_of,
    format_address,
    index_name,
    is_place,
    new_place,
    parse_address,
    parse_entry,
)
from events.objects.backend import Backend, Found, ObjectStoreError
from events.objects.hashing import NOTHING, PART_BYTES, Fingerprint, in_parts
from events.objects.multipart import Multipart, offered

__all__ = ["Kept", "ObjectDamaged", "ObjectMissing", "ObjectRefused", "ObjectStoreError", "Objects"]

RENEWED_AFTER = timedelta(hours=12)
"""Age from which `put` writes an object again."""
_AT_A_TIME = 32
"""Requests to the store at a time."""


class ObjectMissing(LookupError):
    """The store has no such object."""


class ObjectDamaged(Exception):
    """The bytes in the store differ from those that were put."""


class ObjectRefused(ValueError):
    """The bytes differ from what was announced, or are too many. Nothing is stored."""


class Kept(NamedTuple):
    """What the store has under a digest."""

    digest: str
    size: int
    """Size in bytes; 0 for an entry that can't be read."""
    written: datetime
    """When it was put last, by the store's clock."""
    place: str = ""
    """The random name of its bytes; empty if they are stored under the digest."""


class Objects:
    """The objects of one store. See the module for the contract."""

    def __init__(self, url: str, *, renewed_after: timedelta = RENEWED_AFTER) -> None:
        """`url` is `Settings.objects_url`; the store is opened at the first use. Raises ValueError."""
        self._store = Backend(url)
        self._renewed_after = renewed_after
        self.multipart = Multipart(url) if offered(url) else None
        """Uploads that go past this class, straight to a place; see `adopt`. None if the store has no such."""
        self.signs = url.startswith("s3://")
        """Whether there are links to read objects by."""

    async def put(
        self, source: bytes | AsyncIterable[bytes], *, expect: str = "", size: int | None = None
    ) -> ObjectRef:
        """Store the bytes of the source, in pieces of any length. Memory: a few parts of 8 MiB.

        `expect`, `size`: the digest and the length that the bytes must have, if known. Raises ObjectRefused if they
        differ, ObjectStoreError, and what the source raises; then nothing is stored.
        """
        digest = parse_address(expect) if expect else ""
        seen = _Announced(digest, size)
        async with aclosing(in_parts(_pieces(source))) as parts:
            first = await anext(parts, b"")
            second = await anext(parts, b"") if len(first) == PART_BYTES else b""
            if not second:
                await seen.add(first)
                seen.check()
                await self._put_blob(seen.ref, first)
            else:
                begun = [first, second]
                del first, second  # so that each part can go when it has passed
                if digest and await self._is_fresh(digest):
                    async for _ in _checked(begun, parts, seen):
                        pass
                else:
                    await self._put_large(begun, parts, seen)
        return seen.ref

    async def adopt(self, place: str) -> ObjectRef:
        """Make an object of bytes that went to a place past this class. Reads all of them, 8 MiB at a time.

        Can be repeated until an object of the same bytes has taken their place. Raises ValueError, ObjectMissing,
        ObjectRefused (they are too many, and are removed) and ObjectStoreError.
        """
        _check_place(place)
        found = await self._store.head(place)
        if found is None:
            raise ObjectMissing(f"There is nothing at {place} in the store.")
        if found.size > MAX_OBJECT_BYTES:
            await self._store.delete(place)
            raise ObjectRefused(f"size: an object has at most {MAX_OBJECT_BYTES} bytes; put it as several")
        seen, data = Fingerprint(), b""
        for at in range(0, found.size, PART_BYTES):
            data = await self._store.read(place, at, min(at + PART_BYTES, found.size)) or b""
            await seen.add(data)
        if seen.size != found.size:
            raise ObjectMissing(f"The bytes at {place} in the store changed while they were read.")
        if seen.size <= PART_BYTES:
            await self._put_blob(seen.ref, data)
            await self._store.delete(place)
        elif not await self._put_entry(seen.digest, Entry(place=place, size=seen.size)):
            await self._store.delete(place)
        return seen.ref

    async def link(self, ref: ObjectRef, lasting: timedelta) -> str:
        """An address by which who has it reads an object for so long, past this class: nothing compares the bytes with
        the digest. For a store that `signs`. Raises ObjectMissing, ObjectDamaged, ObjectStoreError."""
        if await self._find(ref.digest) is None:
            raise ObjectMissing(_missing(ref.digest))
        return await self._store.link(await self._place(ref), lasting)

    async def open(self, ref: ObjectRef, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """The bytes from `start` to before `end` (None: to the last one), in pieces of at most 8 MiB.

        Raises ValueError if that is not a range of the object, ObjectMissing, ObjectDamaged (in a read of all bytes:
        before the last piece) and ObjectStoreError.
        """
        end = ref.size if end is None else end
        if not 0 <= start <= end <= ref.size:
            raise ValueError(f"bytes {start} to {end} are no range of an object of {ref.size} bytes")
        place = await self._place(ref)
        whole = end - start == ref.size
        seen = Fingerprint()
        for at in range(start, end, PART_BYTES):
            wanted = min(PART_BYTES, end - at)
            data = await self._store.read(place, at, at + wanted)
            if data is None:
                raise ObjectMissing(_missing(ref.digest))
            if len(data) < wanted:
                raise ObjectDamaged(_damaged(ref.digest, f"it ends after {at + len(data)} of {ref.size} bytes"))
            if whole:
                await seen.add(data)
                if seen.size == ref.size and seen.digest != ref.digest:
                    raise ObjectDamaged(_damaged(ref.digest, f"its bytes have the digest {seen.digest}"))
            yield data

    async def read(self, ref: ObjectRef) -> bytes:
        """All bytes of an object that is small enough for memory. Raises what `open` does."""
        return b"".join([piece async for piece in self.open(ref)])

    async def stat(self, address: str) -> ObjectRef | None:
        """The object of a digest or `blake3:` address; None if there is none. Raises ValueError, ObjectStoreError."""
        digest = parse_address(address)
        found = await self._find(digest)
        return found and ObjectRef(digest=digest, size=found.size)

    async def lacking(self, refs: Sequence[ObjectRef]) -> list[ObjectRef]:
        """The objects that are missing, incomplete, or of another length. In the order given. Raises
        ObjectStoreError."""
        there = await self._of_each(refs, self._is_there)
        return [ref for ref, is_there in zip(refs, there, strict=True) if not is_there]

    async def missing(self, refs: Sequence[ObjectRef]) -> list[ObjectRef]:
        """The objects that must be put: missing, incomplete, or put more than `RENEWED_AFTER` ago.

        In the order given. Raises ObjectStoreError.
        """
        fresh = await self._of_each(refs, lambda ref: self._is_fresh(ref.digest, ref.size))
        return [ref for ref, is_fresh in zip(refs, fresh, strict=True) if not is_fresh]

    @staticmethod
    async def _of_each(refs: Sequence[ObjectRef], ask: Callable[[ObjectRef], Awaitable[bool]]) -> list[bool]:
        """What the store says of each, some at a time."""
        places = asyncio.Semaphore(_AT_A_TIME)

        async def asked(ref: ObjectRef) -> bool:
            async with places:
                return await ask(ref)

        return await asyncio.gather(*map(asked, refs))

    async def kept(self) -> AsyncIterator[Kept]:
        """All objects, complete or not, in no order. Raises ObjectStoreError."""
        async for name, found in self._store.listed("blobs"):
            if digest := digest_of(name):
                yield Kept(digest, found.size, found.written)
        async for name, found in self._store.listed("index"):
            if digest := digest_of(name):
                entry, _ = await self._entry(digest)
                yield Kept(digest, entry.size if entry else 0, found.written, entry.place if entry else "")

    async def bytes_of_large(self) -> AsyncIterator[tuple[str, int, datetime]]:
        """Place, length and age of all bytes under random names, with or without an entry. Raises ObjectStoreError."""
        async for name, found in self._store.listed("large"):
            if is_place(name):
                yield name, found.size, found.written

    async def delete_place(self, place: str) -> None:
        """Remove bytes that no entry names. Raises ValueError, ObjectStoreError."""
        _check_place(place)
        await self._store.delete(place)

    async def put_at(self, digest: str) -> datetime | None:
        """When an object was put last, complete or not; None if it is missing. Raises ObjectStoreError."""
        blob, entry = await self._store.head(blob_name(digest)), await self._store.head(index_name(digest))
        return max((found.written for found in (blob, entry) if found), default=None)

    async def delete(self, address: str) -> None:
        """Remove an object that no event names; it may be gone already. Raises ValueError, ObjectStoreError."""
        digest = parse_address(address)
        entry, _ = await self._entry(digest)
        # a reader meets either all of it or nothing: the entry goes first
        await self._store.delete(index_name(digest))
        if entry is not None:
            await self._store.delete(entry.place)
        await self._store.delete(blob_name(digest))

    async def _put_blob(self, ref: ObjectRef, data: bytes) -> None:
        name = blob_name(ref.digest)
        if not await self._store.create(name, data):
            found = await self._store.head(name)
            if found is None or found.size != ref.size or not self._is_young(found.written):
                await self._store.replace(name, data)

    async def _put_large(self, begun: list[bytes], rest: AsyncIterator[bytes], seen: _Announced) -> None:
        place = new_place()
        await self._store.upload(place, _checked(begun, rest, seen))
        if not await self._put_entry(seen.ref.digest, Entry(place=place, size=seen.size)):
            await self._store.delete(place)

    async def _put_entry(self, digest: str, entry: Entry) -> bool:
        """Write the entry of a large object. False if there is an entry with another place already."""
        name = index_name(digest)
        if await self._store.create(name, entry.to_bytes()):
            return True
        earlier, written = await self._entry(digest)
        if earlier == entry:
            return True  # a request was sent twice, since its first answer was lost
        if earlier is not None and await self._is_whole(earlier, entry.size):
            if not self._is_young(written):
                await self._store.replace(name, earlier.to_bytes())
            return False
        await self._store.replace(name, entry.to_bytes())
        return True

    async def _find(self, digest: str) -> Found | None:
        """Length and age of an object; None if it is missing or incomplete."""
        if blob := await self._store.head(blob_name(digest)):
            # a power cut can leave an empty file
            return blob if blob.size or digest == NOTHING else None
        entry, written = await self._entry(digest)
        return Found(entry.size, written) if entry and await self._is_whole(entry, entry.size) else None

    async def _is_there(self, ref: ObjectRef) -> bool:
        found = await self._find(ref.digest)
        return found is not None and found.size == ref.size

    async def _is_fresh(self, digest: str, size: int | None = None) -> bool:
        """Whether an object need not be put again."""
        found = await self._find(digest)
        return found is not None and size in (None, found.size) and self._is_young(found.written)

    def _is_young(self, written: datetime) -> bool:
        return timedelta(0) <= datetime.now(UTC) - written < self._renewed_after

    async def _entry(self, digest: str) -> tuple[Entry | None, datetime]:
        """The entry of a large object, and its age; None if there is no readable entry."""
        content = await self._store.content(index_name(digest))
        return (parse_entry(content.data), content.written) if content else (None, datetime.min.replace(tzinfo=UTC))

    async def _is_whole(self, entry: Entry, size: int) -> bool:
        found = await self._store.head(entry.place)
        return found is not None and found.size == entry.size == size

    async def _place(self, ref: ObjectRef) -> str:
        """Name in the store of an object's bytes. Raises ObjectMissing, ObjectDamaged."""
        if ref.size > PART_BYTES:
            content = await self._store.content(index_name(ref.digest))
            if content is None:
                raise ObjectMissing(_missing(ref.digest))
            if (entry := parse_entry(content.data)) is None:
                raise ObjectDamaged(_damaged(ref.digest, "its entry in the index can't be read"))
            return entry.place
        name = blob_name(ref.digest)
        if ref.size == 0:  # no range of it can be read
            found = await self._store.head(name)
            if found is None:
                raise ObjectMissing(_missing(ref.digest))
            if found.size or ref.digest != NOTHING:
                raise ObjectDamaged(_damaged(ref.digest, f"it has {found.size} bytes, and 0 have another digest"))
        return name


class _Announced(Fingerprint):
    """The fingerprint of the bytes so far, and what was announced."""

    def __init__(self, digest: str, size: int | None) -> None:
        super().__init__()
        self._wanted_digest, self._wanted_size = digest, size

    async def add(self, data: bytes) -> None:
        await super().add(data)
        if self._wanted_size is not None and self.size > self._wanted_size:
            raise ObjectRefused(f"size: more than the announced {self._wanted_size} bytes came; nothing is kept")
        if self.size > MAX_OBJECT_BYTES:
            raise ObjectRefused(f"size: an object has at most {MAX_OBJECT_BYTES} bytes; put it as several")

    def check(self) -> None:
        """Raises ObjectRefused if bytes are missing, or differ from what was announced."""
        if self._wanted_size not in (None, self.size):
            raise ObjectRefused(f"size: {self.size} of the announced {self._wanted_size} bytes came; nothing is kept")
        if self._wanted_digest not in ("", self.digest):
            raise ObjectRefused(
                f"digest: what came has {format_address(self.digest)}, announced was "
                f"{format_address(self._wanted_digest)}; nothing is kept"
            )


async def _checked(begun: list[bytes], rest: AsyncIterator[bytes], seen: _Announced) -> AsyncIterator[bytes]:
    """All parts, hashed on the way; removes those of `begun` from that list.

    Raises ObjectRefused before the end if they differ from what was announced.
    """
    while begun:
        part = begun.pop(0)
        await seen.add(part)
        yield part
        del part  # else it would stay while the next one is gathered
    async for part in rest:
        await seen.add(part)
        yield part
        del part
    seen.check()


async def _pieces(source: bytes | AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    if isinstance(source, bytes):
        yield source
        return
    async for piece in source:
        yield piece


def _check_place(place: str) -> None:
    if not is_place(place):
        raise ValueError(f"{shown(place)} is no name of large bytes in the store")


def _missing(digest: str) -> str:
    return f"There is no object {format_address(digest)} in the store."


def _damaged(digest: str, what: str) -> str:
    return (
        f"The object {format_address(digest)} is damaged: {what}. Check the store's disk, and put the object again or "
        "restore it from a copy of the store."
    )
