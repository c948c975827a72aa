"""Requests that a replica writes down: sampled, and redacted before anything leaves the process.

An entry is one line of JSON in the process's output, which the platform keeps as it does that of each job.
"""

from __future__ import annotations

import random
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any

import orjson

from events.language.deployments.serving import RequestLogging
from forgelog.serve.problems import NotServable
from forgelog.serve.tensors import Array, datatype_kept, to_flat

REDACTED = "[redacted]"


def write_line(line: bytes) -> None:
    sys.stdout.buffer.write(line)
    sys.stdout.buffer.flush()


class RequestLog:
    """Decides which requests are written down, and writes them."""

    def __init__(
        self,
        settings: RequestLogging,
        *,
        write: Callable[[bytes], None] = write_line,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """Raises `NotServable` for a pattern that is none."""
        self._settings = settings
        self._write = write
        self._chance = chance
        self._patterns = []
        for pattern in settings.redact_patterns:
            try:
                self._patterns.append(re.compile(pattern))
            except re.error as error:
                raise NotServable(f"monitoring.logging.redact_patterns: {pattern!r} is no pattern: {error}") from None

    def wants(self, ours: bool) -> bool:
        """Whether a request is to be written down. `ours`: the server or the model failed."""
        settings = self._settings
        return (ours and settings.errors) or (settings.sample > 0 and self._chance() < settings.sample)

    def write(
        self,
        *,
        request: str,
        protocol: str,
        code: str,
        error: str,
        milliseconds: float,
        inputs: Mapping[str, Array],
        outputs: Mapping[str, Array],
        parameters: Mapping[str, Any],
    ) -> None:
        """One entry. `request`: the id that its sender gave it."""
        entry: dict[str, Any] = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "kind": "request",
            "id": self._text(request),
            "protocol": protocol,
            "code": code,
            "ms": round(milliseconds, 3),
        }
        if error:
            entry["error"] = self.redacted(error, [*inputs, *outputs, *map(str, parameters)])
        head = dict(entry)
        if self._settings.requests:
            entry["inputs"] = {self._text(name): self._values(name, array) for name, array in inputs.items()}
            entry["parameters"] = {
                self._text(str(name)): REDACTED if self._hidden(str(name)) else self._plain(value)
                for name, value in parameters.items()
            }
        if self._settings.responses:
            entry["outputs"] = {self._text(name): self._values(name, array) for name, array in outputs.items()}
        line = orjson.dumps(entry)
        if len(line) > self._settings.max_bytes:
            line = orjson.dumps({**head, "left_out": f"{len(line)} bytes"})
        self._write(line + b"\n")

    def redacted(self, text: str, names: Iterable[str]) -> str:
        """A text about a request that has these tensors and parameters. One that names what is hidden may have its
        values, and is hidden whole."""
        if any(name in text and self._hidden(name) for name in names):
            return REDACTED
        return self._text(text)

    def _values(self, name: str, array: Array) -> Any:
        if self._hidden(name):
            return REDACTED
        if array.size * 2 > self._settings.max_bytes:  # it would not fit
            return f"{datatype_kept(array)} {list(array.shape)}"
        try:
            return self._plain(to_flat(datatype_kept(array), array))
        except (UnicodeDecodeError, KeyError):
            return f"bytes {list(array.shape)}"

    def _hidden(self, name: str) -> bool:
        return any(fnmatchcase(name, pattern) for pattern in self._settings.redact)

    def _plain(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, list):
            return [self._plain(each) for each in value]
        if isinstance(value, Mapping):
            return {
                self._text(str(key)): REDACTED if self._hidden(str(key)) else self._plain(each)
                for key, each in value.items()
            }
        return value

    def _text(self, text: str) -> str:
        for pattern in self._patterns:
            text = pattern.sub(REDACTED, text)
        return text
