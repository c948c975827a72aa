"""Files of a folder that somebody else may have made: of bounded size, and none of them elsewhere."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from blake3 import blake3

from events.language.file_paths import check_path
from forgelog.importing.source import Trouble, Unreadable

MAX_META = 100_000
"""Bytes of a file that describes something."""
MAX_VALUES = 10_000
"""Values in it. MLflow writes some twenty."""


class Folder:
    """A folder and what is in it. Nothing is read that a link leads out of it."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()

    def check(self, path: Path) -> Path:
        """The path itself, without links. Raises `Unreadable` if it is not in the folder."""
        try:
            found = path.resolve(strict=True)
        except (OSError, RuntimeError) as error:
            raise Unreadable(f"can't be read: {_reason(error)}") from None
        if not found.is_relative_to(self.root):
            raise Unreadable(f"is a link to {found}, out of {self.root}; copy what it leads to into the folder")
        return found

    def file(self, path: Path) -> Path:
        """As `check`, for a file. Raises `Unreadable` for a folder, and for a pipe, at which a reader would wait."""
        found = self.check(path)
        if not found.is_file():
            raise Unreadable("is no file")
        return found

    def read(self, path: Path, most: int) -> bytes:
        """The bytes of a file. Raises `Unreadable` if it has more than `most`."""
        try:
            with self.file(path).open("rb") as file:
                data = file.read(most + 1)
        except OSError as error:
            raise Unreadable(f"can't be read: {_reason(error)}") from None
        if len(data) > most:
            raise Unreadable(f"has more than {most} bytes")
        return data

    def text(self, path: Path, most: int = MAX_META) -> str:
        """A file as text. Raises `Unreadable`."""
        try:
            return self.read(path, most).decode()
        except UnicodeDecodeError:
            raise Unreadable("is no UTF-8 text") from None

    def fields(self, path: Path) -> dict[str, Any]:
        """A YAML file with names and values. Raises `Unreadable`."""
        import yaml

        text = self.text(path)
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(text)
        try:
            if (node := loader.get_single_node()) is not None:
                _check_size(node, {})
            found = None if node is None else loader.construct_document(node)
        except (yaml.YAMLError, RecursionError, ValueError) as error:
            raise Unreadable(f"is no YAML that can be read: {str(error).splitlines()[0]}") from None
        if not isinstance(found, dict):
            raise Unreadable("has no names and values")
        return {str(name): value for name, value in found.items()}

    def names(self, path: Path) -> list[str]:
        """What is in a folder, by name; nothing if there is none. Raises `Unreadable`."""
        if not path.is_dir():
            return []
        try:
            return sorted(os.listdir(self.check(path)))
        except OSError as error:
            raise Unreadable(f"can't be read: {_reason(error)}") from None

    def files(self, path: Path) -> Iterator[tuple[str, Path]]:
        """Every file in a folder at any depth, by its path there; links are given as they are. Folders that links lead
        to are not entered, and are given too."""
        if not path.is_dir():
            return
        base = self.check(path)
        for above, folders, names in os.walk(base):
            folders.sort()
            linked = [name for name in folders if Path(above, name).is_symlink()]
            for name in sorted([*names, *linked]):
                each = Path(above, name)
                yield each.relative_to(base).as_posix(), each

    def entries(self, path: Path, most: int, troubles: list[Trouble], where: str) -> dict[str, str]:
        """Names and values, each value a file in a folder: the name is its path there."""
        found = {}
        for name, each in self.files(path):
            try:
                found[name] = self.text(each, most)
            except Unreadable as error:
                troubles.append(Trouble(f"{where}, {path.name} {name!r}", str(error)))
        return found

    def artifacts(self, path: Path, troubles: list[Trouble], where: str, under: str = "") -> dict[str, Path]:
        """Files to keep, by their paths with `under` before them. What is no file, leads elsewhere or has an impossible
        name is a trouble."""
        found = {}
        for name, each in self.files(path):
            try:
                if self.check(each).is_dir():
                    raise Unreadable("is a link to a folder; copy the folder")
                real = self.file(each)
                found[check_path(f"{under}/{name}" if under else name)] = real
            except (Unreadable, ValueError) as error:
                troubles.append(Trouble(f"{where}, artifact {name!r}", str(error)))
        return found


def _check_size(node: Any, sizes: dict[Any, int]) -> int:
    """How many values a part of a YAML file has. Raises `Unreadable` if they are more than `MAX_VALUES` once what its
    aliases repeat is written out: a short file can mean very many. `sizes`: of the parts that were seen; 0 of those
    that this one is in."""
    if (size := sizes.get(node)) is None:
        sizes[node] = 0
        below = node.value if isinstance(node.value, list) else []
        parts = (part for each in below for part in (each if isinstance(each, tuple) else (each,)))
        size = sizes[node] = 1 + sum(_check_size(part, sizes) for part in parts)
    if not 0 < size <= MAX_VALUES:
        raise Unreadable(f"has more than {MAX_VALUES} values, with those that its aliases repeat")
    return size


def readable(text: str) -> str:
    """A text with what is no UTF-8 replaced: names of files and escapes in YAML may have it."""
    return text.encode(errors="replace").decode()


def stamp(paths: Mapping[str, Path]) -> str:
    """A digest of files' paths, sizes and times of change."""
    digest = blake3()
    for name, path in sorted(paths.items()):
        try:
            found = path.lstat()
            digest.update(f"{name}\0{found.st_size}\0{found.st_mtime_ns}\n".encode(errors="surrogateescape"))
        except OSError:
            digest.update(f"{name}\0gone\n".encode(errors="surrogateescape"))
    return digest.hexdigest(16)


def _reason(error: Exception) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
