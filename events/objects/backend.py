"""The store operations that objects need, by obstore: a local folder, S3, Google Cloud Storage or Azure.

The only module that knows obstore. It loads obstore (8 MiB, 0.1 s) at the first operation. Credentials of S3, Google
and Azure come from the variables that their own programs read (`AWS_ACCESS_KEY_ID` ...). Errors do not quote obstore's
messages, which may contain a signed address or a header.

Only this user can read a local folder. Written bytes are on the disk before an operation returns.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import re
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from events.objects.hashing import PART_BYTES
from events.process.settings import check_store_url, store_folder

if TYPE_CHECKING:
    from obstore.store import ObjectStore

_RETRIED = timedelta(seconds=30)
"""How long a request is retried after faults of the server or the network."""


LONGEST_END = 10.0
"""Seconds that a process waits at its end for threads that are not Python's own."""


class ObjectStoreError(Exception):
    """The store can't be reached, refuses the request, or is full. The text says what to do and has no credentials."""


class Found(NamedTuple):
    """Size and age of a name in the store."""

    size: int
    """Bytes."""
    written: datetime
    """When it was written last, by the store's clock."""


class Content(NamedTuple):
    """What a name has."""

    data: bytes
    written: datetime
    """When it was written last, by the store's clock."""


class Backend:
    """A store, opened at the first operation.

    Names are those of `events.objects.address`. Every operation raises ObjectStoreError.
    """

    def __init__(self, url: str) -> None:
        """Raises ValueError if `url` is none that `FORGELOG_OBJECTS` can have."""
        check_store_url(url)
        self._url = url
        self._folder = store_folder(url)
        self._store: ObjectStore | None = None

    async def create(self, name: str, data: bytes) -> bool:
        """Write a new name, all of it or nothing. False, and nothing is written, if the name is there already."""
        from obstore import put_async
        from obstore.exceptions import AlreadyExistsError

        with self._explained("write an object to"):
            store = await self._opened(name)
            try:
                await put_async(store, name, data, mode="create")
            except AlreadyExistsError:
                # the writer that was first may not have it on the disk yet; it may also have been removed since
                with suppress(FileNotFoundError):
                    await self._keep(name)
                return False
            await self._keep(name)
        return True

    async def replace(self, name: str, data: bytes) -> None:
        """Write a name, all of it or nothing, whether or not it is there."""
        from obstore import put_async

        with self._explained("write an object to"):
            await put_async(await self._opened(name), name, data, use_multipart=False)
            await self._keep(name)

    async def upload(self, name: str, parts: AsyncIterator[bytes]) -> None:
        """Write a new name of any length from parts of 8 MiB. It can be read only when all of it is there.

        Raises what `parts` raises. The store then drops what it had of the name, as it does if the caller is cancelled.
        """
        from obstore import put_async

        stopped = asyncio.get_running_loop().create_future()
        failed: list[BaseException] = []

        async def pulled() -> AsyncIterator[bytes]:
            try:
                while (part := await _next(parts, stopped)) is not None:
                    yield part
                    del part  # else it would stay while the next one is gathered
            except GeneratorExit:  # obstore reads no further: the store refused, and that is what is told
                raise
            except BaseException as error:
                failed.append(error)
                raise

        with self._explained("write an object to"):
            store = await self._opened(name)
            # one part is on its way while the next one is gathered: 16 MiB, and what obstore copies
            upload = asyncio.ensure_future(
                put_async(store, name, pulled(), use_multipart=True, chunk_size=PART_BYTES, max_concurrency=1)
            )
            try:
                await asyncio.shield(upload)
            except asyncio.CancelledError:
                # obstore drops the parts at the store when its source fails, not when it is cancelled itself
                stopped.set_result(None)
                await asyncio.wait({upload})
                upload.exception()
                raise
            except Exception:
                if not failed:
                    raise
            else:
                await self._keep(name)
        if failed:
            raise failed[0]

    async def read(self, name: str, start: int, end: int) -> bytes | None:
        """The bytes from `start` to before `end`, fewer if there are fewer; None if the name is not there."""
        from obstore import get_range_async
        from obstore.exceptions import GenericError

        with self._explained("read an object of"):
            try:
                return bytes(await get_range_async(await self._opened(), name, start=start, end=end))
            except GenericError as error:
                if not _BEHIND.search(str(error)):
                    raise
                return b""
            except FileNotFoundError as error:
                _check_bucket(error)
                return None

    async def content(self, name: str) -> Content | None:
        """All bytes of a small name, and its age; None if it is not there."""
        from obstore import get_async

        with self._explained("read an object of"):
            try:
                got = await get_async(await self._opened(), name)
                return Content(bytes(await got.bytes_async()), got.meta["last_modified"])
            except FileNotFoundError as error:
                _check_bucket(error)
                return None

    async def head(self, name: str) -> Found | None:
        """Size and age of a name; None if it is not there."""
        from obstore import head_async

        with self._explained("look for an object in"):
            try:
                found = await head_async(await self._opened(), name)
            except FileNotFoundError as error:
                _check_bucket(error)
                return None
            return Found(found["size"], found["last_modified"])

    async def listed(self, folder: str) -> AsyncIterator[tuple[str, Found]]:
        """All names in a folder of the store. What is written or removed meanwhile may be among them or not."""
        import obstore

        with self._explained("list the objects of"):
            async for several in obstore.list(await self._opened(), folder, chunk_size=1_000):
                for each in several:
                    yield each["path"], Found(each["size"], each["last_modified"])

    async def delete(self, name: str) -> None:
        """Remove a name; it may be gone already."""
        from obstore import delete_async

        with self._explained("remove an object from"):
            try:
                await delete_async(await self._opened(), name)
            except FileNotFoundError as error:
                _check_bucket(error)

    async def link(self, name: str, lasting: timedelta) -> str:
        """An address by which who has it can read a name of a bucket for so long, whether or not it is there."""
        from obstore import sign_async

        with self._explained("read an object of"):
            store: Any = await self._opened()
            return str(await sign_async(store, "GET", name, lasting))

    async def _opened(self, to_write: str | None = None) -> ObjectStore:
        """The store; in a local one also the folder of the name that is to be written."""
        if self._folder is not None and (to_write or self._store is None):
            await asyncio.to_thread(_make_folder, (self._folder / (to_write or "name")).parent)
        if self._store is None:
            from obstore.exceptions import BaseError

            _end_after_its_threads()
            try:
                self._store = _open(self._url, self._folder)
            except (BaseError, ValueError):
                raise ObjectStoreError(f"Can't open {self._url}: {_VARIABLES}") from None
        return self._store

    async def _keep(self, name: str) -> None:
        if self._folder is not None:
            await asyncio.to_thread(_keep, self._folder / name)

    @contextmanager
    def _explained(self, doing: str) -> Iterator[None]:
        """Translate obstore's errors into plain words, without what they quote."""
        from obstore.exceptions import BaseError

        try:
            yield
        except Exception as error:
            # what obstore raises when it panics has no name that could be imported
            if not isinstance(error, BaseError | OSError) and type(error).__name__ != _PANIC:
                raise
            raise ObjectStoreError(f"Can't {doing} {self._url}: {explain(error)}") from None


@cache
def _end_after_its_threads() -> None:
    """From now on, this process does not end while a thread of obstore's is in Python: it would be aborted.

    Such a thread tells the event loop a result, and lets go of the interpreter's lock while it writes to the loop's
    socket. The program may go on, and end, before that thread has the lock again; then the interpreter ends the thread
    in the midst of Rust's frames (https://github.com/PyO3/pyo3-async-runtimes/issues/40).
    """
    atexit.register(_wait_for_foreign_threads)


def _wait_for_foreign_threads() -> None:
    until = time.monotonic() + LONGEST_END
    while time.monotonic() < until:
        own = {thread.ident for thread in threading.enumerate()}
        if not sys._current_frames().keys() - own:
            return
        time.sleep(0.001)


def _open(url: str, folder: Path | None) -> ObjectStore:
    from obstore.store import LocalStore, from_url

    if folder is not None:
        return LocalStore(prefix=folder)
    # a request may take 30 s, which is obstore's own bound; options of a client given here would hide AWS_ALLOW_HTTP
    return from_url(url, retry_config={"retry_timeout": _RETRIED})


async def _next(parts: AsyncIterator[bytes], stopped: asyncio.Future[None]) -> bytes | None:
    """The next part, None at the end. Raises CancelledError once `stopped` is done, however long the part takes."""

    async def following() -> bytes | None:
        return await anext(parts, None)

    part = asyncio.ensure_future(following())
    try:
        either: set[asyncio.Future[Any]] = {part, stopped}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if stopped.done():
            raise asyncio.CancelledError
        return await part
    finally:
        if not part.done():
            part.cancel()
            await asyncio.wait({part})


def _check_bucket(error: FileNotFoundError) -> None:
    """Raises the error if the whole bucket is missing, and not just a name in it."""
    if "<Code>NoSuchBucket</Code>" in str(error) or "<Code>ContainerNotFound</Code>" in str(error):
        raise error


_BEHIND = re.compile(r"StartTooLarge|status code: 416")
"""How a store says that what is read has no byte there."""
_PANIC = "RustPanic"
_VARIABLES = (
    "a variable for it in this process's environment (AWS_ENDPOINT_URL, AZURE_STORAGE_ACCOUNT_KEY and the like) is "
    "missing or can't be used."
)
NO_CREDENTIALS = "there are no credentials in this process's environment (AWS_ACCESS_KEY_ID and the like)."
UNREACHABLE = "the store can't be reached. Check the network, and AWS_ENDPOINT_URL if the store is not Amazon's."
_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>(\w{1,60})</Code>")
_SYSTEM = re.compile(r"\(os error (\d{1,5})\)")


def explain(error: Exception) -> str:
    """The problem and the remedy of an error of obstore or of the system. Quotes only numbers and code words."""
    text = str(error)
    if isinstance(error, OSError) and error.errno:
        return f"{os.strerror(error.errno)}."
    if status := _STATUS.search(text):
        return answered(status[1], *_CODE.findall(text)[:1])
    if system := _SYSTEM.search(text):
        return f"{os.strerror(int(system[1]))}."
    if type(error).__name__ == _PANIC:
        return _VARIABLES
    if "169.254.169.254" in text:
        return NO_CREDENTIALS
    if "HTTP error" in text:
        return UNREACHABLE
    return f"{type(error).__name__}."


def answered(status: str, code: str = "") -> str:
    """The problem and the remedy of a store's refusal: the status of HTTP, and the code word beside it."""
    hint = {
        "401": "Check the credentials in this process's environment (AWS_ACCESS_KEY_ID and the like).",
        "403": "Check the credentials in this process's environment (AWS_ACCESS_KEY_ID and the like), and that "
        "they may read, write and delete there.",
        "404": "Check the name in FORGELOG_OBJECTS: there is no such bucket or container.",
    }.get(status, "The store's own log says more.")
    return f"the store answered {' '.join(filter(None, (status, code)))}. {hint}"


def _make_folder(folder: Path) -> None:
    """Make a folder, and those above it that are missing, for this user alone, and on the disk."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    try:
        folder.mkdir(0o700)
    except FileExistsError:
        return  # another writer was first
    _sync(folder.parent)


def _keep(path: Path) -> None:
    """Make a written file readable for this user only, and flush it to the disk."""
    opened = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fchmod(opened, 0o600)
        os.fsync(opened)
    finally:
        os.close(opened)
    _sync(path.parent)


def _sync(folder: Path) -> None:
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
