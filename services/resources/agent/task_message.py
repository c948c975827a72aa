"""A task as the agent sends it to its launcher: a message that Python and C read alike, with no parser.

Each text is its length (4 bytes, in the machine's own order), its bytes and a zero byte; each list is the number of its
texts and then these. Imports only the smallest of the standard library, as the launcher does. Must not know the
language.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterable
from typing import Any

_COUNT = struct.Struct("=I")
_CUT = "a task's message is cut"


def encode(spec: dict[str, Any]) -> bytes:
    """`spec` is what `warden.watch_over` takes; `record` must be a JSON object."""
    command: str = spec.get("command", "")
    cwd: str = spec.get("cwd") or ""
    env: dict[str, str] = spec.get("env", {})
    path = env.get("PATH", os.defpath)
    args: list[str] = spec.get("args", [])
    variables = [f"{name}={value}" for name, value in env.items()]
    refused: str = spec.get("refused", "")
    if not refused and any("\0" in text for text in (command, cwd, *args, *variables)):
        refused = f"{command!r} can't be started: embedded null byte"
    parts: list[bytes] = []
    _texts(
        parts,
        json.dumps(spec["key"]),
        spec["folder"],
        spec["task_folder"],
        json.dumps(spec["record"]),
        command,
        repr(command),
        refused,
        cwd,
        repr(cwd),
        path,
        repr(path),
        repr(float(spec.get("grace", 0.0))),
        repr(float(spec.get("max_runtime") or 0.0)),
        str(int(spec.get("output_bytes") or 0)),
    )
    for texts in (args, variables):
        parts.append(_COUNT.pack(len(texts)))
        _texts(parts, *texts)
    secrets: dict[str, str] = spec.get("secrets", {})
    parts.append(_COUNT.pack(len(secrets)))
    for item in secrets.items():
        _texts(parts, *item)
    return b"".join(parts)


def _texts(parts: list[bytes], *texts: str) -> None:
    for text in texts:
        data = text.encode("utf-8", "surrogateescape")
        parts += (_COUNT.pack(len(data)), data, b"\0")


def decode(message: bytes) -> dict[str, Any]:
    """What `encode` was given. Raises ValueError when the message is cut, or is longer than its parts."""
    reader = _Reader(message)
    key, folder, task_folder, record, command, _, refused, cwd, _, _, _, grace, max_runtime, most = reader.texts(14)
    args = reader.texts(reader.count())
    variables = reader.texts(reader.count())
    secrets = {}
    for _ in range(reader.count()):
        name, value = reader.texts(2)
        secrets[name] = value
    reader.end()
    return {
        "key": json.loads(key),
        "folder": folder,
        "task_folder": task_folder,
        "record": json.loads(record),
        "command": command,
        "refused": refused,
        "cwd": cwd,
        "grace": float(grace),
        "max_runtime": float(max_runtime) or None,
        "output_bytes": int(most) or None,
        "args": args,
        "env": dict(_split(variables)),
        "secrets": secrets,
    }


def _split(variables: Iterable[str]) -> Iterable[tuple[str, str]]:
    for variable in variables:
        name, _, value = variable.partition("=")
        yield name, value


class _Reader:
    def __init__(self, message: bytes) -> None:
        self._message = message
        self._at = 0

    def count(self) -> int:
        if len(self._message) - self._at < _COUNT.size:
            raise ValueError(_CUT)
        (count,) = _COUNT.unpack_from(self._message, self._at)
        self._at += _COUNT.size
        return int(count)

    def texts(self, count: int) -> list[str]:
        found = []
        for _ in range(count):
            end = self.count() + self._at
            if self._message[end : end + 1] != b"\0":
                raise ValueError(_CUT)
            found.append(self._message[self._at : end].decode("utf-8", "surrogateescape"))
            self._at = end + 1
        return found

    def end(self) -> None:
        if self._at < len(self._message):
            raise ValueError("a task's message is longer than its parts")
