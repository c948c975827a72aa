"""Paths of files in a folder that is somewhere else: a bundle, a run's artifacts. Pure."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field, StringConstraints

from events.language.common import shown

MAX_PATH_BYTES = 1024
MAX_DEPTH = 64
"""Most nested folders of a path: all of them are open at the same time while they are created."""
MAX_NAME_BYTES = 255


def check_path(path: str) -> str:
    """Check a file's path in its folder, with `/` between names, and return it. Raises ValueError."""
    try:
        encoded = path.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{shown(path)} is no UTF-8; rename it") from None
    if len(encoded) > MAX_PATH_BYTES:
        raise ValueError(f"{shown(path)} has more than {MAX_PATH_BYTES} bytes; shorten it")
    if path.count("/") > MAX_DEPTH:
        raise ValueError(f"{shown(path)} lies more than {MAX_DEPTH} folders deep; put it higher up")
    if path.startswith("/"):
        raise ValueError(f"{shown(path)} is an absolute path; give it as seen from the folder")
    for name in path.split("/"):
        if name in ("", ".", "..") or "\0" in name:
            problem = f"{shown(path)} is no path in a folder: it has the name {shown(name)}"
            raise ValueError(f"{problem}; give a path as seen from the folder, by the names of folders and a file")
        if len(name.encode()) > MAX_NAME_BYTES:
            raise ValueError(f"{shown(path)} has a name of more than {MAX_NAME_BYTES} bytes; shorten it")
    return path


def _checked(path: object) -> object:
    return check_path(path) if isinstance(path, str) else path


def _checked_or_empty(path: object) -> object:
    return path if path == "" else _checked(path)


_NAME = r"(?:[^/.\x00][^/\x00]*|\.[^/.\x00][^/\x00]*|\.\.[^/\x00]+)"
"""A name that is none of ``.``, ``..`` and nothing."""

_PATH = rf"{_NAME}(?:/{_NAME})*"

FilePath = Annotated[
    str,
    StringConstraints(min_length=1, max_length=MAX_PATH_BYTES, pattern=rf"^{_PATH}$"),
    BeforeValidator(_checked),
    Field(examples=["model/weights.pt"]),
]
"""A path as seen from the folder: names with ``/`` between, none of them ``..``; at most 1,024 bytes."""

OptionalFilePath = Annotated[
    str,
    StringConstraints(max_length=MAX_PATH_BYTES, pattern=rf"^(?:{_PATH})?$"),
    BeforeValidator(_checked_or_empty),
    Field(examples=["model/weights.pt"]),
]
"""The same, or empty."""
