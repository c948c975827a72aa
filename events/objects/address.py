"""What an object is called, for people (`blake3:4f2a...`) and in the store (`blobs/4f/4f2a...`). Imports nothing heavy.

An object of at most 8 MiB lies under its digest. A larger one is written before its digest is known, so it lies under a
random name, and an entry under its digest says which:

    blobs/ab/abcd...    the bytes
    index/ab/abcd...    {"place": "large/<32 hex>", "size": 12345678}
    large/<32 hex>      the bytes

Names in the store are made here and only of checked parts, so none can leave the store's folder.
"""

from __future__ import annotations

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
    """Whether that is a random name, as `new_place` makes them."""
    return _PLACE.fullmatch(name) is not None


def digest_of(name: str) -> str | None:
    """The digest that a name in the store is of; None if it is no name of an object or an entry."""
    folder, _, digest = name.rpartition("/")
    fitting = _DIGEST.fullmatch(digest) and folder in (f"blobs/{digest[:2]}", f"index/{digest[:2]}")
    return digest if fitting else None


def new_place() -> str:
    """A name in the store that no object has."""
    return f"large/{secrets.token_hex(16)}"


def parse_entry(content: bytes) -> Entry | None:
    """An entry as it was written; None if it is cut or changed, which a power cut can do."""
    try:
        return Entry.model_validate_json(content)
    except ValidationError:
        return None
