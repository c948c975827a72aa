"""Uploads whose bytes go past the gateway, straight to the store by links; and links to read objects by.

The store knows no BLAKE3, so what came is read once when the upload ends, and becomes an object then. An upload's id
says all that has to be known of it, so any gateway can end it. It is of no use for another file than that which it was
begun for: with other words it leads to another place in the store, where nothing is.
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
from collections import OrderedDict
from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple

import grpc

from events.language.common import shown
from events.language.objects import ObjectRef
from events.objects.address import bound_place
from events.objects.multipart import MAX_PARTS, Multipart, PartsRefused, Sent, UploadUnknown
from events.objects.store import ObjectDamaged, ObjectMissing, ObjectRefused
from services.gateway.errors import DoorError
from services.gateway.object_bytes import HELD_BYTES, ObjectBytes, available

log = logging.getLogger("forgelog.gateway")

PATIENCE = 60.0
"""Seconds that a request waits while the bytes of an upload are read; then it is told to come again."""
LINK_LASTS = timedelta(hours=1)
"""How long a link to an object opens the store."""
_AGAIN = 10.0
_MOST_ENDED = 1_000
"""Uploads of which it is remembered what they became."""
_ID = re.compile(r"([0-9a-f]{32})\.([1-9][0-9]{0,3})\.([!-~]{1,2048})")


class Begun(NamedTuple):
    id: str
    links: list[str]
    """Of the parts, in their order."""


class _Upload(NamedTuple):
    place: str
    id: str
    """What the store calls it."""
    parts: int


class Uploads:
    """The uploads to one store. One per process. `bound`: what an upload is for, in words that each step repeats.

    Every step raises DoorError, and may be repeated.
    """

    def __init__(self, carrying: ObjectBytes, wanted: bool) -> None:
        """`wanted`: whether links are given at all."""
        self._carrying = carrying
        self._wanted = wanted
        self._ending: dict[str, asyncio.Task[ObjectRef]] = {}
        self._ended: OrderedDict[str, ObjectRef] = OrderedDict()

    @property
    def offered(self) -> bool:
        """Whether there are uploads by links."""
        return self._multipart is not None

    async def begin(self, bound: Sequence[str], parts: int) -> Begun:
        """An upload, and a link to PUT each part by. Its id is for the one who began it."""
        if not 1 <= parts <= MAX_PARTS:
            hint = f"send 1 to {MAX_PARTS} parts; of a large file, larger ones"
            raise DoorError.about("num_parts", f"is {parts}", hint)
        secret = secrets.token_hex(16)
        with available():
            id, links = await self._store.begin(bound_place(secret, str(parts), *bound), parts)
        return Begun(f"{secret}.{parts}.{id}", links)

    async def end(self, bound: Sequence[str], id: str, sent: Sequence[Sent]) -> ObjectRef:
        """The object of all parts, when the store has put them together and they were read."""
        upload = _upload(bound, id)
        _check(sent, upload.parts)
        if (ref := self._ended.get(upload.place)) is not None:
            return ref
        if (task := self._ending.get(upload.place)) is None:
            task = self._ending[upload.place] = asyncio.create_task(self._end(upload, sent))
            task.add_done_callback(lambda done: self._note(upload.place, done))
        await asyncio.wait({task}, timeout=PATIENCE)
        if not task.done():
            text = "the file is in the store and is still being read; complete the upload again, as it was"
            raise DoorError(grpc.StatusCode.UNAVAILABLE, text, retry_after=_AGAIN)
        return task.result()

    async def abort(self, bound: Sequence[str], id: str) -> None:
        """Drop an upload that did not end. One that is gone is gone already."""
        upload = _upload(bound, id)
        with available():
            await self._store.abort(upload.place, upload.id)

    @property
    def gives_links(self) -> bool:
        """Whether there are links to read objects by."""
        return self._wanted and self._carrying.objects.signs

    async def link(self, ref: ObjectRef) -> str:
        """A link to read an object by, where there are some."""
        try:
            with available():
                return await self._carrying.objects.link(ref, LINK_LASTS)
        except ObjectMissing as error:
            raise DoorError(grpc.StatusCode.NOT_FOUND, str(error)) from None
        except ObjectDamaged as error:
            raise DoorError(grpc.StatusCode.DATA_LOSS, str(error)) from None

    @property
    def _multipart(self) -> Multipart | None:
        return self._carrying.objects.multipart if self._wanted else None

    @property
    def _store(self) -> Multipart:
        if (found := self._multipart) is None:
            raise DoorError(grpc.StatusCode.UNIMPLEMENTED, "this platform takes no uploads by links")
        return found

    async def _end(self, upload: _Upload, sent: Sequence[Sent]) -> ObjectRef:
        with self._carrying.held.take(HELD_BYTES), available():
            try:
                await self._store.complete(upload.place, upload.id, sent)
            except UploadUnknown:
                log.debug("an upload is ended again")  # then its bytes are at its place
            except PartsRefused as refused:
                raise DoorError.about("parts", str(refused), "then complete the upload, or abort it") from None
            try:
                return await self._carrying.objects.adopt(upload.place)
            except ObjectMissing:
                raise _none_of("it was ended or given up, or is older than a day") from None
            except ObjectRefused as refused:
                raise DoorError.about("parts", str(refused), "put the file as several") from None

    def _note(self, place: str, done: asyncio.Task[ObjectRef]) -> None:
        del self._ending[place]
        if done.cancelled():
            return
        if (error := done.exception()) is not None:  # another try may mend it
            if not isinstance(error, DoorError):
                log.error("an upload could not be ended: %s", type(error).__name__)
            return
        self._ended[place] = done.result()
        while len(self._ended) > _MOST_ENDED:
            self._ended.popitem(last=False)


def _upload(bound: Sequence[str], id: str) -> _Upload:
    if (parts := _ID.fullmatch(id)) is None:
        raise DoorError.about("upload_id", f"{shown(id)} is none of an upload", "give the one that was answered")
    return _Upload(bound_place(parts[1], parts[2], *bound), parts[3], int(parts[2]))


def _check(sent: Sequence[Sent], parts: int) -> None:
    """Raises DoorError if these are not the parts that were announced, each once, in their order."""
    hint = f"give all {parts} parts that the upload was begun with, from 1 on, each once"
    for wanted, part in enumerate(sent, 1):
        if part.number > parts:
            raise DoorError.about("parts", f"part {part.number} is none of the upload's", hint)
        if part.number < wanted:
            raise DoorError.about("parts", f"part {part.number} is given twice, or behind part {wanted - 1}", hint)
        if part.number > wanted:
            raise DoorError.about("parts", f"part {wanted} is missing", hint)
    if len(sent) < parts:
        raise DoorError.about("parts", f"part {len(sent) + 1} is missing", hint)


def _none_of(why: str) -> DoorError:
    return DoorError(grpc.StatusCode.NOT_FOUND, f"there is no such upload for this file: {why}; send the file again")
