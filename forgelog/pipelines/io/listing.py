"""Which files a path means. Forgelog lists and globs itself: DuckDB takes a file ``x[1].parquet`` for a pattern."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from events.language.pipelines.connections import Connection, DataSourceType
from forgelog.pipelines.io.context import IoContext
from forgelog.pipelines.io.folders import Entry, Folder
from forgelog.pipelines.io.opening import open_folder, split, whole_url
from forgelog.pipelines.io.paths import filled, fixed_part, hidden, is_wild, literal, matches
from forgelog.pipelines.io.words import shown
from forgelog.pipelines.problems import StageError

MAX_FILES = 100_000
"""Most files of a source."""


def listed(
    path: str, type_: DataSourceType, connection: Connection, context: IoContext, field: str, *, expected: bool = True
) -> tuple[Folder, list[Entry]]:
    """The files that one path of a source means, in the order of their names; before them the root of these names.
    `expected`: whether a path without a wild card, of which there is no file, is an error."""
    given = whole_url(filled(path, context, field), connection, type_, field)
    root, pattern = split(given, type_)
    folder = open_folder(root, type_, connection, context, field)
    if pattern.endswith("/") or not pattern:
        pattern += "**"
    if not is_wild(pattern):
        return folder, _single(folder, literal(pattern), given, field, expected)
    found: list[Entry] = []
    for entry in _candidates(folder, pattern, type_):
        if matches(pattern, entry.name):
            found.append(entry)
            if len(found) > MAX_FILES:
                raise StageError(field, f"{shown(given)} means more than {MAX_FILES:,} files", "give a narrower path")
    return folder, sorted(found)


def url_of(folder: Folder, entry: Entry) -> str:
    """A file's whole name, as people know it."""
    return f"{folder.url.rstrip('/')}/{entry.name}"


def _single(folder: Folder, name: str, given: str, field: str, expected: bool) -> list[Entry]:
    entry = folder.head(name)
    if entry is not None:
        return [entry]
    if next(iter(folder.walk(name + "/")), None) is not None:
        raise StageError(field, f"{shown(given)} is a folder", "end it with / for all files below")
    if not expected:
        return []
    raise StageError(field, f"there is no file {shown(given)}", "check the path; its parameters are filled in here")


def _candidates(folder: Folder, pattern: str, type_: DataSourceType) -> Iterator[Entry]:
    start = fixed_part(pattern)
    if type_ is not DataSourceType.FILE_SYSTEM:
        # what is fixed of the first name with a wild card makes the list shorter, but stores list whole folders
        yield from folder.walk(start)
        return
    yield from _descend(folder, Path("/") / start, pattern.split("/")[start.count("/") :], start.rstrip("/"))


def _descend(folder: Folder, path: Path, parts: list[str], prefix: str) -> Iterator[Entry]:
    """Files below a local folder, only as deep as the pattern goes: a file system is larger than its tables."""
    try:
        found = sorted(os.scandir(path), key=lambda each: each.name)
    except (FileNotFoundError, NotADirectoryError):
        return
    except PermissionError:
        problem = f"can't list {path}: permission denied"
        raise StageError("path", problem, "give the worker's user the right to it, or another path") from None
    deeper = len(parts) > 1 or parts[0] == "**"
    for each in found:
        name = f"{prefix}/{each.name}" if prefix else each.name
        below = parts if parts[0] == "**" else parts[1:]
        try:
            # links to folders are followed where the pattern names a folder: ** could go round in circles
            is_folder = each.is_dir(follow_symlinks=parts[0] != "**")
        except OSError:
            continue
        if is_folder:
            if deeper and (not hidden(each.name) or parts[0].startswith(("_", ".", "[_]", "[.]"))) and below:
                yield from _descend(folder, path / each.name, below, name)
        elif (entry := folder.head(name)) is not None:
            yield entry
