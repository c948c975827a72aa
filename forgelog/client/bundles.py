"""Folders as bundles, by the gateway's `/v1/objects`: `client.upload`, and jobs that say `upload:`. Knows no node."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from forgelog.client.core import Core
from forgelog.errors import InvalidInput, Unavailable

if TYPE_CHECKING:
    from events.language.objects import ObjectRef
    from forgelog.manifest.jobs import ManifestJob

Progress = Callable[[str, int, int], None]
"""Called with what is done ("reading", "sending"), and bytes done and to do."""


async def upload(
    core: Core,
    folder: str | Path,
    progress: Progress | None = None,
    left_out: Callable[[str, str], None] | None = None,
) -> ObjectRef:
    """See `AsyncJobs.upload`."""
    stopped = threading.Event()
    work = partial(_upload, Path(folder), core.connection.address, core.connection.key, stopped, progress)
    try:
        ref, out = await asyncio.to_thread(work)
    except asyncio.CancelledError:
        stopped.set()
        raise
    for path, why in out.items():
        if left_out is not None:
            left_out(path, why)
    return ref


async def upload_each(core: Core, folders: Iterable[str]) -> dict[str, ObjectRef]:
    """Folder → what was uploaded of it, once; empty ones are none. Raises as `upload`."""
    return {folder: await upload(core, folder) for folder in dict.fromkeys(folders) if folder}


async def uploaded(core: Core, jobs: list[ManifestJob]) -> list[ManifestJob]:
    """The jobs as they are submitted; of those that say so, the folder is uploaded, each once."""
    from forgelog.manifest import with_bundle

    refs = await upload_each(core, [job.upload for job in jobs])
    return [with_bundle(job, refs[job.upload]) if job.upload else job for job in jobs]


def _upload(
    folder: Path, address: str, key: str, stopped: threading.Event, progress: Progress | None
) -> tuple[ObjectRef, dict[str, str]]:
    """Blocks. Returns the bundle, and what was left out."""
    from events.objects.bundle import NoBundle, find_files, make_bundle, open_plain
    from events.objects.remote import RemoteError, RemoteObjects
    from events.objects.sending import FilesChanged, send_bundle
    from events.process.folders import find_data_folder

    def reading(done: int, total: int) -> None:
        if stopped.is_set():
            raise Unavailable("the upload was stopped")
        if progress is not None:
            progress("reading", done, total)

    try:
        data = find_data_folder()[0]
        found = find_files(folder, excluded=[data, data / "keys"])  # a task's own folder may be in it
        bundle = make_bundle(found, reading)
        sending = partial(progress, "sending") if progress is not None else None
        remote = RemoteObjects(address, key, stopped=stopped)
        send_bundle(bundle.manifest, lambda digest: open_plain(bundle.sources[digest]), remote, sending)
    except NoBundle as error:
        raise InvalidInput(f"{folder} can't be uploaded: {error}") from None
    except RemoteError as error:
        raise Unavailable(f"{folder} can't be uploaded: {error}") from None
    except FilesChanged as error:
        digest, why = next(iter(error.reasons.items()))
        raise Unavailable(f"{bundle.sources[digest]} can't be uploaded: {why}; try again") from None
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise InvalidInput(f"{folder} can't be uploaded: {where}{error.strerror}") from None
    return bundle.ref, bundle.left_out
