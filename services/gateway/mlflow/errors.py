"""Refusals as MLflow's client expects them: ``{"error_code": ..., "message": ...}`` with the status of that code.
What all doors say stands beside it.

The client sends a request again after 408, 429, 500 and 502 to 504, for minutes. So only what another try can mend has
such a status.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import grpc
from starlette.responses import Response

from services.gateway.errors import HTTP_STATUS, DoorError
from services.gateway.forward import Relayed
from services.gateway.http_answers import error_body, json_response

_WRONG = ("INVALID_PARAMETER_VALUE", 400)

_CODES: Mapping[grpc.StatusCode, tuple[str, int]] = {
    grpc.StatusCode.INVALID_ARGUMENT: _WRONG,
    grpc.StatusCode.OUT_OF_RANGE: _WRONG,
    # MLflow's INVALID_STATE has status 500, and its RESOURCE_EXHAUSTED 429, which the client takes for passing.
    grpc.StatusCode.FAILED_PRECONDITION: _WRONG,
    grpc.StatusCode.RESOURCE_EXHAUSTED: _WRONG,
    grpc.StatusCode.ABORTED: ("RESOURCE_CONFLICT", 409),
    grpc.StatusCode.ALREADY_EXISTS: ("RESOURCE_ALREADY_EXISTS", 400),
    grpc.StatusCode.NOT_FOUND: ("RESOURCE_DOES_NOT_EXIST", 404),
    grpc.StatusCode.PERMISSION_DENIED: ("PERMISSION_DENIED", 403),
    grpc.StatusCode.UNAUTHENTICATED: ("UNAUTHENTICATED", 401),
    grpc.StatusCode.UNIMPLEMENTED: ("NOT_IMPLEMENTED", 501),
    grpc.StatusCode.UNAVAILABLE: ("TEMPORARILY_UNAVAILABLE", 503),
    grpc.StatusCode.DEADLINE_EXCEEDED: ("DEADLINE_EXCEEDED", 504),
    grpc.StatusCode.CANCELLED: ("CANCELLED", 499),
    # the same bytes are met again
    grpc.StatusCode.DATA_LOSS: ("DATA_LOSS", 400),
}

_BUSY = ("REQUEST_LIMIT_EXCEEDED", 429)


def refusal(error: DoorError | Relayed) -> Response:
    """A refusal as MLflow's client reads it."""
    code, status = _CODES.get(error.code, ("INTERNAL_ERROR", 500))
    headers = dict(error.headers) if isinstance(error, DoorError) else {}
    if error.retry_after:
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after)))
        if error.code is grpc.StatusCode.RESOURCE_EXHAUSTED:
            code, status = _BUSY
    if isinstance(error, DoorError) and error.http_status != HTTP_STATUS[error.code]:
        status = error.http_status
    message = _message(error) if isinstance(error, DoorError) else error.details
    return json_response({"error_code": code, "message": message, **error_body(error)}, status, headers)


def _message(error: DoorError) -> str:
    """The text, and of each field what is wrong and what to do, unless the text says it."""
    untold = (each for each in error.errors if f"{each.problem}; {each.hint}" not in error.message)
    told = [f"{each.field}: {each.problem}{f'; {each.hint}' if each.hint else ''}" for each in untold]
    if len(told) == 1 and told[0].startswith(error.message):
        return told[0]
    if error.message in told or not told:
        return error.message
    return f"{error.message} ({'; '.join(told)})"
