"""Orders for workers, from the log's tail: no table lies between a decision and the worker that it is for.

One tail serves all followers of a process. It runs while somebody follows, so a platform without workers reads nothing.
A follower that comes back reads what it has missed from the log. Must not know what the orders say: they name a worker.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field

from aiokafka.errors import KafkaError

from events.language.base import Event
from events.language.pipelines.run_events import StageDispatched, StageStopRequested
from events.language.pipelines.watch_messages import TriggerWatched
from events.log.partitioner import partition_of
from events.log.positions import Place, ReaderPosition, place_of
from events.log.tail import LOOK_BACK, NoTopic, Tail
from events.log.wire import Raw
from events.process.settings import Settings

log = logging.getLogger("forgelog.work")

CONTEXT = "pipelines"

QUIET_SECONDS = 20.0
"""After so long without an order a follower is told that its stream is there."""
MOST_WAITING = 10_000
"""Orders that a follower has not taken yet. It then reads them from the log."""
_POLL_SECONDS = 1.0

_ORDERS = frozenset(kind.type_name() for kind in (StageDispatched, StageStopRequested, TriggerWatched))
"""Types of events that tell a worker to do something. What it has reported itself it knows."""


class Broken(Exception):
    """A stream of orders can't go on now. It may be begun again from its last cursor."""


class Unreadable(Exception):
    """An order that this version can't read. Nothing behind it is told, until it is repaired."""


class NoCursor(ValueError):
    """A cursor that no stream of this pipeline gave."""


@dataclass(frozen=True, slots=True)
class Told:
    """What a follower is told."""

    cursor: str
    event: Event | None = None
    """None: nothing but that the stream is there."""


@dataclass(eq=False, slots=True)
class Follower:
    pipeline_id: str
    waiting: asyncio.Queue[Told | None] = field(default_factory=lambda: asyncio.Queue(MOST_WAITING))
    """None: the tail has ended, or there is no room for more."""
    full: bool = False

    def tell(self, told: Told | None) -> None:
        if self.full:
            return
        if told is None or self.waiting.qsize() >= MOST_WAITING - 1:
            self.full, told = True, None
        self.waiting.put_nowait(told)


class WorkOrders:
    """The followers of one process, and their tail."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._followers: dict[str, set[Follower]] = {}
        """By the worker's id."""
        self._reading: asyncio.Task[None] | None = None
        self._started: asyncio.Future[Tail] | None = None

    async def follow(self, pipeline_id: str, worker: str, cursor: str = "") -> AsyncGenerator[Told, None]:
        """What a worker is told, without end. Raises Broken, NoCursor."""
        follower = Follower(pipeline_id)
        self._followers.setdefault(worker, set()).add(follower)
        try:
            tail = await self._tail()
            place = (CONTEXT, partition_of(pipeline_id, len(tail.positions)))
            now = tail.positions[place].offset
            # What the tail has told until now comes again below, or was before the stream.
            while not follower.waiting.empty():
                follower.waiting.get_nowait()
            if follower.full:
                raise Broken("the log could not be followed")
            since = _offset(cursor, place) if cursor else now
            yield Told(_cursor(place, min(since, now)))
            if since < now:
                async for told in self._missed(place, since, now, pipeline_id, worker):
                    yield told
            while True:
                following = await self._next(follower, tail, place)
                if following is None:
                    raise Broken("the stream of orders was interrupted")
                yield following
        finally:
            self._leave(worker, follower)

    async def _next(self, follower: Follower, tail: Tail, place: Place) -> Told | None:
        try:
            async with asyncio.timeout(QUIET_SECONDS):
                return await follower.waiting.get()
        except TimeoutError:
            # All up to here was told: the tail tells in the same step in which it moves on.
            return Told(_cursor(place, tail.positions[place].offset))

    def _leave(self, worker: str, follower: Follower) -> None:
        followers = self._followers[worker]
        followers.discard(follower)
        if not followers:
            del self._followers[worker]
        if not self._followers and self._reading is not None:
            self._reading.cancel()
            self._reading = self._started = None

    async def _tail(self) -> Tail:
        """The tail, once it has begun. Raises Broken."""
        if self._reading is None or self._started is None:
            self._started = asyncio.get_running_loop().create_future()
            self._reading = asyncio.create_task(self._read(self._started))
        return await asyncio.shield(self._started)

    async def _read(self, started: asyncio.Future[Tail]) -> None:
        try:
            async with Tail(self._settings, (CONTEXT,), start="end", patient=True) as tail:
                started.set_result(tail)
                while True:
                    for raw in await tail.poll_raw(_POLL_SECONDS):
                        self._tell(raw, tail)
        except (KafkaError, OSError, NoTopic) as error:
            log.warning("the log can't be read (%s); workers are told to ask again", error or type(error).__name__)
        finally:
            if not started.done():
                started.set_exception(Broken("the log can't be read"))
                started.exception()  # noticed, also where nobody waits for it any more
            if self._started is started:
                self._reading = self._started = None
                for followers in self._followers.values():
                    for follower in followers:
                        follower.tell(None)

    def _tell(self, raw: Raw, tail: Tail) -> None:
        if raw.is_marker or raw.type not in _ORDERS or tail.stands_before(raw):
            return
        try:
            event = _order(raw)
        except Unreadable:
            tail.stop_at(raw)
            return
        for follower in self._followers.get(event.worker, ()):
            if follower.pipeline_id == event.pipeline_id:
                follower.tell(Told(_cursor(place_of(raw), raw.offset + 1), event))

    async def _missed(
        self, place: Place, since: int, until: int, pipeline_id: str, worker: str
    ) -> AsyncGenerator[Told, None]:
        """What a worker was told between two offsets. Raises Broken."""
        # A few records earlier, which say what writer wrote those that follow.
        start: Mapping[Place, ReaderPosition] = {place: ReaderPosition(max(0, since - LOOK_BACK))}
        partitions = {place[1]}
        try:
            async with Tail(self._settings, (CONTEXT,), start=start, partitions=partitions, hasty=True) as tail:
                while tail.positions[place].offset < until:
                    for raw in await tail.poll_raw(_POLL_SECONDS):
                        if not since <= raw.offset < until or raw.is_marker or raw.type not in _ORDERS:
                            continue
                        event = _order(raw)
                        if event.worker == worker and event.pipeline_id == pipeline_id:
                            yield Told(_cursor(place, raw.offset + 1), event)
        except (KafkaError, OSError, NoTopic) as error:
            raise Broken(f"the log can't be read ({error or type(error).__name__})") from None
        except Unreadable as error:
            raise Broken(str(error)) from None


def _order(raw: Raw) -> StageDispatched | StageStopRequested | TriggerWatched:
    """What a record of one of `_ORDERS` says. Raises Unreadable."""
    try:
        event = raw.decode().data
        assert isinstance(event, StageDispatched | StageStopRequested | TriggerWatched)
    except Exception as error:
        log.exception("orders stand still at %s; update this service, or repair", raw.position)
        raise Unreadable(f"orders stand still at {raw.position}: this service can't read what is there") from error
    return event


def _cursor(place: Place, offset: int) -> str:
    return f"{place[1]}@{offset}"


def _offset(cursor: str, place: Place) -> int:
    """Raises NoCursor."""
    partition, _, offset = cursor.partition("@")
    digits = len(cursor) < 40 and cursor.isascii() and partition.isdigit() and offset.isdigit()
    if not digits or int(partition) != place[1]:
        raise NoCursor("cursor: no stream of this pipeline gave it; leave it out, or give the last answer's")
    return int(offset)
