"""Sends files that the platform does not have, and bundles: the files, then the manifest that names them. Blocks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from io import BytesIO
from typing import BinaryIO

from blake3 import blake3

from events.language.objects import ObjectRef
from events.objects.manifest import BundleFile, Manifest
from events.objects.remote import ObjectChanged, RemoteObjects

AT_A_TIME = 8
"""Files that are sent at a time."""


class FilesChanged(Exception):
    """Some files are not any more what the manifest says. All others were sent."""

    def __init__(self, reasons: Mapping[str, str]) -> None:
        """`reasons`: by digest."""
        super().__init__("; ".join(reasons.values()))
        self.reasons = reasons


class Sum:
    """Sums the bytes sent by several threads."""

    def __init__(self, total: int, tell: Callable[[int, int], None] | None) -> None:
        """`tell` is called with the bytes so far, and `total`."""
        self._total, self._tell = total, tell
        self._done, self._lock = 0, threading.Lock()

    def add(self, count: int) -> None:
        with self._lock:
            self._done += count
            if self._tell is not None:
                self._tell(self._done, self._total)


def send_bundle(
    manifest: Manifest,
    opened: Callable[[str], BinaryIO],
    objects: RemoteObjects,
    progress: Callable[[int, int], None] | None = None,
) -> ObjectRef:
    """What names the manifest. `opened` opens a file by its digest. `progress` is called with bytes sent and to send.
    Raises RemoteError, and FilesChanged where a file can't be opened and read any more or has other bytes."""
    data = manifest.to_bytes()
    whole = ObjectRef(digest=blake3(data).hexdigest(), size=len(data))
    missing = objects.missing([*_refs(manifest.files), whole])
    _send([ref for ref in missing if ref != whole], opened, objects, progress)
    if whole in missing:
        objects.put(whole, lambda: BytesIO(data))
    return whole


def send_files(
    files: Sequence[BundleFile],
    opened: Callable[[str], BinaryIO],
    objects: RemoteObjects,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """As `send_bundle`, the files alone."""
    _send(objects.missing(_refs(files)), opened, objects, progress)


def _refs(files: Iterable[BundleFile]) -> list[ObjectRef]:
    return list({file.digest: file.ref for file in files}.values())


def _send(
    refs: Sequence[ObjectRef],
    opened: Callable[[str], BinaryIO],
    objects: RemoteObjects,
    progress: Callable[[int, int], None] | None,
) -> None:
    sent = Sum(sum(ref.size for ref in refs), progress)
    changed: dict[str, str] = {}

    def send(ref: ObjectRef) -> None:
        try:
            objects.put(ref, partial(opened, ref.digest), sent.add)
        except ObjectChanged:
            changed[ref.digest] = "it changed while it was sent"
        except OSError as error:
            changed[ref.digest] = f"can't be read any more: {error.strerror or error}"

    with ThreadPoolExecutor(max(1, min(AT_A_TIME, len(refs))), "upload") as pool:
        objects.all_or_stop([pool.submit(send, ref) for ref in refs])
    if changed:
        raise FilesChanged(changed)
