"""The lists of versions' files. A list never changes, so those that were asked for last are kept."""

from __future__ import annotations

import posixpath
from collections import OrderedDict
from collections.abc import Iterator, Mapping

import grpc

from events.language.objects import ObjectRef
from events.objects.manifest import MAX_MANIFEST_BYTES, BundleFile, NoManifest, parse_manifest
from events.objects.store import ObjectDamaged, ObjectMissing
from services.gateway.errors import DoorError
from services.gateway.object_bytes import ObjectBytes

KEPT_FILES = 50_000
"""Files in lists that are kept; 20 MiB, about."""

Listed = Mapping[str, BundleFile]
"""By path."""


class Manifests:
    """One per process."""

    def __init__(self, carrying: ObjectBytes) -> None:
        self._carrying = carrying
        self._kept: OrderedDict[str, Listed] = OrderedDict()
        self._files = 0

    async def files(self, ref: ObjectRef) -> Listed:
        """The files of a bundle. Raises DoorError."""
        if (known := self._kept.get(ref.digest)) is not None:
            self._kept.move_to_end(ref.digest)
            return known
        try:
            if ref.size > MAX_MANIFEST_BYTES:
                raise NoManifest(f"it has {ref.size} bytes; a manifest has at most {MAX_MANIFEST_BYTES}")
            found = {file.path: file for file in parse_manifest(await self._carrying.read(ref)).files}
        except (ObjectMissing, ObjectDamaged, NoManifest) as error:
            raise DoorError(grpc.StatusCode.DATA_LOSS, f"the list of its files can't be read: {error}") from None
        self._keep(ref.digest, found)
        return found

    def _keep(self, digest: str, found: Listed) -> None:
        if digest not in self._kept:  # two requests may have read it at a time
            self._kept[digest] = found
            self._files += len(found)
        while self._files > KEPT_FILES:
            self._files -= len(self._kept.popitem(last=False)[1])


def entries(files: Listed, folder: str) -> Iterator[tuple[str, BundleFile | None]]:
    """What is in a folder, by its names there; None for folders in it. Pure."""
    base = f"{folder}/" if folder else ""
    folders = set()
    for path, file in files.items():
        if not path.startswith(base):
            continue
        name, inside, _ = path[len(base) :].partition("/")
        if not inside:
            yield name, file
        elif name not in folders:
            folders.add(name)
            yield name, None


def without_folder(path: str, folder: str) -> str:
    """A path as seen from a folder that it is in; of a file itself its name. Pure."""
    return posixpath.basename(path) if path == folder else path.removeprefix(f"{folder}/") if folder else path
