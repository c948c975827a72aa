"""`forgelog.gateway.v1.Commands` over gRPC: from its messages to the door for commands and back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

import grpc

from events.log.outcomes import Outcome
from events.log.publish import Published
from forgelog_pb.common.v1.types_pb2 import ErrorCode
from forgelog_pb.gateway.v1 import commands_pb2 as pb
from forgelog_pb.gateway.v1 import commands_pb2_grpc as rpc
from services.gateway.commands import (
    DEFAULT_WAIT_SECONDS,
    MAX_BATCH,
    MAX_WAIT_SECONDS,
    PUBLISH_SECONDS,
    Body,
    Checked,
    Door,
)
from services.gateway.errors import DoorError, code_name
from services.gateway.grpc_answers import answered
from services.gateway.grpc_gate import caller
from services.gateway.trace import Trace

T = TypeVar("T")

SERVICE = "forgelog.gateway.v1.Commands"

_MARGIN = 0.05
"""Seconds of a call's deadline kept for the answer, so that a wait that was too short is told in words."""

_PREFIX_CODE = "ERROR_CODE_"


class CommandsServicer(rpc.CommandsServicer):
    """Every failure is a `DoorError`, and becomes the call's status with details."""

    def __init__(self, door: Door) -> None:
        self._door = door

    async def Publish(self, request: pb.PublishRequest, context: Any) -> pb.PublishResponse:
        async def publish(trace: Trace) -> pb.PublishResponse:
            checked = await self._check(request.command, trace)
            published = await self._door.publish(checked, _remaining(context, PUBLISH_SECONDS))
            return pb.PublishResponse(
                id=published.id, position=str(published.position), subject=published.subject, trace_id=trace.trace_id
            )

        return await self._answer("Publish", request, context, publish)

    async def PublishAndWait(self, request: pb.PublishAndWaitRequest, context: Any) -> pb.PublishAndWaitResponse:
        async def publish(trace: Trace) -> pb.PublishAndWaitResponse:
            checked = await self._check(request.command, trace, conclude=_concludes(request))
            seconds = wait_seconds(_seconds(request))
            published, outcome = await self._door.publish_and_wait(checked, _remaining(context, seconds))
            return pb.PublishAndWaitResponse(outcome=outcome_message(published, outcome, trace.trace_id))

        return await self._answer("PublishAndWait", request, context, publish)

    async def PublishMany(self, request: pb.PublishManyRequest, context: Any) -> pb.PublishManyResponse:
        async def publish(trace: Trace) -> pb.PublishManyResponse:
            return pb.PublishManyResponse(outcomes=await self._publish_many(request, context, trace))

        return await self._answer("PublishMany", request, context, publish)

    async def _publish_many(self, request: pb.PublishManyRequest, context: Any, trace: Trace) -> list[pb.Outcome]:
        check_batch(len(request.commands))
        checked: list[Checked] = []
        outcomes: list[pb.Outcome | None] = []
        conclude = _concludes(request) and request.wait
        for command in request.commands:
            try:
                checked.append(await self._check(command, trace, conclude=conclude))
                outcomes.append(None)
            except DoorError as error:
                outcomes.append(refusal_message(command.id, error, trace.trace_id))
        seconds = wait_seconds(_seconds(request)) if request.wait else 0.0
        results = iter(await self._door.publish_many(checked, _remaining(context, seconds) if seconds else 0.0))
        return [each or outcome_message(*next(results), trace.trace_id) for each in outcomes]

    async def _answer(self, method: str, request: Any, context: Any, work: Callable[[Trace], Awaitable[T]]) -> T:
        """Does a call's work in its span."""
        label = f"{SERVICE}/{method}"

        async def traced() -> T:
            with self._door.request(request.ByteSize()), Trace(label, _traceparent(context)) as trace:
                return await work(trace)

        return await answered(label, context, traced())

    async def _check(self, command: pb.Command, trace: Trace, *, conclude: bool = False) -> Checked:
        given = {
            "id": command.id,
            "type": command.type,
            "project": command.project,
            "actor": command.actor,
            "correlation_id": command.correlation_id,
        }
        body: Body = command.message if command.WhichOneof("body") == "message" else command.json
        return await self._door.checked(caller(), given, body, trace.traceparent, conclude=conclude)


def wait_seconds(asked: float) -> float:
    """How long to wait for an outcome; the default for 0. Raises DoorError."""
    if not 0 <= asked <= MAX_WAIT_SECONDS:
        text = f"timeout: is {asked:g} s; give 0 to {MAX_WAIT_SECONDS:g} s (0: {DEFAULT_WAIT_SECONDS:g} s)"
        raise DoorError(grpc.StatusCode.INVALID_ARGUMENT, text)
    return asked or DEFAULT_WAIT_SECONDS


def _seconds(request: Any) -> float:
    """Its timeout as it was given: protobuf's own conversion raises at a long one, and passes over bad parts."""
    given = request.timeout
    if abs(given.nanos) >= 1_000_000_000 or given.seconds * given.nanos < 0:
        text = f"timeout.nanos: is {given.nanos}; give -999999999 to 999999999, with the sign of its seconds"
        raise DoorError(grpc.StatusCode.INVALID_ARGUMENT, text)
    return float(given.seconds + given.nanos / 1e9)


def _concludes(request: Any) -> bool:
    """Whether what comes after the outcome is waited for, too. Raises DoorError."""
    if request.until not in pb.Until.values():
        words = ", ".join(pb.Until.keys())
        raise DoorError(grpc.StatusCode.INVALID_ARGUMENT, f"until: {request.until} is no Until; take one of {words}")
    return bool(request.until == pb.UNTIL_CONCLUSION)


def check_batch(count: int) -> None:
    """Raises DoorError when there are too many commands, or none."""
    if not 0 < count <= MAX_BATCH:
        text = f"commands: has {count} entries; give 1 to {MAX_BATCH} in one request"
        raise DoorError(grpc.StatusCode.INVALID_ARGUMENT, text)


def outcome_message(published: Published, outcome: Outcome | None, trace_id: str) -> pb.Outcome:
    """What became of a command; None when that is not known (yet)."""
    message = pb.Outcome(
        id=published.id,
        result=pb.RESULT_PUBLISHED,
        subject=published.subject,
        command_position=str(published.position),
        trace_id=trace_id,
    )
    if outcome is None:
        return message
    message.positions.extend(latest_positions(outcome))
    message.repeat = outcome.noted is not None and outcome.noted.repeat
    if outcome.rejected is None and outcome.noted is not None and not outcome.noted.repeat:
        message.result = pb.RESULT_UNCHANGED
    elif outcome.rejected is None and all(event.meta.type == _NOTED for event in outcome.events):
        message.result = pb.RESULT_UNCHANGED  # a repeat of a command that changed nothing
    elif outcome.rejected is None:
        message.result = pb.RESULT_ACCEPTED
        message.subject = outcome.subject or message.subject
        for event in outcome.events:
            message.events.add(type=event.meta.type, position=str(event.position))
    if (last := outcome.conclusion) is not None:
        message.conclusion.type, message.conclusion.position = last.meta.type, str(last.position)
    if (refused := outcome.refused) is not None:
        message.result = pb.RESULT_REJECTED
        message.rejection.message = refused.message
        _fill(message.rejection, refused.code.value, refused.errors)
    return message


def refusal_message(command_id: str, error: DoorError, trace_id: str) -> pb.Outcome:
    """A command of a batch that was refused at the door."""
    message = pb.Outcome(id=command_id, result=pb.RESULT_REJECTED, trace_id=trace_id)
    message.rejection.message = error.message
    _fill(message.rejection, code_name(error.code), error.errors)
    return message


def latest_positions(outcome: Outcome) -> list[str]:
    """The last position in each partition that the outcome touched: what a query's `at_least` takes."""
    records = [*outcome.events, *([outcome.conclusion] if outcome.conclusion is not None else ())]
    latest = {(each.position.topic, each.position.partition): each.position for each in records}
    return [str(position) for position in latest.values()]


_NOTED = "forgelog.log.v1.CommandNoted"


def _fill(rejection: pb.Rejection, code: str, errors: Iterable[Any]) -> None:
    number: Any = ErrorCode.Value(_PREFIX_CODE + code.upper())
    rejection.code = number
    for error in errors:
        rejection.errors.add(field=error.field, problem=error.problem, hint=error.hint)


def _traceparent(context: Any) -> str:
    return next((str(value) for key, value in context.invocation_metadata() or () if key == "traceparent"), "")


def _remaining(context: Any, seconds: float) -> float:
    remaining = context.time_remaining()
    return seconds if remaining is None else max(min(seconds, remaining - _MARGIN), 0.001)
