"""The files of a version, from the object store by way of this machine's cache. Blocks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from events.language.objects import ObjectRef
from events.objects.manifest import BundleFile
from events.objects.remote import RemoteError, RemoteMissing, RemoteObjects
from forgelog.client.fetching import Fetching, read_object
from forgelog.errors import ForgelogError, NotFound
from forgelog.serve.cache import ModelCache, cache_folder
from forgelog.serve.problems import NotServable, NotServableHere
from forgelog.where import find_gateway


@contextmanager
def held_files(bundle: ObjectRef) -> Iterator[Path]:
    """The folder of the files. The platform is asked only for what is not here. Raises `NotServable`, and
    `NotServableHere` where they can't be had now."""

    def store() -> RemoteObjects:
        found = find_gateway()
        return RemoteObjects(found.address, found.key)

    def read(ref: ObjectRef) -> bytes:
        return read_object(store(), ref)

    def fetch(files: Sequence[BundleFile], into: Path) -> None:
        Fetching(store(), into, "", force=True).place(files, None)

    try:
        with ModelCache(cache_folder()).held(bundle, read, fetch) as folder:
            yield folder
    except (ForgelogError, RemoteError) as error:
        lost = isinstance(error, NotFound | RemoteMissing)
        raise (NotServable if lost else NotServableHere)(f"the model's files can't be had: {error}") from None
