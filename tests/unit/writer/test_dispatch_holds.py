"""What a dispatcher holds, and what it does with what goes wrong: bounded memory, no end of its process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from events.language.base import Event
from events.language.common import CommandNoted, CommandRejected
from events.language.jobs import JobSubmitted, SubmitJob
from events.log.envelope import Meta
from events.log.publish import Outgoing, Publisher
from events.process.clock import Clock
from events.process.settings import Settings
from events.writer import dispatch
from events.writer.decider import DecisionContext, Order, Question
from events.writer.dedup import Dedup
from events.writer.dispatch import Dispatcher
from events.writer.inputs import InputHandler
from events.writer.inputs import log as stops_log
from events.writer.orders import orders_of
from events.writer.stops import Stops
from tests.errands.decide import Errand, Errands
from tests.errands.language import RunErrand
from tests.unit.writer.test_dispatch import (
    NOW,
    Both,
    Broken,
    Side,
    dispatcher,
    errands,
    meta_of,
    running,
    stopped,
)

__all__ = ["errands"]


class OfTheVersionBefore(Errands):
    """Its orders have another body: a field of the command was added, or a default is another."""

    def dispatch(self, event: Event, at: DecisionContext) -> Sequence[Order]:
        ((command, _),) = super().dispatch(event, at)
        assert isinstance(command, SubmitJob)
        metadata = command.spec.metadata.model_copy(update={"name": "before"})
        return [Order(command.model_copy(update={"spec": command.spec.model_copy(update={"metadata": metadata})}))]


@pytest.mark.parametrize("remembered", [True, False])
def test_an_order_that_comes_again_with_another_body_is_done_and_no_refusal(remembered: bool) -> None:
    """A service that is replaced by a newer one orders the last second once more, maybe in other words."""
    both = Both()
    asked = both.run("shop")
    (before,) = orders_of(OfTheVersionBefore(), asked, "errands")
    first = both.jobs.take(before.command, meta_of(before))
    assert isinstance(first[0].data, JobSubmitted)
    if not remembered:
        both.jobs.partition.dedup = Dedup()
    (again,) = both.order(asked)
    assert isinstance(again.data, CommandNoted), "the aggregate would hear that its job was refused, and it runs"
    assert again.data.repeat is remembered


def asked(side: Side, count: int, command: str = "true") -> None:
    for number in range(count):
        meta = Meta(f"c-{len(side.raws)}", RunErrand.type_name(), "", NOW, "local/default", "owner")
        side.take(RunErrand(errand_id=f"errand-{len(side.raws)}-{number}", command=command), meta)


async def test_a_place_whose_orders_stand_still_is_read_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else its writer would not see that it was replaced, nor that a snapshot may be stored."""
    monkeypatch.setattr(dispatch, "MOST_WAITING", 3)
    side = Side(Broken())
    sends, stops = dispatcher(side)
    asked(side, 4)
    sends.hear(side.raws)
    assert sends.full(0)
    async with running(sends) as task:
        await stopped(stops, task)
    assert not sends.full(0)


def test_events_that_wait_for_their_orders_are_bounded_by_bytes_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "MOST_BYTES", 30_000)
    side = Side(Errands())
    sends, _ = dispatcher(side)
    asked(side, 2, "x" * 10_000)
    sends.hear(side.raws)
    assert not sends.full(0)
    heard = len(side.raws)
    asked(side, 1, "x" * 10_000)
    sends.hear(side.raws[heard:])
    assert sends.full(0)


async def test_what_can_not_be_published_stops_its_place_not_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    async def publish_many(_publisher: Any, _orders: Sequence[Outgoing]) -> None:
        raise ValueError("a header that can't be written")

    monkeypatch.setattr("events.log.publish.Publisher.publish_many", publish_many)
    side = Side(Errands())
    sends, stops = dispatcher(side)
    asked(side, 2)
    sends.hear(side.raws)
    async with running(sends) as task:
        await stopped(stops, task)
        assert not task.done()
    (stop,) = stops
    assert (stop.place, str(stop.position)) == ("errands/0 orders", "events.errands/0@1")
    assert "a header that can't be written" in stop.text


class BrokenLater(Errands):
    def dispatch(self, event: Event, at: DecisionContext) -> Sequence[Order | Question]:
        if at.subject.endswith("-1"):
            raise RuntimeError("no idea what to order")
        return super().dispatch(event, at)


async def test_who_loses_a_partition_while_it_publishes_does_not_say_that_its_orders_stand_still(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who holds it then meets what raises, and says so."""
    side, stops = Side(BrokenLater()), Stops(stops_log)
    partitions = {0: side.partition}

    async def publish_many(_publisher: Any, _orders: Sequence[Outgoing]) -> None:
        partitions.clear()

    monkeypatch.setattr("events.log.publish.Publisher.publish_many", publish_many)
    settings = Settings(kafka="nowhere:1")
    sends = Dispatcher(side.deciders, settings, partitions, stops)
    asked(side, 2)
    sends.hear(side.raws)
    await sends._send(sends._places[0], Publisher(settings))
    assert partitions == {}
    assert [stop.place for stop in stops] == []


class Deaf(Errands):
    def refused(self, state: Errand, refusal: CommandRejected, context: DecisionContext) -> Sequence[Event]:
        raise RuntimeError("what now?")


def test_what_refused_raises_stops_that_input_of_its_partition_alone() -> None:
    both = Both()
    asked = both.run("shop", user="ada")
    both.order(asked)
    side = Side(Deaf())
    partitions = {0: side.partition}
    over: list[int] = []
    handler = InputHandler(side.deciders, partitions, (), Clock(), over.append)
    handler.count = 1
    for raw in both.errands.raws:
        side.partition.fold(raw)
    work: dict[int, Any] = {}
    handler.events(both.jobs.raws, work, NOW)
    (stop,) = handler.stops
    assert (stop.place, stop.kind, over, work) == ("errands/0 reading events.jobs/0", "input", [0], {})
    assert "what now?" in stop.text
    assert side.partition.wants("events.jobs", 0, both.jobs.raws[-1].offset) == (False, False)
