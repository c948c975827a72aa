"""The files of a folder that match patterns, as a bundle: what a job keeps of a task's working folder. Blocks; use a
thread.

The task may be hostile, so names, depth, number and kinds of its files may be chosen to harm. No link is followed: a
link to a kept file is kept as that file, as in `bundle`, and any other link is left out. Each folder is opened relative
to its parent, and no more paths are remembered than can be kept. Files that can't be kept are left out, with a reason;
the rest is kept.

Others may still write in the folder. A file that grows is kept as long as it was when it was opened.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from blake3 import blake3

from events.language.common import shown
from events.language.file_paths import check_path
from events.language.path_patterns import Patterns, Reached
from events.objects.below import Changed, entered, inside, open_plain
from events.objects.bundle import ALWAYS_OUT
from events.objects.manifest import MAX_BUNDLE_BYTES, MAX_FILES, MAX_MANIFEST_BYTES, BundleFile, Manifest

TOLD = 5
"""Most reasons that are kept; further ones are only counted."""
_HEAD_BYTES = 64
"""More than a manifest's first line has."""
_PIECE = 1 << 20


@dataclass(slots=True)
class LeftOut:
    """The paths that match and could not be kept."""

    count: int = 0
    reasons: list[str] = field(default_factory=list)
    """The first `TOLD`, each with the path."""

    def add(self, path: str, why: str, count: int = 1) -> None:
        """`count`: of things for which that is the reason."""
        self.count += count
        if len(self.reasons) < TOLD:
            self.reasons.append(f"{shown(path)}: {why}" if path else why)


@dataclass(slots=True)
class Collected:
    """The files to keep."""

    folder: Path
    manifest: Manifest
    sources: dict[str, str]
    """Digest → a path in the folder with these bytes."""
    left_out: LeftOut

    def open(self, digest: str) -> BinaryIO:
        """A file's bytes. Raises OSError."""
        return _opened_below(self.folder, self.sources[digest])

    def leave_out(self, reasons: Mapping[str, str]) -> None:
        """Keep files of these digests no more, for these reasons."""
        for file in self.manifest.files:
            if file.digest in reasons:
                self.left_out.add(file.path, reasons[file.digest])
        self.manifest = Manifest(files=tuple(file for file in self.manifest.files if file.digest not in reasons))


def collect(
    folder: Path,
    patterns: Iterable[str],
    excluded: Collection[Path] = (),
    stop: Callable[[], None] = lambda: None,
    *,
    most_files: int = MAX_FILES,
    most_bytes: int = MAX_BUNDLE_BYTES,
    most_manifest: int = MAX_MANIFEST_BYTES,
) -> Collected:
    """Find and read all files of a folder that match one of `patterns`, in the order of their paths. Leaves out files
    beyond `most_files`, `most_bytes` (of all together) or `most_manifest` (bytes of the manifest).

    `excluded`: folders that are never looked into. `stop` is called often, and may raise. Raises OSError if the folder
    itself can't be entered, as it can't where a link is in its place.
    """
    left_out = LeftOut()
    walk = _Walk(Patterns(patterns), identities(excluded), left_out, stop, most_files)
    with entered(folder, "") as opened:
        walk.enter(opened, "", walk.patterns.start)
    files: dict[str, BundleFile] = {}
    sources: dict[str, str] = {}
    total, lines = 0, _HEAD_BYTES

    def add(path: str, file: BundleFile) -> bool:
        nonlocal total, lines
        length = len(file.model_dump_json(exclude_defaults=True)) + 1
        if len(files) >= most_files:
            left_out.add(path, f"at most {most_files} files of a task are kept")
        elif total + file.size > most_bytes:
            left_out.add(path, _too_many_bytes(most_bytes))
        elif lines + length > most_manifest:
            left_out.add(path, "the paths of the files are too long together")
        else:
            files[path] = file
            total += file.size
            lines += length
            return True
        return False

    for path in walk.files.sorted():
        stop()
        if len(files) >= most_files:
            left_out.add(path, f"at most {most_files} files of a task are kept")
            continue
        try:
            file = _read(folder, path, most_bytes - total, stop)
        except _TooLarge:
            left_out.add(path, _too_many_bytes(most_bytes))
        except Changed as error:
            left_out.add(path, str(error))
        except OSError as error:
            left_out.add(path, f"can't be read: {error.strerror}")
        else:
            if add(path, file):
                sources.setdefault(file.digest, path)
    for path in walk.links.sorted():
        stop()
        file_there = files.get(_leads_to(folder, path))
        if file_there is None:
            left_out.add(path, "a link that leads to no file that is kept")
        else:
            add(path, file_there.model_copy(update={"path": path}))
    for some in (walk.files, walk.links):
        if some.dropped:
            left_out.add("", f"at most {most_files} files of a task are kept", some.dropped)
    return Collected(folder, Manifest(files=tuple(files[path] for path in sorted(files))), sources, left_out)


class _First:
    """Paths, of any number, and the first of them in their order."""

    def __init__(self, most: int) -> None:
        self._most = most + TOLD  # so that some of those beyond can be told
        self._paths: list[str] = []
        self.dropped = 0
        """How many there were besides those that are remembered."""

    def add(self, path: str) -> None:
        self._paths.append(path)
        if len(self._paths) >= 2 * self._most:
            self._paths.sort()
            self.dropped += len(self._paths) - self._most
            del self._paths[self._most :]

    def sorted(self) -> list[str]:
        return sorted(self._paths)


class _Walk:
    """Looks for plain files that a pattern fits, and for links."""

    def __init__(
        self,
        patterns: Patterns,
        excluded: Collection[tuple[int, int]],
        left_out: LeftOut,
        stop: Callable[[], None],
        most: int,
    ) -> None:
        """`most`: files that can be kept."""
        self.patterns = patterns
        self._excluded = excluded
        self._left_out = left_out
        self._stop = stop
        self.files, self.links = _First(most), _First(most)

    def enter(self, folder: int, base: str, reached: Reached) -> None:
        """Look into an open folder, and into those in it. `base`: its path with a `/` at its end, or empty. `reached`:
        how far the patterns came on the way. Raises OSError."""
        if identity(os.fstat(folder)) in self._excluded:
            return
        with os.scandir(folder) as entries:
            for entry in entries:
                self._stop()
                inner = self.patterns.enter(reached, entry.name)
                if inner and entry.name not in ALWAYS_OUT:
                    self._look(folder, entry, base + entry.name, inner)

    def _look(self, folder: int, entry: os.DirEntry[str], path: str, reached: Reached) -> None:
        is_folder = entry.is_dir(follow_symlinks=False)
        if not is_folder and not self.patterns.fit(reached):
            return
        try:
            check_path(path + "/-" if is_folder else path)  # so folders in each other are no more than can be open
        except ValueError as error:
            self._left_out.add("", str(error))
            return
        if is_folder:
            try:
                with inside(folder, entry.name) as opened:
                    self.enter(opened, f"{path}/", reached)
            except OSError as error:
                self._left_out.add(f"{path}/", f"can't be entered: {error.strerror}")
        elif entry.is_symlink():
            self.links.add(path)
        elif entry.is_file(follow_symlinks=False):
            self.files.add(path)
        else:
            self._left_out.add(path, "neither a file nor a folder")


class _TooLarge(Exception):
    pass


def _read(folder: Path, path: str, most: int, stop: Callable[[], None]) -> BundleFile:
    """The file with its digest. Raises OSError, _TooLarge."""
    seen, size = blake3(), 0
    with closing(_opened_below(folder, path)) as file:
        about = os.fstat(file.fileno())
        if about.st_size > most:
            raise _TooLarge
        while piece := file.read(min(_PIECE, about.st_size - size)):
            stop()
            size += len(piece)
            seen.update(piece)
    executable = bool(about.st_mode & stat.S_IXUSR)
    return BundleFile(path=path, digest=seen.hexdigest(), size=size, executable=executable)


def _opened_below(folder: Path, path: str) -> BinaryIO:
    """A plain file in the folder, reached through no link. Raises OSError."""
    above, _, name = path.rpartition("/")
    with entered(folder, above) as opened:
        return open_plain(name, opened)


def identities(folders: Iterable[Path]) -> set[tuple[int, int]]:
    """Device and inode of those that are there."""
    found = set()
    for folder in folders:
        with suppress(OSError):  # it is not there, so nothing is in it
            found.add(identity(os.stat(folder)))
    return found


def identity(about: os.stat_result) -> tuple[int, int]:
    return about.st_dev, about.st_ino


def _leads_to(folder: Path, path: str) -> str:
    """Where a link leads, as seen from the folder."""
    try:
        return os.path.relpath(os.path.realpath(folder / path), os.path.realpath(folder))
    except (OSError, ValueError):
        return ""


def _too_many_bytes(most: int) -> str:
    return f"at most {f'{most >> 30} GiB' if most >> 30 else f'{most} bytes'} of a task's files are kept"
