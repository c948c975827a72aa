"""How commands about experiments are refused: the field, what is wrong, and what to do.

Knows besides what `events.language.common` has (`invalid`, `absent`): what there is already, and what a thing's state,
its bounds or its rules do not allow. The message of these says what to do too: for many it is all that they see.
"""

from __future__ import annotations

from events.language.common import ErrorCode, FieldError, Refused, refused


def forbidden(field: str, problem: str, hint: str) -> Refused:
    """What the state of a thing does not allow. `field`: what names the thing, or what is wanted of it."""
    return refused(ErrorCode.FAILED_PRECONDITION, field, problem, hint)


def exhausted(field: str, problem: str, hint: str) -> Refused:
    """More than there may be."""
    return refused(ErrorCode.RESOURCE_EXHAUSTED, field, problem, hint)


def denied(field: str, problem: str, hint: str) -> Refused:
    """Not for this person."""
    return refused(ErrorCode.PERMISSION_DENIED, field, problem, hint)


def outdated(field: str, problem: str, hint: str) -> Refused:
    """Somebody else was first, or has taken over."""
    return refused(ErrorCode.ABORTED, field, problem, hint)


def exists(field: str, problem: str, hint: str) -> Refused:
    """What is to be made is there already."""
    return Refused(ErrorCode.ALREADY_EXISTS, problem, [FieldError(field=field, problem=problem, hint=hint)])
