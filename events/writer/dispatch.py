"""Sends the orders that a context's own events lead to: commands for other contexts (a process manager).

Each order takes effect once:

1. The writer gives the dispatcher the valid events of its own partitions; void events order nothing. Only types that a
   decider names in `dispatching` are decoded.
2. `Decider.dispatch` returns the orders and the questions of an event. Each question is repeated until it is answered;
   later orders of the partition wait. `Decider.answered` returns the orders that an answer leads to. If one of the two
   raises, the orders of that partition stop, which `status` shows; the rest of the partition goes on.
3. Each order is published with an id that is derived from the event's (`order_id`), with the ordering aggregate as its
   origin, and with that aggregate's project and flow.
4. When Kafka has the orders, the partition records that in its log, at most once a second (`OrdersSent`). A writer that
   takes over goes on from there. It publishes later orders again, and the other context takes them as repeats.
5. A refusal is an event in the other context's log with the same origin. It reaches `Decider.refused` as any foreign
   event does. So do events that are routed by `BY_ORIGIN`.

Must not know what the orders contain, nor which aggregates they concern.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any

from aiokafka.errors import KafkaError

from events.language.registry import recorded_types
from events.log import topics
from events.log.envelope import Position
from events.log.partitioner import partition_of
from events.log.positions import ReaderPosition
from events.log.publish import Outgoing, Publisher
from events.log.tail import Tail
from events.log.wire import Raw, value_of
from events.process import faults
from events.process.settings import Settings
from events.writer.decider import Question
from events.writer.deciders import DeciderError, Deciders
from events.writer.encoding import Unit
from events.writer.orders import orders_of, questions_of
from events.writer.partition import Partition
from events.writer.questions import Ask, Unanswered, answers
from events.writer.stops import Stops

MOST_WAITING = 5_000
"""Events of a partition that may wait for their orders; with more, reading the partition pauses."""

MOST_BYTES = 16 << 20
"""Bytes of a partition's events that may wait for their orders; with more, reading the partition pauses."""

SAY_EVERY = 1.0
"""Seconds between two `OrdersSent` of a partition."""

SAY_AFTER = 10_000
"""Records after which a partition writes `OrdersSent` even if none of them led to an order: else a writer that takes
over reads them all."""

_AT_ONCE = 200
"""Events whose orders are published together."""

_BYTES_AT_ONCE = 4 << 20
"""Bytes of orders that are published together; the orders of the event that exceeds it are included."""

_AGAIN = 1.0
"""Seconds before orders that Kafka did not take are published again."""

NAMED_AFTER = 5.0
"""Seconds without an answer after which the partition's orders are shown as stopped; the restart of a service takes
less. They go on by themselves."""

log = logging.getLogger("forgelog.dispatch")


@dataclass(slots=True)
class _Place:
    """The progress of a partition's orders."""

    partition: Partition
    heard: ReaderPosition
    """The events before it were given to the dispatcher."""
    sent: ReaderPosition
    """The orders of the events before it are in Kafka."""
    waiting: deque[Raw] = field(default_factory=deque)
    weight: int = 0
    """Bytes of the waiting events."""
    ordered: bool = False
    """Whether orders were sent since the last `OrdersSent`."""
    said: float = 0.0
    """Monotonic time of the last `OrdersSent`."""
    stands: bool = False
    asked: _Asked | None = None

    @property
    def asks(self) -> bool:
        """Whether a question has no answer yet."""
        return self.asked is not None and not self.asked.answers.done()

    def ask_no_more(self) -> None:
        """Cancel the questions and drop their answers."""
        if self.asked is not None:
            self.asked.answers.cancel()
            self.asked = None


@dataclass(slots=True)
class _Asked:
    """The questions of one event."""

    raw: Raw
    since: float
    answers: asyncio.Task[list[Any]] = field(init=False)
    trouble: str = ""
    """Why there is no answer yet; empty before the first failed try."""


class Dispatcher:
    """The dispatcher of one writer. `run` publishes until cancelled; the writer calls the rest in its loop."""

    def __init__(
        self,
        deciders: Deciders,
        settings: Settings,
        partitions: Mapping[int, Partition],
        stops: Stops,
        ask: Ask | None = None,
        tail: Callable[[], Tail | None] = lambda: None,
    ) -> None:
        """`partitions`: those that the writer holds now. `ask`: see `Writer`. `tail`: by which it reads events now."""
        self._ask = ask
        self._tail = tail
        self._deciders = deciders.dispatching
        self._settings = settings
        self._partitions = partitions
        self._stops = stops
        self._context = deciders.context
        self._own = topics.events(deciders.context)
        self._types = recorded_types(deciders.dispatching)
        self._places: dict[int, _Place] = {}
        self._news = asyncio.Event()
        self._trouble = ""
        """Why Kafka does not take the orders; empty while it does."""

    # Called by the writer

    def hear(self, raws: Sequence[Raw]) -> None:
        """Take the valid own events among the records that were read."""
        for raw in raws:
            if raw.topic != self._own or (place := self._place(raw.partition)) is None or place.stands:
                continue
            if raw.offset < place.heard.offset:
                continue
            place.heard = ReaderPosition.behind(raw)
            if raw.get("ce_type") in self._types:
                place.waiting.append(raw)
                place.weight += len(raw.value or b"")
                self._news.set()
            elif not place.waiting:
                place.sent = place.heard

    def report(self, work: dict[int, list[Unit]], now: datetime) -> None:
        """Add an `OrdersSent` for each partition that is due for one.

        A partition whose log has no `OrdersSent` yet dispatches from this writer's marker on. Its first unit records
        that.
        """
        for number in self._places.keys() - self._partitions.keys():
            self._place(number)  # it is not read any more, so nothing else would end its questions and drop its events
        for number, partition in self._partitions.items():
            place = self._place(number)
            if place is None:
                continue
            if partition.dispatched is not None:
                far = place.sent.offset - partition.dispatched.offset
                late = place.ordered and time.monotonic() - place.said >= SAY_EVERY
                if far <= 0 or not (late or far >= SAY_AFTER):
                    continue
                faults.point(faults.BEFORE_ORDERS_SENT)
            work.setdefault(number, []).append(partition.orders_sent(place.sent, now))
            place.said, place.ordered = time.monotonic(), False

    def full(self, number: int) -> bool:
        """Whether reading the partition must pause: too many of its events wait for their orders."""
        place = self._places.get(number)
        return place is not None and (len(place.waiting) >= MOST_WAITING or place.weight >= MOST_BYTES)

    def readings(self) -> Iterator[tuple[str, str, int, int, str]]:
        """As `Writer.readings`, for the orders of each partition."""
        for number in self._partitions:
            if (place := self._place(number)) is not None:
                asked = place.asked.trouble if place.asked is not None else ""
                cause = self._stops.text_of(self._name(number)) or asked or self._trouble
                yield "orders", f"{self._own}/{number}", place.sent.offset, place.heard.offset, cause

    def forget(self) -> None:
        """Drop all state: the log has been replaced."""
        for place in self._places.values():
            place.ask_no_more()
        self._places.clear()

    def _place(self, number: int) -> _Place | None:
        """The progress of a partition that the writer holds; a new one if the partition was folded anew."""
        partition, place = self._partitions.get(number), self._places.get(number)
        if partition is None:
            if place is not None:
                place.ask_no_more()
                del self._places[number]
            return None
        if place is None or place.partition is not partition:
            if place is not None:
                place.ask_no_more()
            start = partition.dispatched or ReaderPosition(partition.epoch + 1, partition.epoch)
            place = self._places[number] = _Place(partition, start, start)
            self._stops.lift(self._name(number))  # it is tried again
        return place

    def _name(self, number: int) -> str:
        return f"{self._context}/{number} orders"

    # Publishing

    async def run(self) -> None:
        """Publish orders until cancelled."""
        publisher = Publisher(self._settings)  # it connects with the first order
        try:
            while True:
                await self._news.wait()
                self._news.clear()
                for place in list(self._places.values()):
                    while place.waiting and not place.stands and not place.asks and self._holds(place):
                        await self._send(place, publisher)
        finally:
            self.forget()
            await publisher.__aexit__(None, None, None)

    def _holds(self, place: _Place) -> bool:
        return self._partitions.get(place.partition.number) is place.partition

    async def _send(self, place: _Place, publisher: Publisher) -> None:
        """Publish the orders of the events that have waited longest."""
        taken: list[Raw] = []
        orders: list[Outgoing] = []
        size = 0
        failed: tuple[Raw, Exception] | None = None
        for raw in list(islice(place.waiting, _AT_ONCE)):
            try:
                found = self._orders(place, raw)
                if found is None:
                    break
            except Exception as error:  # noqa: BLE001 - any error of a decider stops its place and is shown
                failed = raw, error
                break
            taken.append(raw)
            orders += found
            size += sum(len(value_of(order.command)) for order in found)
            if size >= _BYTES_AT_ONCE:
                break
        if orders:
            try:
                await self._publish(orders, place, publisher)
            except Exception as error:  # noqa: BLE001 - no error of Kafka's: another try would raise it again
                failed, taken = (taken[0], error), []
            if not self._holds(place):
                return  # who holds it now begins where the log says, and meets what failed
        if not taken and failed is None:
            return
        for raw in taken:
            if place.asked is not None and place.asked.raw is raw:
                place.asked = None
            place.waiting.popleft()
            place.weight -= len(raw.value or b"")
        place.ordered = place.ordered or bool(orders)
        if failed is not None:
            self._stop(place, *failed)
        else:
            place.sent = ReaderPosition.behind(taken[-1]) if place.waiting else place.heard

    def _stop(self, place: _Place, raw: Raw, error: Exception) -> None:
        """Stop the orders of a partition at an event. The events that wait behind it are dropped: when a repair lets
        the orders go on, the partition is folded anew and read again from there."""
        place.sent, place.stands = ReaderPosition(raw.offset, raw.epoch), True
        place.waiting.clear()
        place.weight = 0
        place.ask_no_more()
        number = place.partition.number
        self._stops.add(self._name(number), error, raw, number=number, kind="orders")

    async def _publish(self, orders: Sequence[Outgoing], place: _Place, publisher: Publisher) -> None:
        """Publish orders, with repeats while Kafka fails, until the writer loses the partition. Raises errors that are
        not Kafka's."""
        faults.point(faults.BEFORE_ORDER)
        while self._holds(place):
            try:
                await publisher.publish_many(orders)
            except (KafkaError, OSError) as error:
                self._trouble = f"Kafka does not take the orders: {type(error).__name__}: {error}"
                log.warning("%s: %s", self._name(place.partition.number), self._trouble)
                await asyncio.sleep(_AGAIN)
                continue
            self._trouble = ""
            faults.point(faults.AFTER_ORDER)
            return

    def _orders(self, place: _Place, raw: Raw) -> list[Outgoing] | None:
        """The orders of an event; None while its questions are not answered. Raises what `orders_of` raises, and
        `Undecodable`."""
        if faults.armed():
            faults.raising(faults.IN_DISPATCH, str(raw.position))
        recorded = raw.decode()
        event: Any = recorded.data
        decider = self._deciders[type(event)]
        if not decider.consults or not (questions := questions_of(decider, recorded)):
            return orders_of(decider, recorded, self._context)
        if place.asked is None or place.asked.raw is not raw:
            place.ask_no_more()
            place.asked = self._begin(place, raw, questions)
        if not place.asked.answers.done():
            return None
        return orders_of(decider, recorded, self._context, place.asked.answers.result())

    def _heard(self, place: _Place, question: Question) -> str:
        """See `questions.Heard`."""
        places = () if (tail := self._tail()) is None else tail.positions
        count = sum(context == question.context for context, _ in places)
        if not question.subject or not count:
            return ""
        topic, number = topics.events(question.context), partition_of(question.subject, count)
        until = place.partition.resume_of(topic, number).offset
        return str(Position(topic, number, until - 1)) if until else ""

    def _begin(self, place: _Place, raw: Raw, questions: Sequence[Question]) -> _Asked:
        if (ask := self._ask) is None:
            raise DeciderError(f"{self._context} consults {questions[0].context}, but its writer has nobody to ask")
        asked = _Asked(raw, time.monotonic())
        name = self._name(place.partition.number)

        def failed(error: Unanswered) -> None:
            if not asked.trouble:
                log.warning("%s: %s", name, error)
            asked.trouble = str(error)
            if time.monotonic() - asked.since >= NAMED_AFTER and self._holds(place):
                self._stops.add(name, error, raw, number=place.partition.number, kind="orders")

        async def answered() -> list[Any]:
            found = await answers(ask, questions, raw, failed, lambda question: self._heard(place, question))
            if asked.trouble:
                self._stops.lift(name)
            faults.point(faults.AFTER_ANSWER)
            return found

        asked.answers = asyncio.create_task(answered())
        asked.answers.add_done_callback(lambda _: self._news.set())
        return asked
