"""Sends what a context's own events order from other contexts (a process manager), each order once in effect.

1. The writer hands on the valid events of its own partitions, as its reader sees them: a void one orders nothing. Only
   types that a decider names in `dispatching` are decoded.
2. `Decider.dispatch` says what the event orders. What it asks of other contexts first is asked until it is answered;
   the partition's later orders wait. `Decider.answered` says what the answer orders. If they raise, the orders of that
   partition stand still, and say so; the rest of the partition goes on.
3. Each order is published with an id that follows from the event's (`order_id`), the aggregate that orders as its
   origin, and the aggregate's project and flow.
4. When Kafka has them, the partition says so in its log, once a second at most (`OrdersSent`). A writer that takes over
   goes on from there: what was ordered since is ordered again, and is a repeat.
5. A refusal stands in the other context's log under the same origin. It comes back as any event of another context
   does, to `Decider.refused`, and so do events that are routed by `BY_ORIGIN`.

Must not know what is ordered, nor whom it is about.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any

from aiokafka.errors import KafkaError

from events.language.registry import recorded_types
from events.log import topics
from events.log.positions import ReaderPosition
from events.log.publish import Outgoing, Publisher
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
"""Events of a partition that wait for their orders; it is not read on while there are more."""

MOST_BYTES = 16 << 20
"""Of the events of a partition that wait for their orders; it is not read on while there are more."""

SAY_EVERY = 1.0
"""Seconds between two records that say up to where a partition's orders are sent."""

SAY_AFTER = 10_000
"""Records after which it is said though none of them ordered anything: else a writer that takes over reads them all."""

_AT_ONCE = 200
"""Events whose orders are published together."""

_BYTES_AT_ONCE = 4 << 20
"""Of orders after which no other event's are published with them."""

_AGAIN = 1.0
"""Seconds before orders that Kafka did not take are published again."""

NAMED_AFTER = 5.0
"""Seconds without an answer after which the partition's orders count as stopped: a service that is started again takes
less. They go on by themselves."""

log = logging.getLogger("forgelog.dispatch")


@dataclass(slots=True)
class _Place:
    """How far the orders of a partition are."""

    partition: Partition
    heard: ReaderPosition
    """The events before it were handed on."""
    sent: ReaderPosition
    """The orders of the events before it are in Kafka."""
    waiting: deque[Raw] = field(default_factory=deque)
    weight: int = 0
    """Bytes of those that wait."""
    ordered: bool = False
    """Whether anything was ordered that the log does not tell of."""
    said: float = 0.0
    """When the log was told last."""
    stands: bool = False
    asked: _Asked | None = None

    @property
    def asks(self) -> bool:
        """Whether an answer is waited for."""
        return self.asked is not None and not self.asked.answers.done()

    def ask_no_more(self) -> None:
        """Forget what was asked, and its answer."""
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
    """Why there is no answer."""


class Dispatcher:
    """Of one writer. `run` publishes until cancelled; the writer calls the rest between its steps."""

    def __init__(
        self,
        deciders: Deciders,
        settings: Settings,
        partitions: Mapping[int, Partition],
        stops: Stops,
        ask: Ask | None = None,
    ) -> None:
        """`partitions`: those that the writer holds at the moment. `ask`: see `Writer`."""
        self._ask = ask
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
        """Why Kafka does not take what is ordered; empty while it does."""

    # Called by the writer

    def hear(self, raws: Sequence[Raw]) -> None:
        """Take the valid events among what was read."""
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
        """Have partitions say up to where their orders are sent, where the log does not say it and it is time to.

        Of a partition whose log says nothing, orders begin with this writer: that is said before anything else.
        """
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
        """Whether enough events of a partition wait for their orders."""
        place = self._places.get(number)
        return place is not None and (len(place.waiting) >= MOST_WAITING or place.weight >= MOST_BYTES)

    def readings(self) -> Iterator[tuple[str, str, int, int, str]]:
        """As `Writer.readings`: how far the orders of each partition are, and what holds them."""
        for number in self._partitions:
            if (place := self._place(number)) is not None:
                asked = place.asked.trouble if place.asked is not None else ""
                cause = self._stops.text_of(self._name(number)) or asked or self._trouble
                yield "orders", f"{self._own}/{number}", place.sent.offset, place.heard.offset, cause

    def forget(self) -> None:
        """The log is another one."""
        for place in self._places.values():
            place.ask_no_more()
        self._places.clear()

    def _place(self, number: int) -> _Place | None:
        """Of a partition that the writer holds; begun anew when that was folded anew."""
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
        """Publish what is ordered."""
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
            except Exception as error:  # noqa: BLE001 - whatever a decider raises stops its place, and is told
                failed = raw, error
                break
            taken.append(raw)
            orders += found
            size += sum(len(value_of(order.command)) for order in found)
            if size >= _BYTES_AT_ONCE:
                break
        if orders:
            try:
                if not await self._published(orders, place, publisher):
                    return
            except Exception as error:  # noqa: BLE001 - no trouble of Kafka's: tried again, it would be raised again
                failed, taken = (taken[0], error), []
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
        """The orders of a partition stand still at an event. It is read on, so nothing is kept that waits behind it:
        what lets it go on has the partition folded anew, and read again from there."""
        place.sent, place.stands = ReaderPosition(raw.offset, raw.epoch), True
        place.waiting.clear()
        place.weight = 0
        place.ask_no_more()
        number = place.partition.number
        self._stops.add(self._name(number), error, raw, number=number, kind="orders")

    async def _published(self, orders: Sequence[Outgoing], place: _Place, publisher: Publisher) -> bool:
        """Whether Kafka has the orders; it is tried until the partition is not this writer's any more. Raises what is
        no trouble of Kafka's."""
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
            return True
        return False

    def _orders(self, place: _Place, raw: Raw) -> list[Outgoing] | None:
        """What an event orders; None while what it asks first is not answered. Raises what `orders_of` raises, and
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
            found = await answers(ask, questions, raw, failed)
            if asked.trouble:
                self._stops.lift(name)
            faults.point(faults.AFTER_ANSWER)
            return found

        asked.answers = asyncio.create_task(answered())
        asked.answers.add_done_callback(lambda _: self._news.set())
        return asked
