"""Uploaded code on a node: files are fetched once and kept by digest, and each task gets copies of its own.

    bundles/ab/abcd...      a file's bytes, by their BLAKE3; the least used go when there are too many bytes
    code/<attempt>/         the working directory of an attempt: its own copies

A copy is compared with its digest while it is made. So a file of the cache that a task has changed, which it can as the
same user, reaches no other task: it is fetched anew. Manifests are objects like others, and lie in the cache too.

Blocks; each `prepare` runs in a thread, several at a time. Must not know jobs or attempts.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from blake3 import blake3

from events.language.objects import ObjectRef
from events.objects.manifest import MAX_MANIFEST_BYTES, BundleFile, Manifest, NoManifest, parse_manifest
from events.objects.remote import RemoteError, RemoteObjects, RemoteStopped
from services.resources.agent import removing

log = logging.getLogger("forgelog.agent.bundles")

FETCHED_AT_A_TIME = 8
"""Files of one bundle."""
_PIECE = 1 << 20
_NEW = ".new"
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

Remote = Callable[[threading.Event], RemoteObjects]
"""The platform's objects, for one bundle. Raises RemoteError if this node has no way to them."""


class BundleProblem(Exception):
    """Why a task's folder can't be made, for the task's end."""


class Stopped(Exception):
    """The task is not to start any more."""


class _Unreadable(Exception):
    """What the cache has is no file any more that can be read."""


class Bundles:
    """The cache of a node."""

    def __init__(self, folder: Path, remote: Remote, most_bytes: int, umask: int) -> None:
        """`folder`: the cache's, made at the first use. `most_bytes`: that it keeps; what is being copied stays, so it
        may be more for a while. `umask`: of the copies."""
        self._folder = folder
        self._remote = remote
        self._most = most_bytes
        self._umask = umask
        self._lock = threading.Lock()
        """Guards what follows."""
        self._sizes: dict[str, int] | None = None
        """Bytes by digest of what is here; None until it is looked."""
        self._total = 0
        """Bytes of all that is here."""
        self._idle: OrderedDict[str, None] = OrderedDict()
        """Digests of what is here and not in use, the least used first."""
        self._used: dict[str, int] = {}
        """Digests that must stay, with how many copies are being made of each."""
        self._fetching: dict[str, tuple[threading.Lock, int]] = {}
        """By digest: the turn to fetch it, and how many have it or wait for it."""

    @property
    def fetching(self) -> frozenset[str]:
        """Digests of what is being fetched."""
        with self._lock:
            return frozenset(self._fetching)

    def prepare(self, ref: ObjectRef, target: Path, stopped: threading.Event) -> None:
        """Make `target`, which must not be there, and copy the bundle's files into it. `stopped`: leave it.

        Raises BundleProblem and Stopped; then something may be left in `target`.
        """
        try:
            self._prepare(ref, target, stopped)
        except RemoteStopped:
            raise Stopped from None
        except (RemoteError, NoManifest) as error:
            raise BundleProblem(f"its uploaded code can't be had: {error}") from None
        except OSError as error:
            hint = "; make room on the node's disk" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
            raise BundleProblem(f"its uploaded code can't be unpacked: {error.strerror}{hint}") from None

    def _prepare(self, ref: ObjectRef, target: Path, stopped: threading.Event) -> None:
        remote = self._remote(stopped)
        manifest = self._manifest(ref, remote)
        with ExitStack() as used:
            for file in manifest.files:
                used.enter_context(self._in_use(file.digest))
            self._fetch(manifest, remote)
            self._make_room()
            os.mkdir(target, 0o700)
            for file, folder in _folders(target, manifest, 0o777 & ~self._umask):
                if stopped.is_set():
                    raise Stopped
                self._copy(file, folder, remote)

    def _manifest(self, ref: ObjectRef, remote: RemoteObjects) -> Manifest:
        if ref.size > MAX_MANIFEST_BYTES:
            raise NoManifest(f"what names it has {ref.size} bytes; a manifest has at most {MAX_MANIFEST_BYTES}")
        with self._in_use(ref.digest):
            for _ in range(2):
                self._have(ref, remote)
                data = self._content(ref)
                if blake3(data).hexdigest() == ref.digest:
                    return parse_manifest(data)
                self._forget(ref.digest)
        raise NoManifest(f"the copy of the manifest {ref.digest} on this node is changed again and again")

    def _fetch(self, manifest: Manifest, remote: RemoteObjects) -> None:
        """Have all files of a bundle."""
        wanted = list({file.digest: file.ref for file in manifest.files}.values())
        with self._lock:
            known = self._known()
            missing = [ref for ref in wanted if ref.digest not in known]
        if len(missing) == 1:
            self._have(missing[0], remote)
        elif missing:
            with ThreadPoolExecutor(min(FETCHED_AT_A_TIME, len(missing)), "fetch") as pool:
                remote.all_or_stop([pool.submit(self._have, ref, remote) for ref in missing])

    def _have(self, ref: ObjectRef, remote: RemoteObjects) -> None:
        """Fetch an object unless it is here, or another thread is fetching it: then wait for that."""
        with self._lock:
            if ref.digest in self._known():
                with suppress(OSError):  # it is only for the order after a restart
                    os.utime(self._path(ref.digest), follow_symlinks=False)
                return
        with self._turn(ref.digest):
            with self._lock:
                if ref.digest in self._known():
                    return
            with self._shard(ref.digest) as shard:
                fresh = f"{ref.digest}{_NEW}"
                try:
                    remote.get(ref, lambda: _created(fresh, shard))
                    _remove(ref.digest, shard)  # no rename replaces a folder
                    os.rename(fresh, ref.digest, src_dir_fd=shard, dst_dir_fd=shard)
                except BaseException:
                    _remove(fresh, shard)
                    raise
            with self._lock:
                self._note(ref.digest, ref.size)
            self._make_room()

    @contextmanager
    def _turn(self, digest: str) -> Iterator[None]:
        """Only one thread at a time fetches an object."""
        with self._lock:
            turn, count = self._fetching.get(digest, (threading.Lock(), 0))
            self._fetching[digest] = turn, count + 1
        try:
            with turn:
                yield
        finally:
            with self._lock:
                turn, count = self._fetching.pop(digest)
                if count > 1:
                    self._fetching[digest] = turn, count - 1

    def _copy(self, file: BundleFile, folder: int, remote: RemoteObjects) -> None:
        """A task's own copy of a file, in an open folder."""
        name = file.path.rpartition("/")[2]
        mode = (0o777 if file.executable else 0o666) & ~self._umask
        for again in (True, False):
            self._have(file.ref, remote)
            try:
                good = self._copied(file, folder, name, mode)
            except _Unreadable:
                good = False
            if good:
                return
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=folder)
            log.warning("%s in the cache was changed by something; fetching it anew", file.digest)
            self._forget(file.digest)
            if not again:
                break
        raise BundleProblem(f"its uploaded code can't be unpacked: {file.path} is changed again and again on this node")

    def _copied(self, file: BundleFile, folder: int, name: str, mode: int) -> bool:
        """Whether the copy has the digest that it should."""
        with self._reading(file.digest) as reader:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            copy = os.open(name, flags, 0o600, dir_fd=folder)
            seen, size = blake3(), 0
            with open(copy, "wb") as writer:
                while piece := reader.read(_PIECE):
                    size += len(piece)
                    if size > file.size:
                        return False
                    seen.update(piece)
                    writer.write(piece)
                os.fchmod(copy, mode)
        return size == file.size and seen.hexdigest() == file.digest

    def _content(self, ref: ObjectRef) -> bytes:
        """What the cache has of an object; nothing if that can't be read."""
        try:
            with self._reading(ref.digest) as reader:
                return reader.read(ref.size + 1)
        except _Unreadable:
            return b""

    # The cache

    def _reading(self, digest: str) -> BinaryIO:
        """A file of the cache, open: no link, and nothing that would let us wait. Raises _Unreadable."""
        try:
            opened = os.open(self._path(digest), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise _Unreadable from error
        if stat.S_ISDIR(os.fstat(opened).st_mode):
            os.close(opened)
            raise _Unreadable
        return open(opened, "rb")

    @contextmanager
    def _shard(self, digest: str) -> Iterator[int]:
        """The folder of a digest, made and open."""
        for folder in (self._folder, self._folder / digest[:2]):
            with suppress(FileExistsError):
                os.mkdir(folder, 0o700)
        opened = os.open(self._folder / digest[:2], _FOLDER)
        try:
            yield opened
        finally:
            os.close(opened)

    def _path(self, digest: str) -> Path:
        return self._folder / digest[:2] / digest

    def _known(self) -> dict[str, int]:
        """What is here. With the lock held."""
        if self._sizes is None:
            found = []
            with suppress(FileNotFoundError):
                for path in self._folder.glob("??/*"):
                    about = path.lstat()
                    if path.name.endswith(_NEW):
                        _remove(path)  # an earlier agent was killed amid it
                    else:
                        found.append((about.st_mtime, path.name, about.st_size))
            self._sizes = {}
            for _, name, size in sorted(found):
                self._note(name, size)
        return self._sizes

    def _note(self, digest: str, size: int) -> None:
        """It is here. With the lock held."""
        known = self._known()
        self._total += size - known.get(digest, 0)
        known[digest] = size
        if digest not in self._used:
            self._idle[digest] = None

    def _remove(self, digest: str) -> None:
        """It is here no more. With the lock held."""
        self._total -= self._known().pop(digest, 0)
        self._idle.pop(digest, None)
        _remove(self._path(digest))

    @contextmanager
    def _in_use(self, digest: str) -> Iterator[None]:
        with self._lock:
            self._used[digest] = self._used.get(digest, 0) + 1
            self._idle.pop(digest, None)
        try:
            yield
        finally:
            with self._lock:
                self._used[digest] -= 1
                if not self._used[digest]:
                    del self._used[digest]
                    if digest in self._known():
                        self._idle[digest] = None

    def _make_room(self) -> None:
        """Remove what was used least, and is not in use, while there is too much. A manifest claims any sizes, so only
        bytes that came count."""
        with self._lock:
            self._known()
            while self._total > self._most and self._idle:
                self._remove(next(iter(self._idle)))

    def _forget(self, digest: str) -> None:
        with self._lock:
            self._remove(digest)


def _remove(path: str | Path, folder: int | None = None) -> None:
    """Remove what is there, if anything is: a task may have put a folder in a file's place. Follows no link."""
    if reasons := removing.remove(path, parent=folder):
        log.warning("what is in the place of a file of the cache can't all be removed: %s", "; ".join(reasons[:3]))


def _created(name: str, folder: int) -> BinaryIO:
    _remove(name, folder)  # of a try that was cut
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return open(os.open(name, flags, 0o400, dir_fd=folder), "wb")


def _folders(target: Path, manifest: Manifest, mode: int) -> Iterator[tuple[BundleFile, int]]:
    """Each file with its folder, made and open. Folders are entered by name from the one above, through no link: a task
    of this user's may be at work there."""
    with ExitStack() as stack:
        opened = [("", os.open(target, _FOLDER))]
        stack.callback(lambda: _close(folder for _, folder in opened))
        for file in sorted(manifest.files, key=lambda file: file.path.split("/")):
            parts = file.path.split("/")[:-1]
            kept = 0
            while kept < min(len(parts), len(opened) - 1) and opened[kept + 1][0] == parts[kept]:
                kept += 1
            while len(opened) > kept + 1:
                os.close(opened.pop()[1])
            for part in parts[kept:]:
                above = opened[-1][1]
                with suppress(FileExistsError):
                    os.mkdir(part, 0o700, dir_fd=above)
                opened.append((part, os.open(part, _FOLDER, dir_fd=above)))
                os.fchmod(opened[-1][1], mode)
            yield file, opened[-1][1]


def _close(opened: Iterable[int]) -> None:
    for each in opened:
        os.close(each)
