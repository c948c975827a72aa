"""Files of runs and of logged models, listed, and to and from the object store: `client.runs.log_artifacts` and
`download_artifacts`, for example. Knows no node."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from forgelog.client.bundles import Progress
from forgelog.client.core import Core
from forgelog.client.experiments import CONTEXT
from forgelog.client.fetching import Fetching, in_thread, manifest_of
from forgelog.client.frames import Rows
from forgelog.client.rows import RunArtifactRow
from forgelog.errors import InvalidInput, NotFound, Unavailable
from forgelog_pb.experiments.v1 import artifact_queries_pb2 as artifact_pb
from forgelog_pb.experiments.v1 import artifact_queries_pb2_grpc as artifact_rpc

if TYPE_CHECKING:
    from events.objects.manifest import BundleFile
    from events.objects.remote import RemoteObjects

NAMED_BYTES = 500_000
"""Bytes of paths and digests in one command, about; a command has at most 1,000,000."""

NAMED = 1_000
"""Most files in one command."""


class FetchedArtifact(NamedTuple):
    """A file, in the folder that it was fetched into."""

    path: str
    """In that folder."""
    size: int
    """Bytes."""
    digest: str
    """BLAKE3 of its bytes."""
    fetched: bool
    """False if it was there already."""


async def put_files(
    core: Core,
    source: Path | Mapping[str, Path],
    folder: str,
    *,
    named: bool = False,
    progress: Progress | None = None,
) -> list[dict[str, Any]]:
    """Put a file, all files of a folder, or files by the paths that they are to have, into the store; what
    `LogArtifacts` says of them, with their paths in `folder` of the run. `named`: what is in a folder gets the folder's
    name before it. Raises `InvalidInput`, `Unavailable`."""

    def work(remote: RemoteObjects) -> list[BundleFile]:
        return _put(source, folder, named, remote, progress)

    files = await in_thread(core, "sent", work)
    return [{"path": file.path, "file": {"digest": file.digest, "size": file.size}} for file in files]


async def list_files(
    core: Core,
    path: str,
    *,
    recursive: bool,
    at: datetime | None,
    limit: int | None,
    run_id: str = "",
    model_id: str = "",
) -> Rows[RunArtifactRow]:
    """What is in a folder of a run or of a logged model, by path. Raises `NotFound`."""
    request = artifact_pb.ListArtifactsRequest(
        run_id=run_id, model_id=model_id, path=path, recursive=recursive, options=core.options(CONTEXT, at)
    )
    stub: Any = artifact_rpc.ArtifactQueriesStub(core.channel)
    return await core.pages(stub.ListArtifacts, request, "artifacts", CONTEXT, limit)


async def get_listed(
    core: Core, rows: Sequence[RunArtifactRow], missing: str, into: Path, *, force: bool, progress: Progress | None
) -> list[FetchedArtifact]:
    """Fetch files as `list_files` gives them into a folder. `missing`: what to say where there are none. Raises
    `InvalidInput`, `NotFound`, `Unavailable`."""
    from events.objects.manifest import BundleFile

    if not rows:
        raise NotFound(missing)
    files = [BundleFile(path=row.path, digest=row.digest, size=row.size) for row in rows]
    return await get_files(core, files, into, force=force, progress=progress)


async def get_files(
    core: Core, files: Sequence[BundleFile], into: Path, *, force: bool, progress: Progress | None = None
) -> list[FetchedArtifact]:
    """Fetch these files into a folder. Raises `InvalidInput`, `NotFound`, `Unavailable`."""

    def work(remote: RemoteObjects) -> list[FetchedArtifact]:
        there = Fetching(remote, into, "", force).place(files, progress)
        return [FetchedArtifact(file.path, file.size, file.digest, file.path not in there) for file in files]

    return await in_thread(core, "had", work)


async def put_bundle(
    core: Core, source: Path | Mapping[str, Path] | Sequence[tuple[str, str, int]], progress: Progress | None = None
) -> dict[str, Any]:
    """Put a bundle into the store: of a file, all files of a folder, or files by the paths that they are to have; or of
    files that the store has, by their paths, digests and sizes. What names it. Raises `InvalidInput`, `Unavailable`."""

    def work(remote: RemoteObjects) -> dict[str, Any]:
        from io import BytesIO

        from blake3 import blake3
        from pydantic import ValidationError

        from events.language.objects import ObjectRef
        from events.objects.manifest import BundleFile, Manifest

        try:
            if isinstance(source, Path | Mapping):
                files = _put(source, "", False, remote, progress)
            else:
                files = [BundleFile(path=path, digest=digest, size=size) for path, digest, size in source]
            data = Manifest(files=tuple(files)).to_bytes()
        except ValidationError as error:
            raise InvalidInput(f"the files form no bundle: {error.errors()[0]['msg']}") from None
        ref = ObjectRef(digest=blake3(data).hexdigest(), size=len(data))
        if remote.missing([ref]):
            remote.put(ref, lambda: BytesIO(data))
        return ref.model_dump()

    return await in_thread(core, "sent", work)


async def bundle_files(core: Core, digest: str, size: int) -> Sequence[BundleFile]:
    """The files of a bundle. Raises `NotFound`, `Unavailable`."""
    return await in_thread(core, "listed", lambda remote: manifest_of(remote, digest, size))


def batches(named: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """What one command each may say."""
    batch: list[dict[str, Any]] = []
    size = 0
    for each in named:
        length = len(each["path"].encode()) + 150
        if batch and (len(batch) == NAMED or size + length > NAMED_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(each)
        size += length
    if batch:
        yield batch


def _put(
    source: Path | Mapping[str, Path], folder: str, named: bool, remote: RemoteObjects, progress: Progress | None
) -> list[BundleFile]:
    """Blocks."""
    from events.objects.bundle import NoBundle, open_plain, read_file
    from events.objects.sending import FilesChanged, send_files

    what = source if isinstance(source, Path) else f"{len(source)} files"
    try:
        found = _found(source, folder, named) if isinstance(source, Path) else _named(source, folder)
        files, total = [], sum(real.stat().st_size for real in found.values())
        for path, real in sorted(found.items()):
            remote.check_stopped()
            files.append(read_file(path, real))
            if progress is not None:
                progress("reading", sum(file.size for file in files), total)
        sources = {file.digest: found[file.path] for file in files}
        sending = partial(progress, "sending") if progress is not None else None
        send_files(files, lambda digest: open_plain(sources[digest]), remote, sending)
    except (NoBundle, ValueError) as error:
        raise InvalidInput(f"{what} can't be logged: {error}") from None
    except FilesChanged as error:
        digest, why = next(iter(error.reasons.items()))
        raise Unavailable(f"{sources[digest]} can't be logged: {why}; try again") from None
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise InvalidInput(f"{what} can't be logged: {where}{error.strerror}") from None
    return files


def _named(files: Mapping[str, Path], folder: str) -> dict[str, Path]:
    """As `_found`, for files that are named one by one. Raises ValueError, OSError."""
    from events.language.file_paths import check_path

    base = f"{folder}/" if folder else ""
    return {check_path(base + path): real.resolve(strict=True) for path, real in files.items()}


def _found(source: Path, folder: str, named: bool) -> dict[str, Path]:
    """Path in the run → path of the bytes; links to files are followed, links to folders are not. Raises ValueError,
    OSError."""
    from events.language.file_paths import check_path

    base = f"{folder}/" if folder else ""
    real = source.resolve(strict=True)
    if real.is_file():
        return {check_path(base + source.name): real}
    if not real.is_dir():
        raise ValueError("it is neither a file nor a folder")
    base += f"{real.name}/" if named else ""
    found = {}
    for above, _, names in os.walk(real, onerror=_raised):
        for name in names:
            each = Path(above, name)
            if each.is_file():
                found[check_path(base + each.relative_to(real).as_posix())] = each.resolve()
    if not found:
        raise ValueError("it has no files")
    return found


def _raised(error: OSError) -> None:
    raise error
