"""Value types that all contexts share: identifiers, ranges of tasks, quantities, refusals.

Knows no context. Identifiers are what users type, so they are bounded and printable.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field, StringConstraints

from events.language.base import Event, Model

MAX_ARRAY_TASKS = 10_000
"""Most tasks one array job may have."""

MAX_COMMAND_BYTES = 1_000_000
"""Largest command or event value on the wire, in bytes."""

MAX_HEADER_BYTES = 65_536
"""Most bytes that a command's headers may have together: its events carry some of them on."""

MAX_ID = 128
"""Most characters of an identifier."""

ID_PATTERN = r"^[a-z0-9]([a-z0-9._-]{0,126}[a-z0-9])?$"

Identifier = Annotated[str, StringConstraints(pattern=ID_PATTERN, max_length=MAX_ID)]
"""1-128 characters: lower-case letters, digits, ``. _ -``; starts and ends with a letter or digit."""

_IDENTIFIER = re.compile(ID_PATTERN.removeprefix("^").removesuffix("$"))


def is_identifier(text: str) -> bool:
    """Whether a text is an `Identifier`."""
    return _IDENTIFIER.fullmatch(text) is not None


OptionalIdentifier = Annotated[str, StringConstraints(pattern=rf"^$|{ID_PATTERN}", max_length=MAX_ID)]
"""An `Identifier`, or empty: assigned when the command is decided."""

PROJECT_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,62}/[a-z0-9][a-z0-9._-]{0,62}$"

ProjectName = Annotated[str, StringConstraints(pattern=PROJECT_PATTERN, max_length=127)]
"""``organization/project``, such as ``local/default``."""

OptionalProject = Annotated[str, StringConstraints(pattern=rf"^$|{PROJECT_PATTERN}", max_length=127)]
"""A `ProjectName`, or empty: that of the command's envelope."""


def printable(value: str) -> str:
    """The value, if people can read it as one line. Raises ValueError."""
    if value.isprintable() and not value.isspace() and value:
        return value  # the common case, without looking at each character
    if not value.strip():
        raise ValueError("is empty; give a name of at least one visible character")
    if any(ord(c) < 32 or ord(c) == 127 or 0xD800 <= ord(c) <= 0xDFFF for c in value):
        raise ValueError("has a control character; use printable text")
    return value


DisplayName = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(printable)]
"""1-200 printable characters, any script."""


def printable_or_empty(value: str) -> str:
    """The value, if it is empty or `printable`. Raises ValueError."""
    return printable(value) if value else value


OptionalDisplayName = Annotated[str, StringConstraints(max_length=200), AfterValidator(printable_or_empty)]
"""A `DisplayName`, or empty."""

TaskNumber = Annotated[int, Field(ge=0, lt=MAX_ARRAY_TASKS)]
"""A task's place in its job's array; 0 in a job that is no array."""

Attempt = Annotated[int, Field(ge=1, le=1_000_000)]
"""Which run of a task; the first is 1."""

DeviceIndex = Annotated[int, Field(ge=0, le=65_535)]
"""A device's number on its node, as its driver counts."""

Timestamp = AwareDatetime
"""A point in time with its zone; RFC 3339 on the wire."""

DEFAULT_PROJECT = "local/default"
DEFAULT_ACTOR = "owner"
DEFAULT_QUEUE = "default"
NODE_ACTOR = "node:"
"""How the actor begins of what a node's agent reports."""
PLATFORM_ACTOR = "forgelog"
"""Who acts when time or capacity, not a person, leads to an event."""


def shown(value: object, most: int = 60) -> str:
    """A value as an error message quotes it: as Python writes it, and never long."""
    text = repr(value[: most + 1] if isinstance(value, str | bytes) else value)
    return text if len(text) <= most else text[: most - 3] + "..."


def _escaped(value: Any) -> Any:
    return value.encode(errors="backslashreplace").decode().replace("\0", "\\x00") if isinstance(value, str) else value


Quoted = Annotated[str, BeforeValidator(_escaped)]
"""A text of the platform that may quote what was given: what no table or message can hold is escaped in it."""


class ErrorCode(StrEnum):
    """Why a command was refused: the names of the canonical gRPC status codes, lower-case."""

    INVALID_ARGUMENT = "invalid_argument"
    NOT_FOUND = "not_found"
    ALREADY_EXISTS = "already_exists"
    FAILED_PRECONDITION = "failed_precondition"
    UNIMPLEMENTED = "unimplemented"
    PERMISSION_DENIED = "permission_denied"
    RESOURCE_EXHAUSTED = "resource_exhausted"
    ABORTED = "aborted"
    INTERNAL = "internal"
    """A defect of the service, not of the command."""


class FieldError(Model):
    """One thing wrong with one field."""

    field: Quoted
    """Path into the command, such as ``spec.resources.cpus``."""
    problem: Quoted
    """What is wrong with the value."""
    hint: Quoted = ""
    """What to do about it."""


class Refused(Exception):
    """Raised by a pure decision to refuse a command. It becomes a `CommandRejected` in the log."""

    def __init__(self, code: ErrorCode, message: str, errors: Iterable[FieldError] = ()) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.errors = tuple(errors)


def invalid(field: str, problem: str, hint: str) -> Refused:
    """A field of a command has a value that can't be."""
    error = FieldError(field=field, problem=problem, hint=hint)
    return Refused(ErrorCode.INVALID_ARGUMENT, f"{field}: {problem}", [error])


def absent(field: str, problem: str, hint: str) -> Refused:
    """What a field of a command names does not exist."""
    return Refused(ErrorCode.NOT_FOUND, problem, [FieldError(field=field, problem=problem, hint=hint)])


def refused(code: ErrorCode, field: str, problem: str, hint: str) -> Refused:
    """Because of one field. The message says what to do too: for many it is all that they see."""
    return Refused(code, f"{problem}; {hint}", [FieldError(field=field, problem=problem, hint=hint)])


class LogEvent(Event):
    """Events that the log itself writes, in every context. Their `context` on the wire is ``log``."""

    context: ClassVar[str] = "log"
    aggregate: ClassVar[str] = ""
    """None by itself: a refusal is about what its command was about, see `events.language.registry.aggregate_of`."""
    subject_from: ClassVar[str] = "subject_id"
    key_from: ClassVar[str] = "subject_id"

    subject_id: str
    """The aggregate the command was about, or the writer's name for `WriterStarted`."""


class WriterStarted(LogEvent):
    """A writer took over this partition. The record's own offset is its epoch; older epochs are void from here."""

    writer: str
    """Instance name of the writer, such as ``jobs-0``."""


class CommandRejected(LogEvent):
    """A command was refused. Refusals are history too."""

    command_id: str
    command_type: str
    code: ErrorCode
    message: str
    errors: tuple[FieldError, ...] = ()


class CommandNoted(LogEvent):
    """A command changed nothing: a repeat of an earlier one, or the state was already as wished."""

    command_id: str
    command_type: str
    repeat: bool
    """True for a second command with the same id; `first_offset` then is where the first outcome stands."""
    first_offset: int = Field(default=-1, ge=-1)


class OrdersSent(LogEvent):
    """A partition's orders to other contexts are in their topics, all those of the events before `until`.

    Its subject is the partition, such as ``errands/3``.
    """

    until: int = Field(ge=0)
    epoch: int = Field(ge=-1)
    """The newest epoch before `until`: where a reader begins, it says which records are void."""


class RecordSkipped(LogEvent):
    """An operator decided that every reader passes over a record that can't be read or does not fold.

    Its subject is the record's position. It stands in the topic ``repairs``.
    """

    position: Annotated[str, StringConstraints(min_length=1, max_length=400)]
    """The first record passed over, such as ``events.jobs/3@1042``."""
    last_offset: int = Field(ge=0)
    """The last one: the same, but for a batch that can't be read."""
    digest: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    """BLAKE3 of what is passed over, hex: of a record's key, headers and value, or of a batch."""
    record_type: Annotated[str, StringConstraints(max_length=200)] = ""
    reason: Annotated[str, StringConstraints(min_length=1, max_length=2000)]


class RecordRetried(LogEvent):
    """An operator asks who stands still at a record to try again. Its subject is the record's position.

    It stands in the topic ``repairs``.
    """

    position: Annotated[str, StringConstraints(min_length=1, max_length=400)]
    reason: Annotated[str, StringConstraints(min_length=1, max_length=2000)]


class ResourceVector(Model):
    """Amounts of every resource kind, of a task's request or a node's capacity."""

    cpus: float = Field(default=0.0, ge=0, le=100_000)
    """Logical CPUs; fractions allowed (0.5)."""
    memory_bytes: int = Field(default=0, ge=0, le=1 << 60)
    gpus: int = Field(default=0, ge=0, le=10_000)
    """Whole GPU devices."""
    storage_bytes: int = Field(default=0, ge=0, le=1 << 60)
    """Scratch space on the node's local disk."""
    network_mbps: int = Field(default=0, ge=0, le=10_000_000)
    """Network bandwidth, megabit per second."""


def utc(seconds: float) -> datetime:
    """A POSIX time in seconds as an aware datetime in UTC."""
    return datetime.fromtimestamp(seconds, UTC)
