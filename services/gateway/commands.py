"""Every command that comes in by gRPC or HTTP: decode, check, publish, wait. The one place for all doors.

Knows no transport: a door hands over envelope and body, and gets `Published`, an `Outcome` or a `DoorError`.
What is checked here is what the writer checks again for commands that come by Kafka: same functions, same words.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Annotated, Any

import grpc
from aiokafka.errors import KafkaError
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError
from pydantic import AfterValidator, StringConstraints, ValidationError, WithJsonSchema

from events.language.base import Command, Model
from events.language.common import (
    DEFAULT_PROJECT,
    MAX_COMMAND_BYTES,
    DisplayName,
    ErrorCode,
    FieldError,
    ProjectName,
    Refused,
    invalid,
    shown,
)
from events.language.convert import from_message
from events.language.objects import ObjectRef
from events.language.problems import command_class, refused, validate_data, validate_json
from events.language.wording import WHOLE
from events.log import topics
from events.log.ids import new_command_id, payload_digest, with_assigned_id
from events.log.outcomes import Outcome, Outcomes
from events.log.publish import Outgoing, Published, Publisher
from events.log.repeats import refuse_repeats
from events.log.wire import Undecodable, value_of
from events.process import faults
from services.gateway import metrics
from services.gateway.catalog import Catalog
from services.gateway.errors import DoorError
from services.gateway.limits import Bounds, Limit, Undecided
from services.gateway.principal import Access, Principal

log = logging.getLogger("forgelog.gateway")

DEFAULT_WAIT_SECONDS = 30.0
MAX_WAIT_SECONDS = 300.0
PUBLISH_SECONDS = 15.0
"""Longest wait for Kafka to store a command."""

MAX_BATCH = 10_000
"""Most commands in one request."""

SOURCE = "forgelog/gateway"


def _one_line(value: str) -> str:
    if any(ord(c) < 33 or ord(c) == 127 for c in value):
        raise ValueError("has a space or control character; use letters, digits and punctuation")
    return value


_ONE_LINE = {"type": "string", "maxLength": 256, "pattern": r"^[^\x00-\x20\x7f]*$"}

CommandId = Annotated[str, StringConstraints(max_length=256), AfterValidator(_one_line), WithJsonSchema(_ONE_LINE)]


class Envelope(Model):
    """What surrounds a command's body. Its fields are named in refusals."""

    id: CommandId = ""
    type: Annotated[str, StringConstraints(max_length=256)] = ""
    project: ProjectName = DEFAULT_PROJECT
    actor: DisplayName
    """The principal's name: it may be left out, and no other is taken."""
    correlation_id: CommandId = ""


@dataclass(frozen=True, slots=True)
class Parsed:
    """A body that is plain data already (what stood under ``data`` in a JSON request)."""

    data: Any
    size: int


Body = bytes | Parsed | AnyMessage
"""A command's body: JSON text, plain data, or a packed message."""


@dataclass(frozen=True, slots=True)
class Checked:
    """A command that may be published."""

    outgoing: Outgoing
    digest: str
    conclude: bool = False
    """Whether its conclusion is waited for, where it is waited for at all."""


Lacking = Callable[[Sequence[ObjectRef]], Awaitable[Sequence[ObjectRef]]]


def _not_there(field: str, ref: ObjectRef) -> FieldError:
    problem = f"the store has no object {ref.digest} of {ref.size} bytes"
    return FieldError(field=field, problem=problem, hint="put its bytes first: PUT /v1/objects/DIGEST")


def _told(refused: Refused) -> DoorError:
    """A refusal at the door, which counts it."""
    metrics.refused.labels(refused.code.value).inc()
    return DoorError.of(refused)


def _no_conclusion(command: Checked) -> Refused:
    name = type(command.outgoing.command).type_name()
    problem = f"{name} has no conclusion: when it is decided, all is done"
    return Refused(ErrorCode.INVALID_ARGUMENT, f"{problem}; wait for its outcome (HTTP: wait=true)")


class Door:
    """Takes commands. One per process; until it is open, it only checks them."""

    def __init__(self, catalog: Catalog, bounds: Bounds, access: Access, lacking: Lacking | None = None) -> None:
        """`lacking`: of objects, those that are not in the store; left out: all are taken to be there."""
        self._access = access
        self._lacking = lacking
        self._publisher: Publisher | None = None
        self._outcomes: Outcomes | None = None
        self._catalog = catalog
        self._requests = Limit("requests", bounds.requests)
        self._bytes = Limit("bytes", bounds.bytes)
        self._commands = Limit("commands", bounds.commands)
        self.backlog = Undecided(bounds.backlog)

    def open(self, publisher: Publisher, outcomes: Outcomes) -> None:
        """From now on commands are published by these."""
        self._publisher, self._outcomes = publisher, outcomes

    async def drain(self, seconds: float) -> None:
        """Take no more; return when those under way are done, or `seconds` have passed."""
        self._publisher, publisher = None, self._publisher
        until = time.monotonic() + seconds
        while publisher is not None and self._commands.count and time.monotonic() < until:
            await asyncio.sleep(0.02)

    @contextmanager
    def request(self, size: int) -> Iterator[None]:
        """A request with commands, of so many bytes, is in hand. Raises DoorError when there is no room for it."""
        with self._requests.take(), self._bytes.take(size):
            yield

    @contextmanager
    def _admitted(self, commands: Sequence[Checked]) -> Iterator[None]:
        """These commands are being published, and maybe waited for. Raises DoorError when there is no room for them."""
        self.backlog.check({topics.commands(type(each.outgoing.command).context) for each in commands})
        with self._commands.take(len(commands)):
            yield

    # Checking

    def check(
        self,
        principal: Principal,
        envelope: dict[str, str],
        body: Body,
        traceparent: str = "",
        *,
        conclude: bool = False,
    ) -> Checked:
        """Decode and validate. Empty envelope values take their defaults. `conclude`: its conclusion is to be waited
        for. Raises DoorError."""
        try:
            checked = self._check(principal, envelope, body, traceparent)
            if conclude and not type(checked.outgoing.command).concluded_by:
                raise _no_conclusion(checked)
            return replace(checked, conclude=conclude)
        except Refused as error:
            raise _told(error) from None

    async def checked(
        self,
        principal: Principal,
        envelope: dict[str, str],
        body: Body,
        traceparent: str = "",
        *,
        conclude: bool = False,
    ) -> Checked:
        """`check`, and look into the store for the objects that the command names. Raises DoorError."""
        found = self.check(principal, envelope, body, traceparent, conclude=conclude)
        if self._lacking is not None and (named := found.outgoing.command.objects()):
            lacking = set(await self._lacking([ref for _, ref in named]))
            errors = [_not_there(field, ref) for field, ref in named if ref in lacking]
            if errors:
                text = f"{errors[0].field}: {errors[0].problem}; {errors[0].hint}"
                raise _told(Refused(ErrorCode.FAILED_PRECONDITION, text, errors))
        return found

    def _check(self, principal: Principal, given: dict[str, str], body: Body, traceparent: str) -> Checked:
        try:
            envelope = Envelope(**{"actor": principal.name, **{name: value for name, value in given.items() if value}})
        except ValidationError as error:
            raise refused(error, Envelope) from None
        if envelope.actor != principal.name:
            problem, hint = f"is {shown(envelope.actor)}, but the key is {principal.name}'s", "leave it out"
            wrong = FieldError(field="actor", problem=problem, hint=hint)
            raise Refused(ErrorCode.INVALID_ARGUMENT, f"actor: {problem}; {hint}", [wrong])
        command = self._decode(envelope, body)
        self._access.authorize(principal, type(command).type_name())
        id = envelope.id or new_command_id()
        command = with_assigned_id(command, id, envelope.project)
        value = value_of(command)
        if len(value) > MAX_COMMAND_BYTES:
            raise self._too_large(len(value))
        outgoing = Outgoing(
            command,
            id=id,
            project=envelope.project,
            actor=envelope.actor,
            correlation=envelope.correlation_id,
            traceparent=traceparent,
            source=SOURCE,
            value=value,
        )
        return Checked(outgoing, payload_digest(type(command).type_name(), value))

    def _decode(self, envelope: Envelope, body: Body) -> Command:
        if isinstance(body, AnyMessage):
            return self._decode_message(envelope, body)
        if not envelope.type:
            hint = "name the command's type, such as forgelog.jobs.v1.SubmitJob"
            raise invalid("type", "is missing", hint)
        model = command_class(envelope.type)
        size = body.size if isinstance(body, Parsed) else len(body)
        if size > MAX_COMMAND_BYTES:
            raise self._too_large(size)
        if isinstance(body, bytes):
            refuse_repeats(body)
            return validate_json(model, body)
        return validate_data(model, body.data)

    def _decode_message(self, envelope: Envelope, body: AnyMessage) -> Command:
        name = body.type_url.rsplit("/", 1)[-1]
        model = command_class(name)
        if envelope.type and command_class(envelope.type) is not model:
            problem = f"is {envelope.type}, but the message is a {name}"
            raise invalid("type", problem, "leave type out, or make the two agree")
        if len(body.value) > MAX_COMMAND_BYTES:
            raise self._too_large(len(body.value))
        try:
            message = self._catalog.message_class(model.type_name())()
        except KeyError:  # of a context that `FORGELOG_CONTEXTS` adds
            text = f"{model.type_name()} has no message; send it as JSON"
            raise Refused(ErrorCode.INVALID_ARGUMENT, text) from None
        try:
            message.ParseFromString(body.value)
        except DecodeError as error:
            raise Refused(ErrorCode.INVALID_ARGUMENT, f"the message is no {model.type_name()}: {error}") from None
        size = message.ByteSize()
        message.DiscardUnknownFields()
        if message.ByteSize() != size:
            text = f"the message has fields that this version's {model.type_name()} has not; upgrade the platform"
            raise Refused(ErrorCode.INVALID_ARGUMENT, text)
        try:
            return from_message(message, model)
        except ValidationError as error:
            raise refused(error, model) from None

    @staticmethod
    def _too_large(size: int) -> Refused:
        metrics.refused.labels("too_large").inc()
        problem = f"the command has {size} bytes; at most {MAX_COMMAND_BYTES} are allowed"
        hint = "keep large inputs in files or objects and name their place; split a long list over several commands"
        return Refused(ErrorCode.INVALID_ARGUMENT, problem, [FieldError(field=WHOLE, problem=problem, hint=hint)])

    # Publishing

    async def publish(self, command: Checked, seconds: float = PUBLISH_SECONDS) -> Published:
        """Returns when Kafka has the command. Raises DoorError."""
        publisher, _ = self._opened()
        with self._admitted([command]):
            return (await self._publish(publisher, [command], seconds))[0]

    async def publish_and_wait(self, command: Checked, seconds: float) -> tuple[Published, Outcome]:
        """The command's place and its outcome. Raises DoorError(DEADLINE_EXCEEDED) when `seconds` pass first."""
        if type(command.outgoing.command).quiet:
            name = type(command.outgoing.command).type_name()
            raise DoorError(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"{name} leaves no trace in the log when it changes nothing, so it can't be waited for: publish it",
            )
        started = time.perf_counter()
        publisher, outcomes = self._opened()
        with self._admitted([command]):
            future = self._expect(outcomes, command)
            try:
                published = (await self._publish(publisher, [command], min(seconds, PUBLISH_SECONDS)))[0]
                faults.point(faults.AFTER_PUBLISH)
                left = seconds - (time.perf_counter() - started)
                await asyncio.wait([future], timeout=max(left, 0.0))
                if not future.done():
                    raise self._no_outcome(published, seconds, "conclusion" if command.conclude else "outcome")
                metrics.outcome_seconds.observe(time.perf_counter() - started)
                return published, self._result(future, published)
            finally:
                future.cancel()

    async def publish_many(
        self, commands: Sequence[Checked], wait_seconds: float = 0.0
    ) -> list[tuple[Published, Outcome | None]]:
        """All of them in one go; with `wait_seconds` their outcomes too, as far as they come in time."""
        if not commands:
            return []
        publisher, outcomes = self._opened()
        with self._admitted(commands):
            waited = [c for c in commands if wait_seconds and not type(c.outgoing.command).quiet]
            futures = {id(command): self._expect(outcomes, command) for command in waited}
            try:
                published = await self._publish(publisher, commands, PUBLISH_SECONDS)
                if futures:
                    await asyncio.wait(futures.values(), timeout=wait_seconds)
                results: list[tuple[Published, Outcome | None]] = []
                for command, place in zip(commands, published, strict=True):
                    future = futures.get(id(command))
                    done = future is not None and future.done()
                    results.append((place, self._result(future, place) if future is not None and done else None))
                return results
            finally:
                for future in futures.values():
                    future.cancel()

    def _opened(self) -> tuple[Publisher, Outcomes]:
        if self._publisher is None or self._outcomes is None:
            text = "the gateway takes no commands now: it is starting or stopping, see /readyz; try again"
            raise DoorError(grpc.StatusCode.UNAVAILABLE, text, retry_after=1.0)
        return self._publisher, self._outcomes

    @staticmethod
    def _expect(outcomes: Outcomes, command: Checked) -> asyncio.Future[Outcome]:
        asked = command.outgoing.command
        until = asked if command.conclude else None
        return outcomes.expect(
            command.outgoing.id, type(asked).context, command.digest, project=command.outgoing.project, until=until
        )

    async def _publish(self, publisher: Publisher, commands: Sequence[Checked], seconds: float) -> list[Published]:
        started = time.perf_counter()
        ids = ", ".join(command.outgoing.id for command in commands[:3]) + (", ..." if len(commands) > 3 else "")
        try:
            async with asyncio.timeout(max(seconds, 0.001)):
                published = await publisher.publish_many([command.outgoing for command in commands])
        except (KafkaError, OSError, TimeoutError) as error:
            log.warning("publishing %s failed: %s: %s", ids, type(error).__name__, error)
            raise DoorError(
                grpc.StatusCode.UNAVAILABLE,
                f"the log can't be reached ({type(error).__name__}); whether it has the command is not known: send it "
                f"again with the id {ids}, a repeat does no harm",
                retry_after=1.0,
                command_id=commands[0].outgoing.id,
            ) from error
        metrics.publish_seconds.observe(time.perf_counter() - started)
        for command, place in zip(commands, published, strict=True):
            if not type(command.outgoing.command).quiet:
                self.backlog.published(place.position)
        return published

    @staticmethod
    def _no_outcome(published: Published, seconds: float, what: str) -> DoorError:
        return DoorError(
            grpc.StatusCode.DEADLINE_EXCEEDED,
            f"no {what} within {seconds:.3g} s. The command is in the log at {published.position} under the id "
            f"{published.id} and will be decided: send it again with this id to get its {what}, or read the history "
            f"of {published.subject or 'its aggregate'}",
            command_id=published.id,
        )

    @staticmethod
    def _result(future: asyncio.Future[Outcome], published: Published) -> Outcome:
        try:
            return future.result()
        except (Undecodable, OSError, KafkaError, asyncio.CancelledError) as error:
            log.warning("the outcome of %s can't be read: %s", published.id, error)
            raise DoorError(
                grpc.StatusCode.UNAVAILABLE,
                f"the command is in the log at {published.position} under the id {published.id}, but its outcome can't "
                f"be read just now; send it again with this id",
                command_id=published.id,
            ) from error
