"""A folder as a bundle: finds the files that belong to it, and their digests. Blocks; run it in a thread.

It leaves out what `.gitignore` names, every `.git` and `.forgelog`, folders that the caller names, sockets, pipes,
devices, and links that do not lead to a file of the bundle. A link to a file of the bundle is kept as that file.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from blake3 import blake3

from events.language.file_paths import check_path
from events.language.objects import ObjectRef
from events.objects import below, ignoring
from events.objects.manifest import MAX_BUNDLE_BYTES, MAX_FILES, MAX_MANIFEST_BYTES, BundleFile, Manifest

ALWAYS_OUT = frozenset({".git", ".forgelog"})
"""Names that are never part of a bundle: histories and keys."""
_PIECE = 1 << 20
_MAX_PATTERNS_BYTES = 1 << 20

Progress = Callable[[int, int], None]
"""Called with bytes done and bytes to do."""


class NoBundle(ValueError):
    """The folder can't become a bundle; the text says why, and what to do."""


@dataclass(slots=True)
class Folder:
    """What was found in a folder."""

    path: Path
    files: dict[str, Path] = field(default_factory=dict)
    """Path in the bundle → path of the bytes; for a link, its target."""
    bytes: int = 0
    """Bytes of all files together, when they were found."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Path → reason, for entries that are neither ignored nor part of the bundle."""


@dataclass(slots=True)
class Bundle:
    """A folder with its digests."""

    manifest: Manifest
    ref: ObjectRef
    """Of the manifest."""
    sources: dict[str, Path]
    """Digest → path of the bytes."""
    left_out: dict[str, str]


def find_files(folder: Path, excluded: Collection[Path] = ()) -> Folder:
    """The files of a folder that belong to a bundle. `excluded`: folders that never do. Raises NoBundle, OSError."""
    found = Folder(folder.resolve())
    if not found.path.is_dir():
        raise NoBundle(f"{folder} is no folder; name the one that has the code")
    out = {os.fspath(each.resolve()) for each in excluded}
    if os.fspath(found.path) in out:
        raise NoBundle(f"{folder} has the platform's keys, which are never uploaded; name the folder that has the code")
    links: list[str] = []
    _walk(found, "", [], out, links)
    inside = {os.fspath(real): path for path, real in found.files.items()}
    for path in links:
        real = os.path.realpath(found.path / path)
        if real in inside and os.path.isfile(real):
            _add(found, path, Path(real))
        else:
            found.left_out[path] = "a link that leads to no file of the bundle"
    return found


def make_bundle(found: Folder, progress: Progress | None = None) -> Bundle:
    """Read all files and make their manifest. Raises NoBundle, OSError."""
    files, sources, done = [], {}, 0
    known: dict[Path, BundleFile] = {}
    for path, real in sorted(found.files.items()):
        if (file := known.get(real)) is None:
            file = read_file(path, real)
            known[real] = file
            done += file.size
        files.append(file.model_copy(update={"path": path}))
        sources[file.digest] = real
        if progress is not None:
            progress(done, max(done, found.bytes))
    if sum(file.size for file in files) > MAX_BUNDLE_BYTES:
        raise _too_large()
    manifest = Manifest(files=tuple(files))
    data = manifest.to_bytes()
    if len(data) > MAX_MANIFEST_BYTES:
        raise NoBundle(
            f"the paths of the folder's {len(files)} files are too long together: their list has {len(data)} bytes, "
            f"and at most {MAX_MANIFEST_BYTES} are allowed; shorten names, or keep out by .gitignore what the job does "
            "not need"
        )
    ref = ObjectRef(digest=blake3(data).hexdigest(), size=len(data))
    return Bundle(manifest, ref, sources, found.left_out)


def open_plain(path: Path) -> BinaryIO:
    """Open a plain file that is not a link. Raises OSError, NoBundle."""
    try:
        return below.open_plain(path)
    except below.Changed:
        raise NoBundle(f"{path} is no plain file any more; try again") from None


def pieces(file: BinaryIO) -> Iterator[bytes]:
    """A file's bytes, some at a time."""
    while piece := file.read(_PIECE):
        yield piece


def _walk(found: Folder, base: str, above: list[ignoring.Patterns], out: Collection[str], links: list[str]) -> None:
    """`base`: path of a folder in the bundle, with a `/` at its end; empty for the root. `above`: the patterns of the
    folders above."""
    stack = [(base, above)]
    while stack:
        base, above = stack.pop()
        opened = os.open(found.path / base, below.FOLDER)
        try:
            patterns = [*above, *_patterns(opened, base)]
            entries = sorted(os.scandir(opened), key=lambda entry: entry.name)
            for entry in entries:
                path = base + entry.name
                is_folder = entry.is_dir(follow_symlinks=False)
                if entry.name in ALWAYS_OUT or ignoring.is_ignored(patterns, path, is_folder):
                    continue
                if is_folder:
                    if os.fspath(found.path / path) not in out:
                        stack.append((f"{path}/", patterns))
                elif entry.is_symlink():
                    links.append(path)
                elif entry.is_file(follow_symlinks=False):
                    found.bytes += entry.stat(follow_symlinks=False).st_size
                    _add(found, path, found.path / path)
                else:
                    found.left_out[path] = "neither a file nor a folder"
        finally:
            os.close(opened)


def _add(found: Folder, path: str, real: Path) -> None:
    try:
        found.files[check_path(path)] = real
    except ValueError as error:
        found.left_out[path] = str(error)
    if len(found.files) > MAX_FILES:
        raise NoBundle(
            f"{found.path} has more than {MAX_FILES} files; keep out by .gitignore what the job does not need"
        )
    if found.bytes > MAX_BUNDLE_BYTES:
        raise _too_large()


def _patterns(folder: int, base: str) -> list[ignoring.Patterns]:
    """The patterns of the folder's own `.gitignore`. As git does, it follows no link there."""
    try:
        opened = os.open(ignoring.FILE, below.FILE, dir_fd=folder)
    except OSError:
        return []
    with open(opened, "rb") as file:
        if not stat.S_ISREG(os.fstat(opened).st_mode):
            return []
        content = file.read(_MAX_PATTERNS_BYTES + 1)
    if len(content) > _MAX_PATTERNS_BYTES:
        raise NoBundle(f"{base}{ignoring.FILE} has more than {_MAX_PATTERNS_BYTES} bytes; make it shorter")
    return [ignoring.parse(base, content)]


def read_file(path: str, real: Path) -> BundleFile:
    """A file that is to be at a path of a bundle. Raises OSError, NoBundle."""
    seen, size = blake3(), 0
    with open_plain(real) as file:
        executable = bool(os.fstat(file.fileno()).st_mode & stat.S_IXUSR)
        for piece in pieces(file):
            seen.update(piece)
            size += len(piece)
    return BundleFile(path=path, digest=seen.hexdigest(), size=size, executable=executable)


def _too_large() -> NoBundle:
    return NoBundle(
        f"the folder has more than {MAX_BUNDLE_BYTES >> 30} GiB; keep out by .gitignore what the job does not need, "
        "and put data where nodes can read it"
    )
