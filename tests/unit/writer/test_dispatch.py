"""What a context's own events order from another one, in effect once each, and how it hears of it.

Errands (`tests/errands`) order jobs of the real jobs' decider. Kafka is left out here: what would be published is
handed over. `tests/integration/test_dispatch.py` has the whole way.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest

from events.language.base import Command, Event
from events.language.common import CommandNoted, CommandRejected, ErrorCode, OrdersSent
from events.language.jobs import CancelJob, JobCancelled, JobSubmitted, SubmitJob
from events.language.jobs.spec import JobMetadata, JobSpec
from events.language.scheduling import JobDequeued
from events.log import topics
from events.log.envelope import Meta, Position, Recorded
from events.log.ids import id_ending, order_id
from events.log.positions import ReaderPosition
from events.log.publish import Outgoing
from events.log.wire import Raw, headers_of, value_of
from events.process.settings import Settings
from events.writer.decider import Decider, DecisionContext, Order
from events.writer.deciders import DeciderError, Deciders
from events.writer.dedup import Dedup
from events.writer.dispatch import Dispatcher
from events.writer.encoding import DeadLetter, Unit
from events.writer.inputs import log as stops_log
from events.writer.orders import orders_of
from events.writer.partition import Partition
from events.writer.snapshots import dump, load
from events.writer.stops import Stops
from services.jobs.decide import Jobs
from tests.errands.decide import Errands
from tests.errands.language import (
    DropErrand,
    ErrandAccepted,
    ErrandAsked,
    ErrandEnded,
    ErrandStarted,
    Outcome,
    RunErrand,
)
from tests.unit.writer.spoken import speak

NOW = datetime(2026, 5, 9, 3, 12, tzinfo=UTC)
VISION = "lab/vision"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture(autouse=True)
def errands(monkeypatch: pytest.MonkeyPatch) -> None:
    """The language has errands, for one test."""
    speak((RunErrand, DropErrand, ErrandAsked, ErrandAccepted, ErrandStarted, ErrandEnded), monkeypatch)


class Side:
    """The only partition of a context, with the log that it writes."""

    def __init__(self, decider: Decider[Any]) -> None:
        self.deciders = Deciders(decider)
        self.partition = Partition(self.deciders, 0, 1)
        self.partition.epoch = 0
        self.raws: list[Raw] = []
        self.now = NOW
        self._commands = 0

    def take(self, command: Command, meta: Meta) -> list[Recorded]:
        raw = Raw(
            topics.commands(self.deciders.context), 0, self._commands, 0, b"", value_of(command), headers_of(meta)
        )
        self._commands += 1
        unit = self.partition.command(raw, self.now)
        if isinstance(unit, DeadLetter):
            unit = unit.unit
        assert isinstance(unit, Unit)
        return self.append([unit])

    def hear(self, recorded: Recorded) -> list[Recorded]:
        event: Any = recorded.data
        unit = self.partition.event(recorded, self.deciders.concerned(event, recorded.meta.origin), self.now)
        return self.append([unit] if unit is not None else [])

    def append(self, units: Sequence[Unit]) -> list[Recorded]:
        first = len(self.raws)
        for unit in units:
            offset = 1 + len(self.raws)
            topic = topics.events(self.deciders.context)
            self.raws += [each.at(topic, 0, offset + place) for place, each in enumerate(unit.records)]
            self.partition.appended(unit, offset)
        return [raw.decode() for raw in self.raws[first:]]


class Both:
    """Errands, and the jobs that they order."""

    def __init__(self) -> None:
        self.errands, self.jobs = Side(Errands()), Side(Jobs())

    def run(self, errand: str, id: str = "c-1", project: str = VISION, **more: Any) -> Recorded:
        command = RunErrand(errand_id=errand + id_ending(project), command="true", **more)
        meta = Meta(id, RunErrand.type_name(), "", NOW, project, "owner", "somebody", "flow-1", "", TRACE)
        (asked,) = self.errands.take(command, meta)
        return asked

    def order(self, asked: Recorded) -> list[Recorded]:
        """What the jobs' log says of what an errand orders."""
        (order,) = orders_of(Errands(), asked, "errands")
        return self.jobs.take(order.command, meta_of(order))

    def cancel(self, job: str) -> list[Recorded]:
        """What the jobs' log says of a job that is cancelled while it waits in its queue."""
        meta = Meta(f"cancel-{job}", CancelJob.type_name(), "", NOW, VISION, "owner")
        told = self.jobs.take(CancelJob(job_id=job), meta)
        left = JobDequeued(queue="default", job_id=job, tasks="0", attempt=1)
        meta = Meta("d.0", JobDequeued.type_name(), job, NOW, VISION, "owner")
        return told + self.jobs.hear(Recorded(left, meta, "default", Position("events.scheduling", 0, 1), 0))


def meta_of(order: Outgoing) -> Meta:
    """As `Publisher` makes it."""
    kind = type(order.command).type_name()
    return Meta(
        order.id,
        kind,
        order.command.subject(),
        NOW,
        order.project,
        order.actor,
        order.source,
        order.correlation,
        order.causation,
        order.traceparent,
        order.origin,
    )


ERRAND = f"shop{id_ending(VISION)}"
JOB = f"shop.job{id_ending(VISION)}"
ORIGIN = f"errands/errand/{ERRAND}"


# Ordering


def test_an_order_has_the_id_of_its_event_and_the_aggregate_s_project_flow_and_name() -> None:
    asked = Both().run("shop")
    (order,) = orders_of(Errands(), asked, "errands")
    assert order.command == SubmitJob(job_id=JOB, spec=JobSpec(metadata=JobMetadata(name=ERRAND), command="true"))
    assert (order.id, order.causation) == (order_id(asked.meta.id, 0), asked.meta.id)
    assert (order.project, order.actor, order.origin) == (VISION, "owner", ORIGIN)
    assert (order.correlation, order.traceparent, order.source) == ("flow-1", TRACE, "forgelog/errands")


def test_the_ids_of_orders_are_short_however_long_that_of_their_event_is() -> None:
    ids = {order_id("c" * length, number) for length in (3, 500, 600) for number in range(2)}
    assert len(ids) == 6
    assert max(map(len, ids)) < 250


def test_what_is_ordered_carries_its_origin_to_its_end_and_nothing_else_does() -> None:
    both = Both()
    told = both.order(both.run("shop"))
    told += both.cancel(JOB)
    assert isinstance(told[0].data, JobSubmitted)
    assert isinstance(told[-1].data, JobCancelled)
    assert {each.meta.origin for each in told} == {ORIGIN}
    other = Meta("c-3", SubmitJob.type_name(), "", NOW, VISION, "owner")
    spec = JobSpec(metadata=JobMetadata(name="a"), command="true")
    (first, *_) = both.jobs.take(SubmitJob(spec=spec), other)
    assert first.meta.origin == ""
    assert b"ce_origin" not in str(both.jobs.raws[-1].headers).encode()


@pytest.mark.parametrize("then", ["live", "log", "snapshot"])
def test_an_order_that_comes_again_is_a_repeat_also_when_it_is_forgotten(then: str) -> None:
    both = Both()
    asked = both.run("shop")
    assert isinstance(both.order(asked)[0].data, JobSubmitted)
    (again,) = both.order(asked)
    assert isinstance(again.data, CommandNoted)
    assert again.data.repeat
    if then == "log":
        both.jobs.partition = Partition(both.jobs.deciders, 0, 1)
        for raw in both.jobs.raws:
            both.jobs.partition.fold(raw)
        both.jobs.partition.epoch = 0
    elif then == "snapshot":
        both.jobs.partition = load(both.jobs.deciders, 0, 1, dump(both.jobs.partition))
    both.jobs.partition.dedup = Dedup()
    (late,) = both.order(asked)
    assert isinstance(late.data, CommandNoted), "not a refusal: what was ordered is done"


def test_a_job_of_that_id_that_another_made_is_a_refusal() -> None:
    both = Both()
    asked = both.run("shop")
    spec = JobSpec(metadata=JobMetadata(name="a"), command="true")
    both.jobs.take(SubmitJob(job_id=JOB, spec=spec), Meta("x", SubmitJob.type_name(), "", NOW, VISION, "owner"))
    (refused,) = both.order(asked)
    assert isinstance(refused.data, CommandRejected)
    assert refused.data.code is ErrorCode.ALREADY_EXISTS


# Hearing


def test_an_errand_hears_of_its_job_s_end_once() -> None:
    both = Both()
    both.order(both.run("shop"))
    (end,) = [each for each in both.cancel(JOB) if isinstance(each.data, JobCancelled)]
    (ended,) = both.errands.hear(end)
    assert ended.data == ErrandEnded(errand_id=ERRAND, outcome=Outcome.FAILED)
    assert (ended.meta.project, ended.meta.correlation, ended.meta.origin) == (VISION, "flow-1", "")
    assert both.errands.hear(end) == []


def test_a_refusal_comes_back_to_who_ordered() -> None:
    both = Both()
    (refused,) = both.order(both.run("shop", user="ada"))
    assert isinstance(refused.data, CommandRejected)
    assert refused.meta.origin == ORIGIN
    (ended,) = both.errands.hear(refused)
    assert isinstance(ended.data, ErrandEnded)
    assert (ended.data.outcome, ended.data.errand_id) == (Outcome.REFUSED, ERRAND)
    assert "user" in ended.data.reason
    assert both.errands.hear(refused) == []


def test_who_did_not_order_hears_nothing_and_nothing_is_decoded_for_it() -> None:
    deciders = Deciders(Errands())
    asked, other, nobodys = (
        Raw("events.jobs", 0, 1, 0, b"", b"", [("ce_origin", text)] if text else [])
        for text in (ORIGIN.encode(), b"trials/run/r1", b"")
    )
    assert [deciders.passes_by(CommandRejected, raw) for raw in (asked, other, nobodys)] == [False, True, True]
    refusal = CommandRejected(subject_id="a", command_id="c", command_type="t", code=ErrorCode.ABORTED, message="m")
    for text in ("", "errands", "errands/errand/", "trials/errand/e1", "errands/other/e1"):
        assert deciders.concerned(refusal, text) == []


def test_contexts_that_order_nothing_hear_no_refusals() -> None:
    assert not Deciders(Jobs()).routes(CommandRejected)
    assert not Deciders(Jobs()).dispatching


# Forged origins


@pytest.mark.parametrize("source", ["forgelog", "forgelog/jobs", "", "forgelog/errands/x"])
def test_only_the_service_of_a_context_may_say_that_its_aggregate_orders(source: str) -> None:
    both = Both()
    (order,) = orders_of(Errands(), both.run("shop"), "errands")
    (refused,) = both.jobs.take(order.command, meta_of(order)._replace(source=source))
    assert isinstance(refused.data, CommandRejected)
    assert [each.field for each in refused.data.errors] == ["ce_origin"]
    assert refused.meta.origin == "", "else the errand would be told that its order was refused"


@pytest.mark.parametrize(
    ("source", "origin", "accepted"),
    [
        ("forgelog/deployments", "deployments/deployment/web", True),
        ("forgelog/errands", ORIGIN, False),
        ("somebody", "", False),
    ],
)
def test_a_decision_knows_who_orders(source: str, origin: str, accepted: bool) -> None:
    """Jobs give ids of replicas to deployments alone."""
    spec = JobSpec(metadata=JobMetadata(name="a"), command="true")
    meta = Meta("r", SubmitJob.type_name(), "", NOW, VISION, "owner", source, origin=origin)
    told = Side(Jobs()).take(SubmitJob(job_id=f"dep.web.1.0{id_ending(VISION)}", spec=spec), meta)
    if accepted:
        assert isinstance(told[0].data, JobSubmitted)
    else:
        assert isinstance(told[0].data, CommandRejected)
        assert [each.field for each in told[0].data.errors] == ["job_id"]


def test_an_errand_believes_what_is_said_of_its_own_job_alone() -> None:
    both = Both()
    both.run("shop")
    forged = SubmitJob(job_id=f"other{id_ending(VISION)}", spec=JobSpec(metadata=JobMetadata(name="a"), command="true"))
    meta = Meta("f", SubmitJob.type_name(), "", NOW, VISION, "owner", "forgelog/errands", origin=ORIGIN)
    both.jobs.take(forged, meta)
    ended = [each for each in both.cancel(forged.job_id) if isinstance(each.data, JobCancelled)]
    assert [each.meta.origin for each in ended] == [ORIGIN]
    assert both.errands.hear(ended[0]) == []


# Where it goes on


def test_a_position_in_the_log_says_where_orders_go_on() -> None:
    errands = Side(Errands())
    assert errands.partition.dispatched is None
    (said,) = errands.append([errands.partition.orders_sent(ReaderPosition(7, 3), NOW)])
    assert said.data == OrdersSent(subject_id="errands/0", until=7, epoch=3)
    folded = Partition(errands.deciders, 0, 1)
    folded.fold(errands.raws[0])
    kept = load(errands.deciders, 0, 1, dump(errands.partition))
    assert errands.partition.dispatched == folded.dispatched == kept.dispatched == ReaderPosition(7, 3)


class Broken(Errands):
    def dispatch(self, event: Event, at: DecisionContext) -> Sequence[Order]:
        raise RuntimeError("no idea what to order")


def dispatcher(errands: Side) -> tuple[Dispatcher, Stops]:
    stops = Stops(stops_log)
    return Dispatcher(errands.deciders, Settings(kafka="nowhere:1"), {0: errands.partition}, stops), stops


@asynccontextmanager
async def running(sends: Dispatcher) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(sends.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def stopped(stops: Stops, task: asyncio.Task[None]) -> None:
    while not len(stops):
        assert not task.done(), "the dispatcher, and its process with it, has ended"
        await asyncio.sleep(0)


def test_a_partition_that_never_dispatched_begins_behind_its_marker_and_says_so_first() -> None:
    """Else a context that learns to order would order for all its history, or a new one lose what it decides first."""
    errands = Side(Errands())
    sends, _ = dispatcher(errands)
    work: dict[int, list[Unit]] = {}
    sends.report(work, NOW)
    (said,) = errands.append(work[0])
    assert said.data == OrdersSent(subject_id="errands/0", until=1, epoch=0)
    work.clear()
    sends.hear(errands.raws)
    sends.report(work, NOW + timedelta(seconds=60))
    assert work == {}, "nothing was ordered since"


async def test_what_dispatch_raises_stops_the_orders_of_its_partition_alone() -> None:
    errands = Side(Broken())
    sends, stops = dispatcher(errands)
    work: dict[int, list[Unit]] = {}
    sends.report(work, NOW)
    errands.append(work[0])
    command = RunErrand(errand_id="shop", command="true")
    errands.take(command, Meta("c-1", RunErrand.type_name(), "", NOW, "local/default", "owner"))
    sends.hear(errands.raws)
    async with running(sends) as task:
        await stopped(stops, task)
        (stop,) = stops
        assert (stop.place, stop.kind, stop.number) == ("errands/0 orders", "orders", 0)
        assert str(stop.position) == "events.errands/0@2"
        assert "no idea what to order" in stop.text
        ((kind, place, at, end, cause),) = sends.readings()
        assert (kind, place, at, end) == ("orders", "events.errands/0", 2, 3)
        assert cause == stop.text
        again = errands.take(
            RunErrand(errand_id="fetch", command="true"),
            Meta("c-2", RunErrand.type_name(), "", NOW, "local/default", "owner"),
        )
        assert isinstance(again[0].data, ErrandAsked), "the partition goes on"
        assert not task.done()


# What can't order


class Stray(Errands):
    dispatching: ClassVar[Any] = frozenset({JobSubmitted})


class Deaf(Errands):
    asks: ClassVar[Any] = ()


class Careless(Errands):
    refused = Decider.refused


@pytest.mark.parametrize(
    ("decider", "told"),
    [(Stray, "does not list"), (Deaf, "does not say whom it asks"), (Careless, "what a refusal leads to")],
)
def test_a_decider_that_orders_says_whom_and_hears_refusals(decider: type[Errands], told: str) -> None:
    with pytest.raises(DeciderError, match=f"{decider.__name__}.*{told}"):
        Deciders(decider())


class Elsewhere(Errands):
    asks: ClassVar[Any] = ("resources",)


def test_an_order_to_a_context_that_is_not_asked_is_an_error() -> None:
    with pytest.raises(DeciderError, match=r"Elsewhere orders .*SubmitJob; name its context in `asks`"):
        orders_of(Elsewhere(), Both().run("shop"), "errands")


def test_the_page_shows_what_errands_do() -> None:
    folder = Path(__file__).parents[2] / "errands"
    page = (folder.parents[1] / "docs" / "how-to" / "dispatch.md").read_text()
    shown = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(shown) == 7
    code = (folder / "decide.py").read_text() + (folder / "language.py").read_text()
    assert [block for block in shown if block not in code] == []
