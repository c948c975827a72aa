"""What a decider asks of another context before it orders: answers, refusals, services that are down, and crashes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from events.language.common import CommandNoted, CommandRejected, ErrorCode, Refused
from events.language.jobs import JobSubmitted, SubmitJob
from events.log.partitioner import partition_of
from events.log.positions import ReaderPosition
from events.log.publish import Outgoing
from events.log.wire import Raw
from events.process.settings import Settings
from events.writer import dispatch, questions
from events.writer.decider import Decider, Question
from events.writer.deciders import DeciderError, Deciders
from events.writer.dispatch import Dispatcher
from events.writer.inputs import log as stops_log
from events.writer.orders import orders_of, questions_of
from events.writer.questions import Unanswered
from events.writer.stops import Stops
from forgelog_pb.jobs.v1.queries_pb2 import GetJobResponse
from tests.errands.decide import Errands
from tests.errands.language import DropErrand, ErrandEnded, Outcome
from tests.unit.writer.test_dispatch import NOW, Both, errands, meta_of, running, stopped

__all__ = ["errands"]

pytestmark = pytest.mark.usefixtures("errands")


def job(command: str) -> GetJobResponse:
    answer = GetJobResponse()
    answer.spec.command = command
    return answer


GONE = Refused(ErrorCode.NOT_FOUND, "there is no job gone")


def test_the_answer_says_what_is_ordered() -> None:
    asked = Both().run("shop", like="tea")
    (question,) = questions_of(Errands(), asked)
    assert (question.context, question.method, question.request.job_id) == ("jobs", "GetJob", "tea")
    (order,) = orders_of(Errands(), asked, "errands", [job("brew")])
    assert isinstance(order.command, SubmitJob)
    assert (order.command.spec.command, order.id) == ("brew", f"{asked.meta.id}.o0-0")


def test_a_refused_question_is_an_answer_which_an_aggregate_can_order_of_itself() -> None:
    both = Both()
    asked = both.run("shop", like="gone")
    (order,) = orders_of(Errands(), asked, "errands", [GONE])
    assert isinstance(order.command, DropErrand)
    (ended,) = both.errands.take(order.command, meta_of(order))
    assert isinstance(ended.data, ErrandEnded)
    assert (ended.data.outcome, ended.data.reason) == (Outcome.REFUSED, "there is no job gone")


def test_of_two_orders_upon_two_answers_the_first_counts_whatever_it_does() -> None:
    """After a crash between an order and the record that says so, the question is asked once more."""
    both = Both()
    asked = both.run("shop", like="tea")
    first, again = (orders_of(Errands(), asked, "errands", [job(each)])[0] for each in ("brew", "steep"))
    (submitted, _) = both.jobs.take(first.command, meta_of(first))
    assert isinstance(submitted.data, JobSubmitted)
    (noted,) = both.jobs.take(again.command, meta_of(again))
    assert isinstance(noted.data, CommandNoted)
    gone, other = (
        orders_of(Errands(), asked, "errands", [Refused(ErrorCode.NOT_FOUND, each)])[0] for each in ("gone", "not here")
    )
    (ended,) = both.errands.take(gone.command, meta_of(gone))
    assert isinstance(ended.data, ErrandEnded)
    (noted,) = both.errands.take(other.command, meta_of(other))
    assert isinstance(noted.data, CommandNoted)
    assert noted.data.repeat, "an order that creates nothing is a repeat too"


def test_a_stranger_s_command_under_an_order_s_id_is_no_order_though_it_says_the_same() -> None:
    both = Both()
    (order,) = orders_of(Errands(), both.run("shop"), "errands")
    stranger = meta_of(order)._replace(origin="", source="", actor="owner")
    (submitted, _) = both.jobs.take(order.command, stranger)
    assert isinstance(submitted.data, JobSubmitted)
    (refused,) = both.jobs.take(order.command, meta_of(order))
    assert isinstance(refused.data, CommandRejected), "the errand hears that this job is not its own"
    assert refused.meta.origin == order.origin


class Wrong(Errands):
    consults = ("scheduling",)


class Silent(Errands):
    consults = ()


def test_who_is_asked_is_named() -> None:
    asked = Both().run("shop", like="tea")
    with pytest.raises(DeciderError, match=r"Wrong asks jobs GetJob; name it in `consults`"):
        questions_of(Wrong(), asked)
    with pytest.raises(DeciderError, match=r"Silent asks jobs GetJob; name it in `consults`"):
        orders_of(Silent(), asked, "errands")
    deaf = type("Deaf", (Errands,), {"answered": Decider.answered})
    with pytest.raises(DeciderError, match="Deaf consults jobs and does not use an answer; override `answered`"):
        Deciders(deaf())


class Published:
    """What a dispatcher sent."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.orders: list[Outgoing] = []
        sent = self.orders

        async def publish_many(_publisher: Any, orders: Sequence[Outgoing]) -> None:
            sent.extend(orders)

        monkeypatch.setattr("events.log.publish.Publisher.publish_many", publish_many)

    async def count(self, count: int) -> list[Any]:
        while len(self.orders) < count:
            await asyncio.sleep(0)
        return [order.command for order in self.orders]


class Jobs:
    """The service that is asked; up from `up` on."""

    def __init__(self) -> None:
        self.up = asyncio.Event()
        self.asked: list[tuple[str, Sequence[str]]] = []

    async def ask(self, question: Question, at_least: Sequence[str]) -> Any:
        self.asked.append((question.request.job_id, tuple(at_least)))
        if not self.up.is_set():
            raise Unanswered("the jobs service does not answer")
        return job(f"as-{question.request.job_id}")


async def test_a_service_that_is_down_delays_the_orders_of_one_partition_and_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(questions, "AGAIN", 0.0)
    monkeypatch.setattr(dispatch, "NAMED_AFTER", 0.0)
    published, jobs = Published(monkeypatch), Jobs()
    first, second = Both(), Both()
    first.run("milk", id="c-1")
    first.run("tea", id="c-2", like="leaves")
    first.run("eggs", id="c-3")
    second.run("salt", id="c-4")
    second.errands.partition.number = 1
    sides = {0: first.errands.partition, 1: second.errands.partition}
    stops = Stops(stops_log)
    sends = Dispatcher(first.errands.deciders, Settings(kafka="nowhere:1"), sides, stops, jobs.ask)
    sends.hear(first.errands.raws)
    (salt,) = second.errands.raws
    elsewhere = Raw("events.errands", 1, salt.offset, salt.timestamp, salt.key, salt.value, salt.headers)
    async with running(sends) as task:
        await stopped(stops, task)
        sends.hear([elsewhere])
        names = {each.spec.metadata.name.partition(".")[0] for each in await published.count(2)}
        assert names == {"milk", "salt"}
        (stop,) = stops
        assert (stop.place, stop.kind) == ("errands/0 orders", "orders")
        assert "the jobs service does not answer" in stop.text
        causes = {place: cause for _, place, _, _, cause in sends.readings()}
        assert "does not answer" in causes["events.errands/0"]
        assert causes["events.errands/1"] == ""
        jobs.up.set()
        rest = (await published.count(4))[2:]
    assert [each.spec.command for each in rest] == ["as-leaves", "true"], "in the order of their events"
    assert len(stops) == 0
    assert set(jobs.asked) == {("leaves", ())}


async def test_what_answered_raises_stops_the_orders_at_that_event(monkeypatch: pytest.MonkeyPatch) -> None:
    class Puzzled(Errands):
        def answered(self, *_: Any) -> Any:
            raise RuntimeError("what now?")

    Published(monkeypatch)
    both, jobs = Both(), Jobs()
    jobs.up.set()
    asked = both.run("tea", like="leaves")
    stops = Stops(stops_log)
    deciders = Deciders(Puzzled())
    sends = Dispatcher(deciders, Settings(kafka="nowhere:1"), {0: both.errands.partition}, stops, jobs.ask)
    sends.hear(both.errands.raws)
    async with running(sends) as task:
        await stopped(stops, task)
    (stop,) = stops
    assert (stop.place, stop.position) == ("errands/0 orders", asked.position)
    assert "what now?" in stop.text


@pytest.mark.parametrize("heard", [True, False], ids=["its events still come", "nothing is heard of it"])
async def test_who_loses_a_partition_asks_no_more_for_it(heard: bool) -> None:
    both, jobs = Both(), Jobs()
    both.run("tea", like="leaves")
    partitions = {0: both.errands.partition}
    sends = Dispatcher(both.errands.deciders, Settings(kafka="nowhere:1"), partitions, Stops(stops_log), jobs.ask)
    sends.hear(both.errands.raws)
    async with running(sends):
        while not jobs.asked:
            await asyncio.sleep(0)
        asked = sends._places[0].asked
        assert asked is not None
        partitions.clear()
        assert list(sends.readings()) == []
        if heard:
            sends.hear(both.errands.raws)
        else:
            sends.report({}, NOW)
        assert sends._places == {}, "nor are its events kept"
        await asyncio.wait([asked.answers])
        assert asked.answers.cancelled()


async def test_an_answer_knows_of_what_led_to_the_question() -> None:
    asked = Both()
    recorded = asked.run("tea", like="leaves")
    (question,) = questions_of(Errands(), recorded)
    seen = Jobs()
    seen.up.set()
    of_job = Raw("events.errands", 0, 1, 0, b"tea", b"{}", (("fl_cause", b"events.jobs/3@17|4|0/1"),))
    await questions.answers(seen.ask, [question], of_job, lambda _: None, lambda _: "")
    await questions.answers(seen.ask, [question], asked.errands.raws[0], lambda _: None, lambda _: "")
    await questions.answers(seen.ask, [question], of_job, lambda _: None, lambda _: "events.jobs/1@5")
    await questions.answers(seen.ask, [question], of_job, lambda _: None, lambda _: "events.jobs/3@17")
    assert [at_least for _, at_least in seen.asked] == [
        ("events.jobs/3@17",),
        (),
        ("events.jobs/3@17", "events.jobs/1@5"),
        ("events.jobs/3@17",),
    ]


class Hearing(Errands):
    """Asks about a job that it hears of."""

    def dispatch(self, event: Any, at: Any) -> Sequence[Any]:
        found = super().dispatch(event, at)
        return [each._replace(subject="leaves") if isinstance(each, Question) else each for each in found]


@pytest.mark.parametrize(("heard", "known"), [(7, "@6"), (0, "")])
async def test_an_answer_knows_what_was_heard_of_its_subject_before(
    monkeypatch: pytest.MonkeyPatch, heard: int, known: str
) -> None:
    """What the partition has passed without a look it never hears again: the answer must have it."""
    published, jobs, both = Published(monkeypatch), Jobs(), Both()
    jobs.up.set()
    both.run("tea", like="leaves")
    place = partition_of("leaves", 4)
    for number in range(4):
        both.errands.partition.passed("events.jobs", number, ReaderPosition(heard if number == place else 90))
    tail: Any = SimpleNamespace(positions={(name, number): None for name in ("errands", "jobs") for number in range(4)})
    deciders, partitions = Deciders(Hearing()), {0: both.errands.partition}
    sends = Dispatcher(deciders, Settings(kafka="nowhere:1"), partitions, Stops(stops_log), jobs.ask, lambda: tail)
    sends.hear(both.errands.raws)
    async with running(sends):
        await published.count(1)
    assert jobs.asked == [("leaves", (f"events.jobs/{place}{known}",) if known else ())]
