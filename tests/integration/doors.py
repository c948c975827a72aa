"""The ways a command comes in, as strangers use them: a plain Kafka producer, a plain gRPC stub, plain HTTP.

Each says the same thing in the end: an `Answer`, read from the log for Kafka and from the reply for the others.
"""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass, field
from typing import Any, Protocol

import grpc
import orjson
from aiokafka import AIOKafkaProducer

from events.language.common import CommandNoted, CommandRejected
from events.log.access import client_options
from events.log.envelope import Recorded
from forgelog.embedded.kafka_users import PRODUCER
from forgelog_pb.gateway.v1 import commands_pb2, commands_pb2_grpc
from tests import PATIENCE
from tests.access import as_user
from tests.integration.cluster import Cluster


@dataclass
class Answer:
    """What became of a command."""

    accepted: bool
    code: str = ""
    message: str = ""
    errors: list[dict[str, str]] = field(default_factory=list)
    subject: str = ""

    def says(self, field: str, *words: str) -> bool:
        """Whether it names the field and, anywhere, each of the words."""
        text = " ".join([self.message, *(" ".join(error.values()) for error in self.errors)]).lower()
        named = not field or any(error["field"] == field for error in self.errors)
        return named and all(word.lower() in text for word in words)


class Door(Protocol):
    async def send(
        self, type: str, body: bytes, id: str = "", project: str = "", actor: str = "", traceparent: str = ""
    ) -> Answer: ...

    async def close(self) -> None: ...


class KafkaDoor:
    """Headers and JSON to ``commands.<context>``; the outcome is what the log says of the command's id."""

    def __init__(self, platform: Cluster) -> None:
        self._platform = platform
        self._producer: AIOKafkaProducer | None = None

    async def send(
        self, type: str, body: bytes, id: str = "", project: str = "", actor: str = "", traceparent: str = ""
    ) -> Answer:
        if self._producer is None:
            options = client_options(as_user(self._platform.settings, PRODUCER))
            self._producer = AIOKafkaProducer(**options, max_request_size=4 << 20)
            await self._producer.start()
        id = id or uuid.uuid4().hex
        given = {"ce_project": project, "ce_actor": actor, "traceparent": traceparent}
        before = len(self._platform.seen)
        await self._producer.send_and_wait(
            f"{self._platform.settings.prefix}commands.jobs",
            value=body,
            headers=[
                ("ce_id", id.encode()),
                ("ce_type", type.encode()),
                *((name, value.encode()) for name, value in given.items() if value),
            ],
        )
        event = await self._platform.recorded(lambda record: record.meta.causation == id, after=before)
        return answer_of(event)

    async def close(self) -> None:
        if self._producer is not None:
            await self._producer.stop()


def answer_of(record: Recorded) -> Answer:
    """From the first event that a command led to."""
    match record.data:
        case CommandRejected() as event:
            errors = [error.model_dump() for error in event.errors]
            return Answer(False, event.code.value, event.message, errors, event.subject_id)
        case CommandNoted() as event:
            return Answer(True, subject=event.subject_id)
    return Answer(True, subject=record.meta.subject)


class GrpcDoor:
    """``PublishAndWait`` on the gateway's port."""

    def __init__(self, platform: Cluster) -> None:
        options = [("grpc.max_send_message_length", 8 << 20)]
        self._channel = platform.channel(options)
        self._stub: Any = commands_pb2_grpc.CommandsStub(self._channel)

    async def send(
        self, type: str, body: bytes, id: str = "", project: str = "", actor: str = "", traceparent: str = ""
    ) -> Answer:
        command = commands_pb2.Command(id=id, type=type, json=body, project=project, actor=actor)
        metadata = [("traceparent", traceparent)] if traceparent else []
        try:
            request = commands_pb2.PublishAndWaitRequest(command=command)
            reply = await self._stub.PublishAndWait(request, timeout=PATIENCE, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            trailing = dict(error.trailing_metadata() or ())
            errors = orjson.loads(trailing.get("forgelog-errors-bin", b"[]"))
            return Answer(False, error.code().name.lower(), error.details() or "", errors)
        outcome = reply.outcome
        if outcome.result == commands_pb2.RESULT_REJECTED:
            code = type_word(outcome.rejection, "code")
            errors = [{"field": e.field, "problem": e.problem, "hint": e.hint} for e in outcome.rejection.errors]
            return Answer(False, code, outcome.rejection.message, errors, outcome.subject)
        return Answer(True, subject=outcome.subject)

    async def close(self) -> None:
        await self._channel.close()


def type_word(message: Any, name: str) -> str:
    """An enum field's word, such as ``not_found``."""
    enum = message.DESCRIPTOR.fields_by_name[name].enum_type
    found: str = enum.values_by_number[getattr(message, name)].name
    return found.removeprefix("ERROR_CODE_").lower()


class HttpDoor:
    """``POST /v1/commands`` as a CloudEvent in binary mode: envelope in headers, the command as the body."""

    def __init__(self, platform: Cluster) -> None:
        self._client = platform.http()

    async def send(
        self, type: str, body: bytes, id: str = "", project: str = "", actor: str = "", traceparent: str = ""
    ) -> Answer:
        given = {"ce-type": type, "ce-id": id, "ce-project": project, "ce-actor": actor, "traceparent": traceparent}
        headers = {"content-type": "application/json", **{name: value for name, value in given.items() if value}}
        reply = await self._client.post("/v1/commands", content=body, headers=headers)
        data = reply.json()
        if reply.status_code >= 300:
            error = data["error"]
            return Answer(False, error["code"], error["message"], error["errors"], data.get("subject", ""))
        assert data["result"] in ("accepted", "unchanged"), data
        return Answer(True, subject=data["subject"])

    async def close(self) -> None:
        await self._client.aclose()


DOORS = {"kafka": KafkaDoor, "grpc": GrpcDoor, "http": HttpDoor}


async def open_doors(platform: Cluster) -> dict[str, Any]:
    """All of them, by name."""
    return {name: kind(platform) for name, kind in DOORS.items()}


async def close_doors(doors: dict[str, Any]) -> None:
    await asyncio.gather(*(door.close() for door in doors.values()))
