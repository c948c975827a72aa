"""Values of a worker's secrets, taken out of what its stages say and print."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import orjson

from forgelog.worker.starting import SECRETS, WORKER

MASK = "***"
_LEAST_SECRET = 6
"""Characters. What is shorter stands in any text by chance."""

_AT_START = dict(os.environ)
"""A stage's code may have changed the environment since."""


def secrets(*environments: Mapping[str, str]) -> list[str]:
    """The values that the environment of this process gives it, the longest first, since one may be a part of another:
    of the variables that are named as secrets, and of the files in the folder of secrets."""
    found = {value for each in environments or (_AT_START, os.environ) for value in _values(each)}
    return sorted(found, key=len, reverse=True)


def masked(text: str, secrets: Iterable[str]) -> str:
    """`secrets`: as the function of this name gives them."""
    for secret in secrets:
        text = text.replace(secret, MASK)
    return text


def _values(environment: Mapping[str, str]) -> Iterator[str]:
    texts = [environment[name] for name in _names(environment) if name in environment]
    for text in (*texts, *_of_files(environment.get(SECRETS))):
        try:
            found = orjson.loads(text)
        except ValueError:
            found = {}
        # Of one that is a JSON object, what is in it too.
        values = [text.strip(), *(found.values() if isinstance(found, dict) else ())]
        yield from (value for value in values if isinstance(value, str) and len(value) >= _LEAST_SECRET)


def _names(environment: Mapping[str, str]) -> list[str]:
    try:
        names = orjson.loads(environment.get(WORKER) or "{}").get("secret_variables") or []
    except (ValueError, AttributeError):
        return []  # it is no worker's environment: `starting.read` says so
    return [name for name in names if isinstance(name, str)]


def _of_files(given: str | None) -> Iterator[str]:
    if not given or not (folder := Path(given)).is_dir():
        return
    for file in folder.iterdir():
        try:
            yield file.read_text()
        except (OSError, UnicodeDecodeError):
            continue  # what can't be read was not given to anything as text


class Stream:
    """Masks what comes in pieces: a secret may begin in one and end in the next."""

    def __init__(self, secrets: Sequence[str]) -> None:
        self._secrets = [secret.encode() for secret in secrets]
        self._begun = b""
        """The end of what has come, which may be the beginning of a secret."""

    def take(self, piece: bytes) -> bytes:
        """What can be told after this piece."""
        if not self._secrets:
            return piece
        text = self._begun + piece
        for secret in self._secrets:
            text = text.replace(secret, MASK.encode())
        begun = max((_overlap(text, secret) for secret in self._secrets), default=0)
        self._begun = text[len(text) - begun :]
        return text[: len(text) - begun]

    def end(self) -> bytes:
        """What is left: it was no secret."""
        left, self._begun = self._begun, b""
        return left


def _overlap(text: bytes, secret: bytes) -> int:
    """How many of the last bytes of a text are the first ones of a secret."""
    last = text[-(len(secret) - 1) :]
    at = last.find(secret[:1])
    while at >= 0:
        if secret.startswith(last[at:]):
            return len(last) - at
        at = last.find(secret[:1], at + 1)
    return 0
