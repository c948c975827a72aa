"""The errors for people, with what to do. Knows nothing of gRPC, pydantic or terminals.

Every error the client, the manifests and the command line raise on purpose is a `ForgelogError`; all else is a bug.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with one field or place."""

    field: str
    """Path such as ``spec.resources.cpus``; empty when the problem is with the whole."""
    problem: str
    hint: str = ""
    line: int = 0
    """1-based; 0 when there is no source text."""
    column: int = 0

    def __str__(self) -> str:
        place = f"line {self.line}, column {self.column}: " if self.line else ""
        field = f"{self.field}: " if self.field else ""
        hint = f"; {self.hint}" if self.hint else ""
        return f"{place}{field}{self.problem}{hint}"


class ForgelogError(Exception):
    """Base of all errors that are meant for people."""

    code = "error"
    exit_code = 1

    def __init__(self, message: str, errors: Iterable[Problem] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.errors = tuple(errors)

    def __str__(self) -> str:
        """The message, and the errors that it does not tell already; one error that says it all is told alone."""
        untold = [
            each
            for each in self.errors
            if not any(f"{each.problem}{sign} {each.hint}" in self.message for sign in (";", ":"))
        ]
        if len(untold) == 1 and self.message in (untold[0].problem, f"{untold[0].field}: {untold[0].problem}"):
            return str(untold[0])
        return "\n".join([self.message, *(f"  {each}" for each in untold)])


class InvalidInput(ForgelogError):
    """What was given to the client can't be sent: a wrong option, time, unit or field."""

    code = "invalid_argument"
    exit_code = 2


class ManifestError(InvalidInput):
    """A manifest has errors; `errors` holds all of them, in the order of the file."""


class Refused(ForgelogError):
    """The platform decided not to do it. `code` says why, `errors` which fields."""

    def __init__(self, code: str, message: str, errors: Iterable[Problem] = (), command_id: str = "") -> None:
        super().__init__(message, errors)
        self.code = code
        self.command_id = command_id


class Busy(Refused):
    """The platform has too much to do just now, also after the pauses it asked for. Nothing was done; try again after
    `retry_after` seconds."""

    exit_code = 75  # EX_TEMPFAIL of sysexits.h

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__("resource_exhausted", message)
        self.retry_after = retry_after


class NotFound(ForgelogError):
    """There is no such thing (at that time)."""

    code = "not_found"


class Unavailable(ForgelogError):
    """The platform can't be reached, or not answer, also after trying again. It may itself have asked to be called
    again `retry_after` seconds later; 0 when it did not."""

    code = "unavailable"
    exit_code = 69  # EX_UNAVAILABLE of sysexits.h

    def __init__(self, message: str, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Timeout(ForgelogError, TimeoutError):
    """It took longer than asked for. A command may still take effect: send it again with the same id."""

    code = "deadline_exceeded"
    exit_code = 124  # as timeout(1)


class ReaderGone(BaseException):
    """The reader of a command's output has closed the pipe: the command ends quietly. It is no SystemExit, which in a
    task would tear the event loop down and leave the other tasks' ends to be told as errors."""


def exit_status(status: str, exit_code: int | None) -> int:
    """What a shell is told of an ended job: its exit code; 143 (128 + SIGTERM) if it was cancelled before it ran."""
    return 143 if exit_code is None and status == "cancelled" else exit_code or 0
