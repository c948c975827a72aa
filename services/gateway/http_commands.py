"""``POST /v1/commands``: a command as plain JSON or as a CloudEvent (HTTP binding: structured, binary, batch).

From an HTTP request to the door for commands and back; knows no gRPC call.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import grpc
from starlette.requests import Request
from starlette.responses import Response

from events.language.common import MAX_COMMAND_BYTES, shown
from events.language.convert import to_dict
from events.language.wording import close_to
from services.gateway.commands import Body, Checked, Door, Parsed
from services.gateway.errors import HTTP_STATUS, DoorError
from services.gateway.http_answers import json_response
from services.gateway.http_bodies import body_size, json_of, read_body
from services.gateway.http_gate import decoded, principal_of
from services.gateway.principal import Principal
from services.gateway.servicer import check_batch, outcome_message, refusal_message, wait_seconds
from services.gateway.trace import Trace

STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"

MAX_ENVELOPE_BYTES = 16_384
"""What may surround a command's body of MAX_COMMAND_BYTES."""

MAX_BATCH_BYTES = 16 << 20

NOTHING, OUTCOME, CONCLUSION = "false", "true", "conclusion"
"""What may be waited for, in the words of the parameter ``wait``; see `Command.concluded_by`."""

WAITS = {
    **dict.fromkeys(("true", "1", "yes"), OUTCOME),
    **dict.fromkeys(("false", "0", "no"), NOTHING),
    CONCLUSION: CONCLUSION,
}
"""What a request may say for each of them."""
_PARAMETERS = ("wait", "timeout")
_KEYS = ("id", "type", "project", "actor", "correlation_id", "data")
CLOUDEVENT_KEYS = {
    "id": "id",
    "type": "type",
    "project": "project",
    "actor": "actor",
    "correlationid": "correlation_id",
    "traceparent": "traceparent",
}
CLOUDEVENT_IGNORED = frozenset(
    {"specversion", "source", "subject", "time", "datacontenttype", "dataschema", "tracestate", "causationid"}
)
"""Attributes of a CloudEvent that a command takes none of its meaning from: the platform fills in its own."""


@dataclass(slots=True)
class Given:
    """A command as it came: its envelope, its body."""

    body: Body
    envelope: dict[str, str] = field(default_factory=dict)
    traceparent: str = ""


async def post_commands(request: Request, door: Door) -> Response:
    """Publish a command, or a batch of them; wait for the outcome unless ``wait=false``, or for the conclusion."""
    _parameters(request)
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    wait = _wait(request)
    seconds = wait_seconds(_seconds(request)) if wait != NOTHING else 0.0
    conclude = wait == CONCLUSION
    most = MAX_BATCH_BYTES if content_type == BATCH else MAX_COMMAND_BYTES + MAX_ENVELOPE_BYTES
    with door.request(body_size(request, most)):
        if content_type == BATCH:
            return await _batch(request, door, seconds, conclude)
        return await _one(request, door, content_type, seconds, conclude)


async def _one(request: Request, door: Door, content_type: str, seconds: float, conclude: bool) -> Response:
    given = _binary(request, await read_body(request, MAX_COMMAND_BYTES)) if "ce-type" in request.headers else None
    if given is None:
        body = await read_body(request, MAX_COMMAND_BYTES + MAX_ENVELOPE_BYTES)
        given = _structured(_parse(body)) if content_type == STRUCTURED else _plain(_parse(body), len(body))
    incoming = given.traceparent or request.headers.get("traceparent", "")
    with Trace("POST /v1/commands", incoming) as trace:
        checked = await _checked(door, principal_of(request), given, trace, conclude)
        trace.note(command=checked.outgoing.id)
        if seconds and not type(checked.outgoing.command).quiet:
            published, outcome = await door.publish_and_wait(checked, seconds)
        else:
            published, outcome = await door.publish(checked), None
    answer = to_dict(outcome_message(published, outcome, trace.trace_id))
    status = 200 if outcome is not None else 202
    if outcome is not None and (refused := outcome.refused) is not None:
        answer["error"] = answer.pop("rejection")
        status = HTTP_STATUS[grpc.StatusCode[refused.code.name]]
    return json_response(answer, status, {"x-trace-id": trace.trace_id})


async def _batch(request: Request, door: Door, seconds: float, conclude: bool) -> Response:
    items = _parse(await read_body(request, MAX_BATCH_BYTES))
    if not isinstance(items, list):
        raise DoorError(grpc.StatusCode.INVALID_ARGUMENT, f"a {BATCH} body is a JSON array of CloudEvents")
    check_batch(len(items))
    with Trace("POST /v1/commands", request.headers.get("traceparent", "")) as trace:
        checked: list[Checked] = []
        refusals: list[DoorError | None] = []
        for item in items:
            try:
                checked.append(await _checked(door, principal_of(request), _structured(item), trace, conclude))
                refusals.append(None)
            except DoorError as error:
                refusals.append(error)
        results = iter(await door.publish_many(checked, seconds))
        outcomes = []
        for item, refusal in zip(items, refusals, strict=True):
            if refusal is None:
                message = outcome_message(*next(results), trace.trace_id)
            else:
                id = item.get("id", "") if isinstance(item, dict) else ""
                message = refusal_message(id if isinstance(id, str) else "", refusal, trace.trace_id)
            outcomes.append(to_dict(message))
    return json_response({"outcomes": outcomes}, 200, {"x-trace-id": trace.trace_id})


async def _checked(door: Door, principal: Principal, given: Given, trace: Trace, conclude: bool) -> Checked:
    try:
        return await door.checked(principal, given.envelope, given.body, trace.traceparent, conclude=conclude)
    except DoorError as error:
        error.command_id = given.envelope.get("id", "")
        raise


# Reading a request


def _parse(body: bytes) -> Any:
    if not body.strip():
        raise DoorError(grpc.StatusCode.INVALID_ARGUMENT, "the body is empty; send a command as JSON")
    return json_of(body)


def _plain(data: Any, size: int) -> Given:
    """``{type, id, project, actor, correlation_id, data}``"""
    data = _object(data)
    _known(data, _KEYS)
    envelope = {key: _text(key, data[key]) for key in _KEYS[:-1] if data.get(key) is not None}
    return Given(Parsed(data.get("data", {}), size), envelope)


def _structured(data: Any) -> Given:
    data = _object(data)
    if data.get("specversion") != "1.0":
        _wrong("specversion", f"is {shown(data.get('specversion'))}", "give '1.0'")
    given = Given(Parsed(data.get("data", {}), 0))
    if "data_base64" in data:
        _wrong("data_base64", "is not taken", "give the command as JSON under data")
    _known(data, (*CLOUDEVENT_KEYS, *CLOUDEVENT_IGNORED, "data"))
    for key in CLOUDEVENT_IGNORED.intersection(data):
        if data[key] is not None:
            _text(key, data[key])
    for key, name in CLOUDEVENT_KEYS.items():
        if data.get(key) is not None:
            given.envelope[name] = _text(key, data[key])
    given.traceparent = given.envelope.pop("traceparent", "")
    return given


def _binary(request: Request, body: bytes) -> Given:
    """CloudEvents attributes in ``ce-`` headers, the command as the body."""
    given = Given(body)
    for header, value in request.headers.items():
        if not header.startswith("ce-"):
            continue
        key = header[3:]
        if key in CLOUDEVENT_KEYS:
            given.envelope[CLOUDEVENT_KEYS[key]] = decoded(header, value)
        elif key not in CLOUDEVENT_IGNORED:
            close = close_to(key, CLOUDEVENT_KEYS)
            hint = f"did you mean 'ce-{close}'?" if close else f"there are ce-{', ce-'.join(CLOUDEVENT_KEYS)}"
            _wrong(header, "there is no such attribute", hint)
    given.traceparent = given.envelope.pop("traceparent", "")
    return given


def _object(data: Any) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise DoorError(
            grpc.StatusCode.INVALID_ARGUMENT,
            'the body is not a JSON object; write {"type": "SubmitJob", "data": {...}}',
        )
    return data


def _known(data: dict[str, Any], known: tuple[str, ...]) -> None:
    for key in data:
        if key not in known:
            close = close_to(key, known)
            hint = (
                f"did you mean {close!r}?"
                if close
                else f"the command's own fields belong under 'data'; here are {', '.join(known)}"
            )
            _wrong(key[:200], "there is no such field", hint)


def _text(key: str, value: Any) -> str:
    if not isinstance(value, str):
        _wrong(key, "is not text", "give text")
    return str(value)


def _wrong(name: str, problem: str, hint: str) -> None:
    raise DoorError.about(name, problem, hint)


def _wait(request: Request) -> str:
    """What is waited for, one of `WAITS`."""
    value = request.query_params.get("wait", "").lower() or OUTCOME
    if value not in WAITS:
        _wrong("wait", f"{shown(value)} is not true, false or conclusion", "give true, false or conclusion")
    return WAITS[value]


def _seconds(request: Request) -> float:
    text = request.query_params.get("timeout", "0").removesuffix("s")
    try:
        return float(text)
    except ValueError:
        _wrong("timeout", f"{shown(text)} is no number of seconds", "give seconds, such as 10 or 0.5")
        return 0.0


def _parameters(request: Request) -> None:
    """Raises DoorError for a parameter that is none, or that is given twice."""
    for name in request.query_params:
        if name not in _PARAMETERS:
            close = close_to(name, _PARAMETERS)
            hint = f"did you mean {close!r}?" if close else f"there are {' and '.join(_PARAMETERS)}"
            _wrong(name[:200], "there is no such parameter", hint)
        if len(request.query_params.getlist(name)) > 1:
            _wrong(name, "is given twice", "give it once")
