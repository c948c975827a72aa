"""How the language's names are written in protobuf: enum values, message names, packages.

Protobuf wants enum values upper-case and prefixed (``JOB_STATUS_RUNNING``); the language, its JSON and its users write
lower-case words (``running``). Knows no generated code.
"""

from __future__ import annotations

import re
from enum import StrEnum
from functools import cache

from events.language.base import Message

_WORDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


@cache
def enum_prefix(enum_name: str) -> str:
    """``JobStatus`` → ``JOB_STATUS_``, ``GPUHealth`` → ``GPU_HEALTH_``."""
    return _WORDS.sub("_", enum_name).upper() + "_"


def proto_enum(member: StrEnum) -> str:
    """An enum member's name in protobuf: ``JobStatus.RUNNING`` → ``JOB_STATUS_RUNNING``."""
    # Not cached by member: members of two enums with the same word are equal (they are strings).
    return proto_enum_of(type(member), member.value)


@cache
def proto_enum_of(enum: type[StrEnum], word: str) -> str:
    """The protobuf name of an enum's word, as read from a row: ``(JobStatus, "running")`` → ``JOB_STATUS_RUNNING``."""
    return enum_prefix(enum.__name__) + re.sub(r"[^A-Za-z0-9]", "_", word).upper()


def word_of(enum: type[StrEnum], proto_name: str) -> str | None:
    """The word of a protobuf enum value; None for ``_UNSPECIFIED``. Raises ValueError when it is none of the enum's."""
    if proto_name == enum_prefix(enum.__name__) + "UNSPECIFIED":
        return None
    for member in enum:
        if proto_enum(member) == proto_name:
            return member.value
    raise ValueError(f"{proto_name!r} is none of {', '.join(map(proto_enum, enum))}")


def message_name(message: type[Message]) -> str:
    """A command's or event's protobuf message: its class name, with ``V2`` and so on for later versions."""
    return message.__name__ if message.version == 1 else f"{message.__name__}V{message.version}"


def package_name(context: str) -> str:
    """``jobs`` → ``forgelog.jobs.v1``."""
    return f"forgelog.{context}.v1"
