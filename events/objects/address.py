"""Names of objects: for people (`blake3:4f2a...`) and in the store (`blobs/4f/4f2a...`). Imports nothing heavy.

An object of at most 8 MiB is stored under its digest. A larger one is written before its digest is known, so it is
stored under a random name, and an entry under its digest refers to that:

    blobs/ab/abcd...    the bytes
    index/ab/abcd...    {"place": "large/<32 hex>", "size": 12345678}
    large/<32 hex>      the bytes

Names in the store are made here, from checked parts only, so none can leave the store's folder.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from typing import Annotated

from pydantic import Field, StringConstraints, ValidationError

from events.language.base import Model
from events.language.common import shown
from events.language.objects import MAX_OBJECT_BYTES

PREFIX = "blake3:"
_DIGEST = re.compile(r"[0-9a-f]{64}")
_PLACE = re.compile(r"large/[0-9a-f]{32}")


class Entry(Model):
    """Where the bytes of an object of more than 8 MiB are."""

    place: Annotated[str, StringConstraints(pattern=r"^large/[0-9a-f]{32}$")]
    """Its name in the store."""
    size: Annotated[int, Field(ge=0, le=MAX_OBJECT_BYTES)]
    """Its length in bytes."""

    def to_bytes(self) -> bytes:
        return self.model_dump_json().encode()


def format_address(digest: str) -> str:
    """A digest as people see it: `blake3:` and 64 hexadecimal digits."""
    return PREFIX + digest


def parse_address(text: str) -> str:
    """The digest in `blake3:4f2a...`, or in the 64 digits alone. Raises ValueError, which says what is wrong."""
    digest = text.removeprefix(PREFIX)
    if not _DIGEST.fullmatch(digest):
        raise ValueError(
            f"{shown(text)} is no address of an object: give {PREFIX} and 64 lower-case hexadecimal digits, "
            "as the platform showed it"
        )
    return digest


def blob_name(digest: str) -> str:
    """Name in the store of an object of at most 8 MiB. Raises ValueError."""
    return f"blobs/{digest[:2]}/{parse_address(digest)}"


def index_name(digest: str) -> str:
    """Name in the store of the entry of an object of more than 8 MiB. Raises ValueError."""
    return f"index/{digest[:2]}/{parse_address(digest)}"


def is_place(name: str) -> bool:
    """Whether a name is a random one that `new_place` could return."""
    return _PLACE.fullmatch(name) is not None


def digest_of(name: str) -> str | None:
    """The digest in a name of the store; None if it is not the name of an object or an entry."""
    folder, _, digest = name.rpartition("/")
    fitting = _DIGEST.fullmatch(digest) and folder in (f"blobs/{digest[:2]}", f"index/{digest[:2]}")
    return digest if fitting else None


def new_place() -> str:
    """A new random name in the store."""
    return f"large/{secrets.token_hex(16)}"


def bound_place(secret: str, *bound: str) -> str:
    """A name in the store for what `secret` (of 32 random hexadecimal digits) and `bound` say together. Who has that
    name knows neither; who has the secret and says other things is led to another name."""
    return f"large/{hashlib.sha256(chr(0).join((secret, *bound)).encode()).hexdigest()[:32]}"


def parse_entry(content: bytes) -> Entry | None:
    """The entry of these bytes; None if they are damaged, as after a power cut."""
    try:
        return Entry.model_validate_json(content)
    except ValidationError:
        return None
