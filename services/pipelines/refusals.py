"""How commands about pipelines are refused: the field, what is wrong, and what to do."""

from __future__ import annotations

from events.language.common import ErrorCode, Refused, refused


def forbidden(field: str, problem: str, hint: str) -> Refused:
    """What a pipeline's state does not allow."""
    return refused(ErrorCode.FAILED_PRECONDITION, field, problem, hint)
