"""How an event or a command names an object: bytes in the object store.

Knows no store. The bytes of one digest never change, so a reference is valid wherever the platform's store lies.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field, StringConstraints

from events.language.base import Model

MAX_OBJECT_BYTES = 10_000 * (8 << 20)
"""Largest object: S3 takes 10,000 parts, and a part has 8 MiB. 78.1 GiB."""

ObjectDigest = Annotated[
    str,
    StringConstraints(pattern=r"^[0-9a-f]{64}$"),
    Field(examples=["af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"]),
]
"""BLAKE3 of an object's bytes: 64 lower-case hexadecimal digits."""


def _number(value: object) -> object:
    """Refuses `false`, which is 0 to Python."""
    if isinstance(value, bool):
        raise ValueError("is true or false; give a number of bytes")
    return value


class ObjectRef(Model):
    """Names an object of the store by its content."""

    digest: ObjectDigest
    """BLAKE3 of its bytes."""
    size: Annotated[int, Field(ge=0, le=MAX_OBJECT_BYTES), BeforeValidator(_number)]
    """Its length in bytes."""
