"""Who asks, and whether that may be done: one place that names the principal of each command, query and stream, and one
that decides. Every door of the gateway goes through both.

A platform has one owner, who may do everything. Roles and projects change this module only: no door knows a rule. Must
not know what a request looks like: a door hands over the credentials, and what is wanted.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import grpc

from events.language.common import DEFAULT_ACTOR, FieldError
from events.process.keys import OWNER, KeyFileProblem, ensure_key, key_path, read_key
from events.process.settings import Settings, SettingsError
from services.gateway.errors import DoorError

log = logging.getLogger("forgelog.gateway")

LOOK_SECONDS = 1.0
"""How long a key that was replaced in its file may still be taken."""

HINT = (
    "send 'Authorization: Bearer KEY'; `forgelog token` prints the key, which is in keys/owner.key of the platform's "
    "data folder"
)


@dataclass(frozen=True, slots=True)
class Principal:
    """Who acts: the actor of the events that a command leads to."""

    name: str


_OWNER = Principal(DEFAULT_ACTOR)


class KeyFile:
    """The key in a file. Only its digest is kept. The file is read again when it has changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._digest = b""
        self._seen: tuple[int, ...] | None = None
        self._look()

    def holds(self, key: bytes) -> bool:
        """Whether it is this key. Takes the same time for each that is not."""
        if time.monotonic() - self._looked > LOOK_SECONDS:
            self._look()
        digest = hashlib.sha256(key).digest()
        if hmac.compare_digest(digest, self._digest):
            return True
        self._look()  # a key that was just made opens at once
        return hmac.compare_digest(digest, self._digest)

    def _look(self) -> None:
        self._looked = time.monotonic()
        seen: tuple[int, ...] = ()
        with suppress(OSError):
            found = os.stat(self._path)
            seen = (found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size)
        if seen == self._seen:
            return
        self._seen, self._digest = seen, b""
        try:
            self._digest = hashlib.sha256(read_key(self._path).encode()).digest()
        except KeyFileProblem as problem:
            log.error("no key opens the gateway: %s", problem)


class Access:
    """Names principals and decides what they may do."""

    def __init__(self, settings: Settings) -> None:
        """The owner's key is made if it is not there. Raises SettingsError when it can't be used."""
        path = settings.owner_key_file or key_path(settings.data, OWNER)
        try:
            ensure_key(path)
        except KeyFileProblem as problem:
            named = "the file is named by FORGELOG_OWNER_KEY_FILE, or in FORGELOG_DATA"
            raise SettingsError(f"{problem} ({named})") from None
        self._owner = KeyFile(path)

    def principal(self, authorization: str | None) -> Principal:
        """Whose credentials these are: the value of ``authorization``, a header or gRPC metadata. Raises
        DoorError(UNAUTHENTICATED)."""
        if authorization is None:
            raise _unknown("is missing", "Bearer")
        scheme, _, key = authorization.partition(" ")
        if scheme.lower() != "bearer" or not (key := key.strip()):
            raise _unknown("is no bearer token", "Bearer")
        if not self._owner.holds(key.encode(errors="replace")):
            raise _unknown("has a key that is not this platform's", 'Bearer error="invalid_token"')
        return _OWNER

    def authorize(self, principal: Principal, action: str) -> None:
        """Whether that may be done. `action` is a command's type (``forgelog.jobs.v1.SubmitJob``), a query's path
        (``/forgelog.jobs.v1.JobQueries/GetJob``), or the path of one of the gateway's own pages (``/metrics``). Raises
        DoorError(PERMISSION_DENIED)."""
        if principal != _OWNER:
            raise DoorError(grpc.StatusCode.PERMISSION_DENIED, f"{principal.name} may not do {action}; ask the owner")


def _unknown(problem: str, challenge: str) -> DoorError:
    return DoorError(
        grpc.StatusCode.UNAUTHENTICATED,
        f"authorization: {problem}; {HINT}",
        [FieldError(field="authorization", problem=problem, hint=HINT)],
        headers={"www-authenticate": challenge},
    )
