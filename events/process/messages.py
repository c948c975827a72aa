"""Reads the messages of gRPC calls, so that bytes which are none are answered by whoever serves the call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import DecodeError


@dataclass(frozen=True, slots=True)
class NoMessage:
    """Bytes that are not the message which a method takes."""

    problem: str


def reader(deserialize: Callable[[bytes], Any] | None) -> Callable[[bytes], Any] | None:
    """A deserializer that returns `NoMessage` where the given one raises: gRPC answers an exception there with UNKNOWN,
    as if the server had failed."""
    if deserialize is None:  # of a handler that takes bytes
        return None

    def read(content: bytes) -> Any:
        try:
            return deserialize(content)
        except DecodeError as error:
            return NoMessage(f"the request can't be decoded: {error}; send the message that the .proto files define")

    return read
