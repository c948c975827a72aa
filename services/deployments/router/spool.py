"""Reads the access log once from begin to end, over restarts, in parts that are always cut in the same way.

Envoy's log on the disk is what a router keeps while nothing can be sent. `access.log` is the present file; those before
are `access.log.1`, `access.log.2` and so on, in their order.

A part is noted in `telemetry.json` before it is given, and given again until it is `done`: after a restart with the
same lines and the same numbers. So what is made of a part can be told from what was made of it before.
"""

from __future__ import annotations

import json
import logging
import os
import uuid
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson
from blake3 import blake3

log = logging.getLogger("forgelog.router")

CHUNK = 256 << 10
"""Most bytes of a part. Envoy's longest line is far shorter."""


@dataclass(slots=True)
class _Place:
    """Where the reading is, as it is kept on the disk."""

    source: str
    """Another one whenever the place was lost: numbers begin anew then."""
    file: str = ""
    """The digest of the file's first line; empty: the oldest file that there is. Names change."""
    offset: int = 0
    until: int = 0
    """Where the part ends that is given."""
    sequence: int = 1
    """Of the part."""
    number: int = 1
    """Of its first line."""


@dataclass(frozen=True, slots=True)
class Part:
    """Lines that follow each other."""

    source: str
    sequence: int
    """Counts the parts of the source; the first is 1."""
    number: int
    """Of the first line. Lines of a source count from 1, those that are no JSON objects left out."""
    lines: list[dict[str, Any]] = field(default_factory=list)


class Spool:
    """The access log of one router."""

    def __init__(self, path: Path, most_bytes: int) -> None:
        """`most_bytes`: kept of what was not given yet; the oldest file goes first."""
        self._path = path
        self._kept = path.with_name("telemetry.json")
        self._most_bytes = most_bytes
        self._file = -1
        self._part: Part | None = None
        self.lost_bytes = 0
        """Of files that went before they were read."""
        self._place = self._load()

    def next(self) -> Part | None:
        """The next part, or the same one again until it is `done`. None: there is nothing new."""
        if self._part is None:
            if self._file < 0 and not self._open():
                return None
            if self._place.until <= self._place.offset and not self._cut():
                return None
            self._part = self._read()
        return self._part

    def done(self) -> None:
        """The part that was given need not be given again."""
        assert self._part is not None
        place = self._place
        place.number += len(self._part.lines)
        place.sequence += 1
        place.offset = place.until
        self._part = None

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
        self._file = -1

    def _load(self) -> _Place:
        try:
            return _Place(**json.loads(self._kept.read_bytes()))
        except FileNotFoundError:
            pass
        except (OSError, ValueError, TypeError) as error:
            log.warning("%s can't be used, and the access log is read from its begin: %s", self._kept, error)
        return _Place(uuid.uuid4().hex)

    def _open(self) -> bool:
        """Open the file in which the place is."""
        files = segments(self._path)
        if not self._place.file:
            return self._begin(files[0]) if files else False
        for path in files:
            if _head(path) == self._place.file:
                self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                return True
        if not files or not _head(files[0]):
            return False  # the next one comes
        log.warning("the file up to which requests were recorded is gone; going on with %s", files[0])
        self._place = _Place(uuid.uuid4().hex)
        return self._begin(files[0])

    def _begin(self, path: Path) -> bool:
        """Begin with a file; False if it has no line yet."""
        head = _head(path)
        if head:
            self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            self._place.file, self._place.offset, self._place.until = head, 0, 0
        return bool(head)

    def _cut(self) -> bool:
        """Find the next whole lines, and note them on the disk. Goes on to the next file at the end of one."""
        while True:
            self._forget_files()
            place, newer = self._place, self._newer()
            data = os.pread(self._file, CHUNK, place.offset)
            end = data.rfind(b"\n") + 1
            if end == 0 and len(data) == CHUNK:
                end = CHUNK  # no line of Envoy's
            if end:
                place.until = place.offset + end
                self._note()
                return True
            if not newer or not _head(newer[0]):
                return False
            # Envoy writes to the newer one alone.
            if os.fstat(self._file).st_size > place.offset + len(data):
                continue  # it wrote the last lines just now
            self.close()
            self._begin(newer[0])

    def _read(self) -> Part:
        place = self._place
        part = Part(place.source, place.sequence, place.number)
        for line in os.pread(self._file, place.until - place.offset, place.offset).split(b"\n"):
            try:
                request = orjson.loads(line) if line else None
            except ValueError:
                continue  # a crash of Envoy cut it
            if isinstance(request, dict):
                part.lines.append(request)
        return part

    def _note(self) -> None:
        fresh = self._kept.with_suffix(".new")
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(orjson.dumps(asdict(self._place)))
        fresh.replace(self._kept)

    def _newer(self) -> list[Path]:
        """The files behind ours, in their order."""
        files = segments(self._path)
        ours = self._ours(files)
        if ours is not None:
            return files[ours + 1 :]
        # Somebody removed it; or it was moved aside just now, and is found at the next look.
        return files[-1:] if os.fstat(self._file).st_nlink == 0 else []

    def _ours(self, files: list[Path]) -> int | None:
        mine = os.fstat(self._file)
        for index, path in enumerate(files):
            try:
                if os.path.samestat(path.stat(), mine):
                    return index
            except FileNotFoundError:
                continue
        return None

    def _forget_files(self) -> None:
        """Remove files that were read, but the last one, for people; and the oldest where there is too much."""
        files = segments(self._path)
        ours = self._ours(files)
        if ours is None:
            return
        for path in files[: max(0, min(ours, len(files) - 2))]:
            path.unlink(missing_ok=True)
        files = files[ours:]
        sizes = [_size(path) for path in files]
        while len(files) > 1 and sum(sizes) > self._most_bytes and _head(files[1]):
            self.lost_bytes += sizes[0] - self._place.offset
            log.warning("%d bytes of requests are not recorded: nothing can be sent for too long", sizes[0])
            self.close()
            files[0].unlink(missing_ok=True)
            files, sizes = files[1:], sizes[1:]
            self._begin(files[0])


def segments(path: Path) -> list[Path]:
    """The files of an access log that there are, oldest first."""
    numbered = [
        (int(found.suffix[1:]), found) for found in path.parent.glob(f"{path.name}.*") if found.suffix[1:].isdigit()
    ]
    return [found for _, found in sorted(numbered)] + ([path] if path.exists() else [])


def aside(path: Path) -> Path:
    """The name that the present file gets when another one takes its place."""
    numbers = [int(found.suffix[1:]) for found in segments(path) if found != path]
    return path.with_name(f"{path.name}.{max(numbers, default=0) + 1}")


def _head(path: Path) -> str:
    """The digest of a file's first line; empty while it has none."""
    try:
        with path.open("rb") as file:
            line = file.readline(CHUNK)
    except FileNotFoundError:
        return ""
    return blake3(line).hexdigest(length=16) if line.endswith(b"\n") or len(line) == CHUNK else ""


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
