"""How commands about deployments are refused: the field, what is wrong, and what to do."""

from __future__ import annotations

from events.language.common import ErrorCode, FieldError, Refused


def refused(code: ErrorCode, field: str, problem: str, hint: str) -> Refused:
    """The message says what to do too: for many it is all that they see."""
    return Refused(code, f"{problem}; {hint}", [FieldError(field=field, problem=problem, hint=hint)])


def forbidden(field: str, problem: str, hint: str) -> Refused:
    """What a deployment's state does not allow."""
    return refused(ErrorCode.FAILED_PRECONDITION, field, problem, hint)
