"""A worker's way to its platform: the orders that it follows, its reports, what it asks. Knows no stage's work."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from events.language.base import Command, Event
from events.language.registry import event_type
from forgelog.client.core import Core
from forgelog.client.plain import plain
from forgelog.errors import Timeout, Unavailable
from forgelog_pb.gateway.v1 import commands_pb2, commands_pb2_grpc
from forgelog_pb.pipelines.v1 import work_pb2, work_pb2_grpc

log = logging.getLogger("forgelog.worker")

MOST_AT_ONCE = 500
"""Reports in one call."""
MOST_BYTES = 8 << 20
"""Of the reports of one call."""
_PAUSE, _LONGEST_PAUSE = 0.2, 5.0
_ANSWER_SECONDS = 30.0
_COMPANY_SECONDS = 0.005


@dataclass(frozen=True, slots=True)
class Refusal:
    """What the platform says to a report that it does not take."""

    code: str
    """Of `ErrorCode`."""
    message: str


Heard = Callable[[Command, Refusal | None], None]
"""Called with each report and what became of it."""


async def orders(core: Core, pipeline_id: str, worker: str) -> AsyncIterator[Event | None]:
    """The events that name the worker, without end; None whenever the stream is there, first of all. The platform may
    be away for any time."""
    cursor = ""
    stub = work_pb2_grpc.WorkQueriesStub(core.channel)

    def request() -> Any:
        return work_pb2.FollowWorkRequest(pipeline_id=pipeline_id, worker=worker, cursor=cursor)

    while True:
        try:
            async for answer in core.connection.resumed(stub.FollowWork, request, what="orders"):
                cursor = answer.cursor
                yield _event(answer.type, answer.data) if answer.type else None
        except (Unavailable, Timeout) as error:
            log.warning("%s; the worker goes on asking", error)


def _event(type_name: str, data: bytes) -> Event | None:
    """None for an event of a type that this version does not know: it is no order that it could follow."""
    kind = event_type(type_name)
    if kind is None:
        log.warning("an event of the unknown type %s is passed over; start this pipeline's workers anew", type_name)
        return None
    return kind.model_validate_json(data)


class Reporter:
    """Sends reports in their order, those that wait together in one call, until each is decided."""

    def __init__(self, core: Core, heard: Heard) -> None:
        self._core, self._heard = core, heard
        self._waiting: deque[tuple[Command, Any]] = deque()
        self._news = asyncio.Event()
        self._urgent = asyncio.Event()
        self._sent = asyncio.Event()
        self._sent.set()

    def report(self, command: Command, *, urgent: bool = True) -> None:
        """Send it as soon as those before it are decided. One that is not urgent waits a few milliseconds for others
        that go with it. A quiet one is dropped where others wait: a newer one follows, and they may wait for long."""
        if type(command).quiet and self._waiting:
            return
        self._waiting.append((command, self._core.message(command)))
        self._sent.clear()
        self._news.set()
        if urgent:
            self._urgent.set()

    async def all_sent(self) -> None:
        """Wait until all reports are decided."""
        await self._sent.wait()

    async def run(self) -> None:
        """Send, until cancelled. Raises what tells that no report will ever be taken, such as a key that is none."""
        stub = commands_pb2_grpc.CommandsStub(self._core.channel)
        pause = _PAUSE
        while True:
            await self._news.wait()
            with suppress(TimeoutError):
                async with asyncio.timeout(_COMPANY_SECONDS):
                    await self._urgent.wait()
            self._urgent.clear()
            batch = self._next()
            request = commands_pb2.PublishManyRequest(commands=[envelope for _, envelope in batch], wait=True)
            request.timeout.FromMilliseconds(int(_ANSWER_SECONDS * 1000))
            try:
                answer = await self._core.connection.call(
                    stub.PublishMany, request, timeout=_ANSWER_SECONDS, what="reports"
                )
            except (Unavailable, Timeout) as error:
                log.warning("%s; the reports are sent again", error)
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
                self._urgent.set()
                continue
            pause = _PAUSE
            for (command, _), outcome in zip(batch, answer.outcomes, strict=True):
                found = plain(outcome)
                if found.result == "published" and not type(command).quiet:
                    break  # it is not decided yet; this and the later ones are sent again, with the same ids
                self._waiting.popleft()
                self._heard(command, _refusal(found.rejection) if found.result == "rejected" else None)
            if not self._waiting:
                self._news.clear()
                self._sent.set()
            else:
                self._urgent.set()

    def _next(self) -> list[tuple[Command, Any]]:
        batch: list[tuple[Command, Any]] = []
        size = 0
        for each in self._waiting:
            size += len(each[1].json)
            if batch and (size > MOST_BYTES or len(batch) >= MOST_AT_ONCE):
                break
            batch.append(each)
        return batch


def _refusal(rejection: Any) -> Refusal:
    problems = "; ".join(f"{each.field}: {each.problem}" for each in rejection.errors)
    return Refusal(rejection.code, f"{rejection.message}{': ' if problems else ''}{problems}")
