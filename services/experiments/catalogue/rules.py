"""How a catalogue refuses a field of a command."""

from __future__ import annotations

from events.language.common import ErrorCode, FieldError, Refused


def refused(code: ErrorCode, field: str, problem: str, hint: str) -> Refused:
    return Refused(code, problem, [FieldError(field=field, problem=problem, hint=hint)])
