"""Folders of files, on a file system or in an object store, behind one interface.

Contract
--------
Whole or not at all
    A name that `create`, `upload` or `move` wrote can be read with all of its bytes, or is not there.
Once
    `create` writes a name that is not there, and says whether it did. Of several writers one wins.
Again
    `upload`, `move` and `remove` can be repeated: after a crash in the midst the same call completes what is missing.
Durable
    What they wrote is on the disk, or with the store, when they return.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol


class Entry(NamedTuple):
    """A file of a folder."""

    name: str
    """From the folder on, with ``/`` between."""
    size: int
    etag: str
    modified: float = 0.0
    """When it was written, in seconds since 1970; 0: not known."""


class Folder(Protocol):
    """See the module."""

    url: str
    """Without secrets; no ``/`` at its end."""

    def walk(self, below: str = "") -> Iterator[Entry]:
        """All files below a folder of it (``a/b/`` or nothing), hidden ones too, in the order of their names."""

    def head(self, name: str) -> Entry | None:
        """A file; None if there is none of that name."""

    def read(self, name: str) -> bytes | None:
        """All bytes of a small file; None if there is none of that name."""

    def read_range(self, name: str, start: int, end: int) -> bytes:
        """The bytes from `start` to before `end`."""

    def create(self, name: str, data: bytes) -> bool:
        """Write a new file. False, and nothing is written, where the name is taken."""

    def upload(self, source: Path, name: str) -> None:
        """Write a file of the node. It may be moved."""

    def move(self, name: str, to: str) -> None:
        """Give a file another name. A store copies it, and `name` stays; see `remove`."""

    def remove(self, names: Iterable[str]) -> None:
        """Remove files. Those that are gone are no error."""

    def remove_folder(self, name: str) -> None:
        """Remove all files below a folder, and the folder."""
