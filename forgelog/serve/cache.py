"""Models' files on this machine, each version once, however many replicas serve it.

A version lies in a folder by the digest of its bundle. Who needs it first fetches it, under a lock for that alone, into
a folder beside; each file is compared with its digest as it comes, and the folder takes its name when all are there.
Files that are there are compared again by each process that is to serve them. A process that serves a version, or is
about to, shares another lock of it: what nobody holds may be removed when the cache is full. Blocks.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from blake3 import blake3

from events.language.objects import ObjectRef
from events.objects.manifest import BundleFile, NoManifest, parse_manifest
from events.objects.unpacking import InTheWay, is_there
from forgelog.serve.problems import NotServable, NotServableHere

DEFAULT_BYTES = 50 << 30
"""Most bytes that the cache keeps of versions that nobody serves."""

_MANIFEST = "manifest"

Read = Callable[[ObjectRef], bytes]
"""The bytes of a manifest."""
Fetch = Callable[[Sequence[BundleFile], Path], None]
"""Puts files into a folder that is there and empty, each compared with its digest as it comes: models are large, so
they are not read again for that."""


def cache_folder() -> Path:
    """``FORGELOG_MODEL_CACHE``, else a folder of the user's own cache."""
    if named := os.environ.get("FORGELOG_MODEL_CACHE"):
        return Path(named).expanduser().absolute()
    home = os.environ.get("XDG_CACHE_HOME") or str(Path("~/.cache").expanduser())
    return Path(home).absolute() / "forgelog" / "models"


class ModelCache:
    """A folder of versions' files. Several processes use it at a time."""

    def __init__(self, folder: Path, most_bytes: int = DEFAULT_BYTES) -> None:
        """Raises `NotServable` where the folder is another user's."""
        self._folder = folder
        self._most = most_bytes
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = folder.stat()
            if found.st_uid != os.geteuid():
                raise NotServableHere(f"{folder} is another user's; name a folder of your own by FORGELOG_MODEL_CACHE")
            if found.st_mode & 0o077:
                folder.chmod(0o700)
        except OSError as error:
            raise NotServableHere(f"{folder}: {error.strerror}; name another folder by FORGELOG_MODEL_CACHE") from None

    @contextmanager
    def held(self, bundle: ObjectRef, read: Read, fetch: Fetch) -> Iterator[Path]:
        """The folder of a bundle's files, compared with their digests. It stays as long as it is held. Raises
        `NotServable`, and what `read` and `fetch` raise."""
        place = self._folder / bundle.digest
        with _locked(self._folder / f"{bundle.digest}.lock", fcntl.LOCK_SH):
            if not _is_whole(place, bundle):
                with _locked(self._folder / f"{bundle.digest}.fetch", fcntl.LOCK_EX):
                    if not _is_whole(place, bundle):
                        shutil.rmtree(place, ignore_errors=True)
                        self._make_room()
                        self._fill(place, bundle, read(bundle), fetch)
            os.utime(place)
            yield place / "files"

    def _fill(self, place: Path, bundle: ObjectRef, manifest: bytes, fetch: Fetch) -> None:
        beside = place.with_name(f"{bundle.digest}.part")
        shutil.rmtree(beside, ignore_errors=True)  # of a process that was ended
        (beside / "files").mkdir(mode=0o700, parents=True)
        beside.chmod(0o700)
        try:
            (beside / _MANIFEST).write_bytes(manifest)
            files = _known(beside / _MANIFEST, bundle)
            if files is None:
                raise NotServable(f"the manifest {bundle.digest} of the model's files is none, or damaged")
            fetch(files, beside / "files")
            if not _are_there(beside / "files", files):
                raise NotServable(
                    "the model's files are not those of its version; `forgelog models show` tells of them"
                )
            executable = {file.path for file in files if file.executable}
            for path in beside.rglob("*"):
                path.chmod(0o700 if path.is_dir() else 0o600)
            for name in executable:
                (beside / "files" / name).chmod(0o700)
            os.rename(beside, place)
        finally:
            shutil.rmtree(beside, ignore_errors=True)

    def _make_room(self) -> None:
        """Remove versions that nobody holds, those first that were used longest ago, until the rest fits."""
        kept = []
        for place in self._folder.iterdir():
            if place.is_dir() and not place.name.endswith(".part"):
                with suppress(OSError):
                    kept.append((place.stat().st_mtime, place, _size(place)))
        total = sum(size for _, _, size in kept)
        for _, place, size in sorted(kept):
            if total <= self._most:
                return
            with (
                suppress(BlockingIOError),  # somebody serves it
                _locked(place.with_name(f"{place.name}.lock"), fcntl.LOCK_EX | fcntl.LOCK_NB),
            ):
                shutil.rmtree(place, ignore_errors=True)
                total -= size


@contextmanager
def _locked(path: Path, how: int) -> Iterator[None]:
    """With a file's lock. Raises BlockingIOError, if it is not to wait for it."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, how)
        yield
    finally:
        os.close(lock)


def _is_whole(place: Path, bundle: ObjectRef) -> bool:
    """Whether a version's folder has all its files, and no others."""
    files = _known(place / _MANIFEST, bundle)
    try:
        return files is not None and _same(place / "files", files)
    except FileNotFoundError:  # somebody replaces them just now
        return False


def _known(path: Path, bundle: ObjectRef) -> tuple[BundleFile, ...] | None:
    """The files that a kept manifest names; None where it is missing or is not the bundle's."""
    try:
        manifest = path.read_bytes()
        return tuple(parse_manifest(manifest).files) if blake3(manifest).hexdigest() == bundle.digest else None
    except (OSError, NoManifest):
        return None


def _same(folder: Path, files: Sequence[BundleFile]) -> bool:
    """Whether the folder has these files, with these bytes, and no others."""
    return _found(folder).keys() == {file.path for file in files} and all(_is(folder, file) for file in files)


def _are_there(folder: Path, files: Sequence[BundleFile]) -> bool:
    """Whether the folder has these files, as long as they are, and no others."""
    return _found(folder) == {file.path: file.size for file in files}


def _found(folder: Path) -> dict[str, int]:
    """The lengths of what is in a folder, by path; of folders only what is in them."""
    paths = [path for path in folder.rglob("*") if not path.is_dir() or path.is_symlink()]
    return {str(path.relative_to(folder)): path.lstat().st_size for path in paths}


def _is(folder: Path, file: BundleFile) -> bool:
    try:
        return is_there(folder, file)
    except InTheWay:
        return False


def _size(place: Path) -> int:
    return sum(path.stat().st_size for path in place.rglob("*") if path.is_file())
