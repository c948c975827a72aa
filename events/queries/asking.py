"""How a service asks another one: the services' own gRPC ports, at the addresses of `FORGELOG_SERVICES`, with the
platform's key.

Knows no query by name.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import grpc
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from events.language.common import ErrorCode, Refused
from events.log import topics
from events.log.connect import connected
from events.log.consumers import new_consumer
from events.log.envelope import Position
from events.process.channels import client_options
from events.process.settings import Settings, SettingsError
from events.queries.callers import bearer, services_key
from events.writer.decider import Question
from events.writer.questions import Unanswered

ANSWER_SECONDS = 10.0
"""How long an answer is waited for, before it is asked for again."""

MAX_ANSWER_BYTES = 64 << 20

_ANSWERS = frozenset(("INVALID_ARGUMENT", "NOT_FOUND", "ALREADY_EXISTS", "FAILED_PRECONDITION"))
"""Statuses that the same question gets again: they are answers."""


class Asking:
    """The connections to other contexts' services, opened when they are first needed. Raises SettingsError when the
    platform's key can't be read."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._key = bearer(services_key(settings))
        self._channels: dict[str, Any] = {}

    async def close(self) -> None:
        """End the connections; another question opens them again."""
        channels, self._channels = self._channels, {}
        for channel in channels.values():
            await channel.close()

    async def ask(self, question: Question, at_least: Sequence[str]) -> Any:
        """The answer; a `Refused` where the service gives no other. Raises Unanswered."""
        answer = await self._ask(question, at_least)
        if isinstance(answer, Refused):  # the tables may be behind: the whole log decides
            answer = await self._ask(question, await self._newest(question.context))
        return answer

    async def _newest(self, context: str) -> list[str]:
        """The last position of each partition of a context's events. Raises Unanswered."""
        topic = self._settings.prefix + topics.events(context)
        try:
            async with asyncio.timeout(ANSWER_SECONDS), connected(new_consumer(self._settings)) as consumer:
                places = [TopicPartition(topic, number) for number in await consumer.partitions_of(topic)]
                ends = await consumer.end_offsets(places)
        except (KafkaError, OSError) as error:
            text = f"whether the tables of {context} are behind is not known ({type(error).__name__}: {error})"
            raise Unanswered(f"{text}; it is asked again") from None
        return [str(Position(topics.events(context), at.partition, end - 1)) for at, end in ends.items() if end]

    async def _ask(self, question: Question, at_least: Sequence[str]) -> Any:
        name = question.context
        try:
            address = self._settings.address_of(name)
        except SettingsError as error:
            raise Unanswered(str(error)) from None
        if name not in self._channels:
            self._channels[name] = grpc.aio.insecure_channel(address, options=client_options(MAX_ANSWER_BYTES))
        request = type(question.request)()
        request.CopyFrom(question.request)
        if at_least:
            request.options.at_least.extend(at_least)
        method = getattr(question.stub(self._channels[name]), question.method)
        try:
            return await method(request, timeout=ANSWER_SECONDS, metadata=self._key)
        except grpc.aio.AioRpcError as error:
            code, details = error.code().name, error.details() or ""
            if code in _ANSWERS:
                return Refused(ErrorCode[code], details)
            raise Unanswered(
                f"the {name} service at {address} does not answer {question.method} ({code}: {details[:500]}); it is "
                f"asked again"
            ) from None
