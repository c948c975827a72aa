"""The files of a folder that match patterns, as a bundle: what a job keeps of a task's working folder. Blocks; use a
thread.

The task may be hostile, so names, depth, number and kinds of its files may be chosen to harm. No link is followed: a
link to a kept file is kept as that file, as in `bundle`, and any other link is left out. Each folder is opened relative
to its parent. Files that can't be kept are left out, with a reason; the rest is kept.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Collection, Iterable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from blake3 import blake3

from events.language.common import shown
from events.language.path_patterns import Patterns
from events.objects.below import Changed, entered, open_plain
from events.objects.bundle import ALWAYS_OUT
from events.objects.manifest import MAX_BUNDLE_BYTES, MAX_FILES, MAX_MANIFEST_BYTES, BundleFile, Manifest, check_path

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

    def add(self, path: str, why: str) -> None:
        self.count += 1
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
    itself can't be entered.
    """
    folder = folder.resolve()
    left_out = LeftOut()
    found, links = _find(folder, Patterns(patterns), _identities(excluded), left_out, stop)
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

    for path in sorted(found):
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
    for path in sorted(links):
        stop()
        file_there = files.get(_leads_to(folder, path))
        if file_there is None:
            left_out.add(path, "a link that leads to no file that is kept")
        else:
            add(path, file_there.model_copy(update={"path": path}))
    return Collected(folder, Manifest(files=tuple(files[path] for path in sorted(files))), sources, left_out)


def _find(
    folder: Path, patterns: Patterns, excluded: Collection[tuple[int, int]], left_out: LeftOut, stop: Callable[[], None]
) -> tuple[list[str], list[str]]:
    """The paths of plain files and of links that match a pattern."""
    files: list[str] = []
    links: list[str] = []
    stack = [("", patterns.start)]
    while stack:
        base, reached = stack.pop()
        stop()
        try:
            with entered(folder, base.removesuffix("/")) as opened:
                about = os.fstat(opened)
                if (about.st_dev, about.st_ino) in excluded:
                    continue
                with os.scandir(opened) as entries:
                    for entry in entries:
                        inner = patterns.enter(reached, entry.name)
                        if not inner or entry.name in ALWAYS_OUT:
                            continue
                        path = base + entry.name
                        is_folder = entry.is_dir(follow_symlinks=False)
                        if not is_folder and not patterns.fit(inner):
                            continue
                        try:
                            check_path(path + "/-" if is_folder else path)
                        except ValueError as error:
                            left_out.add("", str(error))
                            continue
                        if is_folder:
                            stack.append((f"{path}/", inner))
                        elif entry.is_symlink():
                            links.append(path)
                        elif entry.is_file(follow_symlinks=False):
                            files.append(path)
                        else:
                            left_out.add(path, "neither a file nor a folder")
        except OSError as error:
            if not base:
                raise
            left_out.add(base, f"can't be entered: {error.strerror}")
    return files, links


class _TooLarge(Exception):
    pass


def _read(folder: Path, path: str, most: int, stop: Callable[[], None]) -> BundleFile:
    """The file with its digest. Raises OSError, _TooLarge."""
    seen, size = blake3(), 0
    with closing(_opened_below(folder, path)) as file:
        about = os.fstat(file.fileno())
        if about.st_size > most:
            raise _TooLarge
        while piece := file.read(_PIECE):
            stop()
            size += len(piece)
            if size > about.st_size:
                raise Changed("it grew while it was read")
            seen.update(piece)
    executable = bool(about.st_mode & stat.S_IXUSR)
    return BundleFile(path=path, digest=seen.hexdigest(), size=size, executable=executable)


def _opened_below(folder: Path, path: str) -> BinaryIO:
    """A plain file in the folder, reached through no link. Raises OSError."""
    above, _, name = path.rpartition("/")
    with entered(folder, above) as opened:
        return open_plain(name, opened)


def _identities(folders: Collection[Path]) -> set[tuple[int, int]]:
    found = set()
    for folder in folders:
        try:
            about = os.stat(folder)
        except OSError:
            continue  # it does not exist, so nothing is in it
        found.add((about.st_dev, about.st_ino))
    return found


def _leads_to(folder: Path, path: str) -> str:
    """Where a link leads, as a path in the folder; empty if out of it."""
    try:
        real = os.path.realpath(folder / path)
    except (OSError, ValueError):
        return ""
    inside = os.path.relpath(real, folder)
    return "" if inside.startswith("..") else inside


def _too_many_bytes(most: int) -> str:
    return f"at most {f'{most >> 30} GiB' if most >> 30 else f'{most} bytes'} of a task's files are kept"
