"""What the gateway says no with, and how each door writes it down: gRPC status with details, HTTP status with JSON.

Knows no particular command or query.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

import grpc
import orjson
from google.rpc.error_details_pb2 import BadRequest  # type: ignore[import-untyped]
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]

from events.language.common import FieldError, Refused
from events.process.retry_hint import DETAILS, PUSHBACK, add_retry

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

ERRORS_METADATA = "forgelog-errors-bin"
"""Trailing metadata with the field errors as JSON, for clients that don't read google.rpc details."""

_METADATA_BYTES = 2000
"""Most bytes of field errors in one kind of trailing metadata: gRPC refuses answers whose metadata exceed 8 KiB."""


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
        self.errors = tuple(errors)
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
    """Details of a gRPC status: google.rpc.Status with BadRequest and RetryInfo, and the same in plain metadata."""
    found: list[tuple[str, str | bytes]] = []
    status = Status(code=error.code.value[0], message=error.message[:500])
    shown = _fitting(error.errors)
    if shown:
        violations = [
            BadRequest.FieldViolation(field=e.field, description=f"{e.problem}; {e.hint}" if e.hint else e.problem)
            for e in shown
        ]
        status.details.add().Pack(BadRequest(field_violations=violations))
        found.append((ERRORS_METADATA, orjson.dumps([e.model_dump() for e in shown])))
    if error.retry_after:
        add_retry(status, error.retry_after)
        found.append((PUSHBACK, str(int(error.retry_after * 1000))))
    if status.details:
        found.append((DETAILS, status.SerializeToString()))
    return tuple(found)


async def abort(context: Any, error: DoorError) -> NoReturn:
    """End a gRPC call with this error."""
    await context.abort(error.code, error.message[:1000], trailing_metadata(error))
    raise AssertionError("abort returned")


def _fitting(errors: Iterable[FieldError]) -> list[FieldError]:
    shown: list[FieldError] = []
    room = _METADATA_BYTES
    for error in errors:
        room -= len(error.field.encode()) + len(error.problem.encode()) + len(error.hint.encode()) + 40
        if room < 0:
            break
        shown.append(error)
    return shown
