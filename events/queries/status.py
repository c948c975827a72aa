"""What a gRPC status says besides its text: which fields are wrong and when to come again, in `google.rpc` details and
in plain metadata, alike from services and from the gateway."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import grpc
import orjson
from google.rpc.error_details_pb2 import BadRequest  # type: ignore[import-untyped]
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]

from events.language.common import FieldError
from events.process.retry_hint import DETAILS, PUSHBACK, add_retry

ERRORS_METADATA = "forgelog-errors-bin"
"""Trailing metadata with the field errors as JSON, for clients that don't read google.rpc details."""

_METADATA_BYTES = 2000
"""Most bytes of field errors in one kind of trailing metadata: gRPC refuses answers whose metadata exceed 8 KiB."""


_OF_A_FIELD = re.compile(
    r"(?P<field>[a-z][\w-]*(?:\[\d+\]|\.[\w./-]+)*): (?P<problem>.+?)(?:; (?P<hint>.+))?", re.ASCII | re.DOTALL
)
"""``page.limit: is 0; give 1 or more``"""

_MOST_READ = 1_000
"""Characters of a text that are looked at for its field."""


def status_metadata(
    code: grpc.StatusCode, message: str, errors: Iterable[FieldError] = (), retry_after: float = 0.0
) -> tuple[tuple[str, str | bytes], ...]:
    """Trailing metadata: google.rpc.Status with BadRequest and RetryInfo, and the same in plain metadata.
    `retry_after`: seconds; 0 if that is not known."""
    found: list[tuple[str, str | bytes]] = []
    status = Status(code=code.value[0], message=message[:500])
    if shown := _fitting(errors):
        violations = [
            BadRequest.FieldViolation(field=e.field, description=f"{e.problem}; {e.hint}" if e.hint else e.problem)
            for e in shown
        ]
        status.details.add().Pack(BadRequest(field_violations=violations))
        found.append((ERRORS_METADATA, orjson.dumps([e.model_dump() for e in shown])))
    if retry_after:
        add_retry(status, retry_after)
        found.append((PUSHBACK, str(int(retry_after * 1000))))
    if status.details:
        found.append((DETAILS, status.SerializeToString()))
    return tuple(found)


def errors_said(code: grpc.StatusCode, message: str) -> tuple[FieldError, ...]:
    """The field that an INVALID_ARGUMENT is about, by its text; none where the text does not begin with one."""
    found = _OF_A_FIELD.fullmatch(message[:_MOST_READ]) if code is grpc.StatusCode.INVALID_ARGUMENT else None
    if found is None:
        return ()
    return (FieldError(field=found["field"], problem=found["problem"], hint=found["hint"] or ""),)


def errors_in(metadata: Iterable[tuple[str, Any]]) -> tuple[FieldError, ...]:
    """The field errors of trailing metadata."""
    for key, value in metadata:
        if key == ERRORS_METADATA:
            return tuple(FieldError.model_validate(each) for each in orjson.loads(value))
    return ()


def _fitting(errors: Iterable[FieldError]) -> list[FieldError]:
    shown: list[FieldError] = []
    room = _METADATA_BYTES
    for error in errors:
        room -= len(error.field.encode()) + len(error.problem.encode()) + len(error.hint.encode()) + 40
        if room < 0:
            break
        shown.append(error)
    return shown
