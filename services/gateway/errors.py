"""What the gateway says no with, and how each door writes it down: gRPC status with details, HTTP status with JSON.

Knows no particular command or query.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

import grpc

from events.language.common import FieldError, Refused
from events.queries.status import errors_said, status_metadata

HTTP_STATUS: dict[grpc.StatusCode, int] = {
    grpc.StatusCode.OK: 200,
    grpc.StatusCode.CANCELLED: 499,
    grpc.StatusCode.UNKNOWN: 500,
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.FAILED_PRECONDITION: 409,
    grpc.StatusCode.ABORTED: 409,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.INTERNAL: 500,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DATA_LOSS: 500,
    grpc.StatusCode.UNAUTHENTICATED: 401,
}


class DoorError(Exception):
    """The gateway's own no."""

    def __init__(
        self,
        code: grpc.StatusCode,
        message: str,
        errors: Iterable[FieldError] = (),
        *,
        retry_after: float = 0.0,
        http_status: int = 0,
        headers: Mapping[str, str] | None = None,
        command_id: str = "",
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.errors = tuple(errors) or errors_said(code, message)
        self.retry_after = retry_after
        """Seconds after which it makes sense to try again; 0 if that is not known."""
        self.http_status = http_status or HTTP_STATUS[code]
        self.headers = dict(headers or {})
        """Of the answer by HTTP."""
        self.command_id = command_id
        """The command it is about, once it has an id."""

    @classmethod
    def about(cls, field: str, problem: str, hint: str) -> DoorError:
        """One thing wrong with one field of the request."""
        error = FieldError(field=field, problem=problem, hint=hint)
        return cls(grpc.StatusCode.INVALID_ARGUMENT, f"{field}: {problem}", [error])

    @classmethod
    def of(cls, refused: Refused) -> DoorError:
        return cls(grpc.StatusCode[refused.code.name], refused.message, refused.errors)


def defect() -> DoorError:
    """The gateway's own fault, which its log tells."""
    return DoorError(grpc.StatusCode.INTERNAL, "the gateway failed because of a defect; see its log")


def code_name(code: grpc.StatusCode) -> str:
    """``invalid_argument``: as `ErrorCode` writes it."""
    return code.name.lower()


def as_json(code: str, message: str, errors: Iterable[FieldError]) -> dict[str, Any]:
    """What stands under ``error`` in every HTTP answer that is not 2xx."""
    return {"code": code, "message": message, "errors": [error.model_dump() for error in errors]}


def trailing_metadata(error: DoorError) -> tuple[tuple[str, str | bytes], ...]:
    """Details of a gRPC status."""
    return status_metadata(error.code, error.message, error.errors, error.retry_after)


async def abort(context: Any, error: DoorError) -> NoReturn:
    """End a gRPC call with this error."""
    await context.abort(error.code, error.message[:1000], trailing_metadata(error))
    raise AssertionError("abort returned")
