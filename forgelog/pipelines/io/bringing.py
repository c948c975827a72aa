"""Files on their way to the node's scratch folder, and into another form."""

from __future__ import annotations

import codecs
import gzip
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from urllib.parse import quote, urlsplit

from events.language.pipelines.formats import TextEncoding
from forgelog.pipelines.io.context import Resolved, ResolvedFile
from forgelog.pipelines.io.folders import Folder
from forgelog.pipelines.io.paths import partition_name
from forgelog.pipelines.io.words import shown
from forgelog.pipelines.problems import StageError

_PART = 8 << 20
"""Bytes of one request."""

Conversion = Callable[[Path, Path, str], None]
"""Reads the first file and writes the second; the third is what people call the first."""


def brought(
    resolved: Resolved, folder: Folder | None, convert: Conversion | None = None, ending: str = ""
) -> list[str]:
    """Paths of the files in the scratch folder, in folders named by their partitions' values."""
    target = scratch_of(resolved)
    paths = []
    for number, file in enumerate(resolved.files):
        above = target / str(number)
        for column, value in file.partition.items():
            above /= partition_name(column, value)
        above.mkdir(parents=True, exist_ok=True)
        name = copied_name(file.url)
        path = above / (name + ending)
        with _local(file, folder, resolved, above / f"raw-{name}") as raw:
            if convert is not None:
                convert(raw, path, file.url)
            elif raw != path:
                shutil.move(raw, path) if raw.parent == above else shutil.copyfile(raw, path)
        paths.append(str(path))
    return paths


def scratch_of(resolved: Resolved) -> Path:
    """Where the files that a source brings lie, each in a folder of its number."""
    return resolved.context.scratch / f"in{resolved.key}"


def copied_name(url: str) -> str:
    """What the copy of a file is called, before the ending of what it becomes."""
    return quote(urlsplit(url).path.rsplit("/", 1)[-1] or "file", safe=" ")


@contextmanager
def _local(file: ResolvedFile, folder: Folder | None, resolved: Resolved, path: Path) -> Iterator[Path]:
    """A file of the node with the bytes of `file`."""
    from forgelog.pipelines.io.local import LocalFolder

    if isinstance(folder, LocalFolder):
        yield Path(file.url)
        return
    try:
        if folder is None:
            from forgelog.pipelines.io.web import download

            download(file, resolved.connection, resolved.context, path)
        else:
            root = folder.url.rstrip("/") + "/"
            with path.open("wb") as out:
                for start in range(0, file.size, _PART):
                    end = min(start + _PART, file.size)
                    out.write(folder.read_range(file.url.removeprefix(root), start, end))
        yield path
    finally:
        path.unlink(missing_ok=True)


def transcoded(encoding: TextEncoding) -> Conversion:
    """Text of another encoding as UTF-8."""

    def convert(source: Path, target: Path, url: str) -> None:
        decoder = codecs.getincrementaldecoder(encoding)("strict")
        done = 0
        with _unpacked(source) as text, _packed(target) as out:
            while part := text.read(_PART):
                try:
                    out.write(decoder.decode(part).encode())
                except UnicodeError as error:
                    at = done + getattr(error, "start", 0)
                    problem = f"{shown(url)} is no {encoding} at byte {at:,}"
                    raise StageError("format.csv.encoding", problem, "say how the file is encoded") from None
                done += len(part)
            try:
                decoder.decode(b"", final=True)
            except UnicodeError:
                problem = f"{shown(url)} ends in the midst of a character of {encoding}"
                raise StageError("format.csv.encoding", problem, "say how the file is encoded") from None

    return convert


def _unpacked(path: Path) -> IO[bytes]:
    return gzip.open(path) if path.name.endswith(".gz") else path.open("rb")  # type: ignore[return-value]


def _packed(path: Path) -> IO[bytes]:
    return gzip.open(path, "wb", 1) if path.name.endswith(".gz") else path.open("wb")  # type: ignore[return-value]
