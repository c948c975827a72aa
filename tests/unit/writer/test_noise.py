"""Given reads that bring nothing a writer waits for, then its tail rests; what is waited for ends that."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

from events.language.common import WriterStarted
from events.language.jobs import JobCompleted, JobStarted, JobSubmitted
from events.log.wire import Raw
from events.writer import noise
from events.writer.decider import BY_ORIGIN
from events.writer.deciders import gathered
from events.writer.noise import BACKLOG, READS, REST, WITHIN, Noise, Reading
from tests.unit.writer.sample import SampleDecider


class Listener(SampleDecider):
    """Hears of every submit at once, of ends in no hurry, and of starts where it ordered the job."""

    routes: ClassVar[Any] = {
        JobSubmitted: lambda event: (event.job_id,),
        JobCompleted: lambda event: (event.job_id,),
        JobStarted: BY_ORIGIN,
    }
    unhurried = frozenset({JobCompleted})


WANTED = JobSubmitted.type_name()
OTHER = "forgelog.experiments.v1.RunCreated"


def raw(type_name: str, origin: str = "") -> Raw:
    return Raw("events.jobs", 0, 0, 0, b"", b"", (("ce_type", type_name.encode()), ("ce_origin", origin.encode())))


def judging() -> Noise:
    return Noise(gathered(Listener()))


def heard(judge: Noise, reads: int, every: float, *, begin: float = 0.0) -> float:
    """What it says after so many vain reads, one each `every` seconds."""
    rest = 0.0
    for number in range(reads):
        rest = judge.rest([raw(OTHER)], begin + number * every)
    return rest


def test_many_vain_reads_in_a_short_time_lead_to_a_rest_after_each_further_one() -> None:
    judge = judging()
    assert heard(judge, READS - 1, 0.001) == 0.0
    assert judge.rest([raw(OTHER)], 0.1) == REST
    assert judge.rest([raw(OTHER)], 0.2) == REST


def test_a_few_reads_or_slow_ones_lead_to_none() -> None:
    assert heard(judging(), 10 * READS, 2 * WITHIN / READS) == 0.0


def test_what_is_wanted_ends_the_rests() -> None:
    for type_name in (WANTED, WriterStarted.type_name()):
        judge = judging()
        assert heard(judge, READS, 0.001) == REST
        assert judge.rest([raw(OTHER), raw(type_name)], 0.1) == 0.0
        assert heard(judge, READS - 1, 0.001, begin=0.2) == 0.0


def test_of_what_may_wait_only_what_this_context_ordered_is_wanted() -> None:
    for kind in (JobCompleted, JobStarted):
        judge = judging()
        assert heard(judge, READS, 0.001) == REST
        assert judge.rest([raw(kind.type_name())], 0.1) == REST
        assert judge.rest([raw(kind.type_name(), "jobsy/job/a/0")], 0.11) == REST
        assert judge.rest([raw(kind.type_name(), "jobs/job/a/0")], 0.12) == 0.0


def test_an_event_that_one_decider_may_not_wait_for_is_wanted() -> None:
    class Hasty(Listener):
        unhurried: ClassVar[Any] = frozenset()

    judge = Noise(gathered(Hasty()))
    assert heard(judge, READS, 0.001) == REST
    assert judge.rest([raw(JobCompleted.type_name())], 0.1) == 0.0


def test_a_backlog_is_read_without_a_rest() -> None:
    judge = judging()
    assert heard(judge, READS, 0.001) == REST
    assert judge.rest([raw(OTHER)] * BACKLOG, 0.1) == 0.0


class Told:
    """In place of a `Tail`: gives records, and keeps what it was told."""

    def __init__(self, *given: str) -> None:
        self.given = list(given)
        self.calls: list[str] = []

    async def poll_raw(self, timeout: float) -> list[Raw]:
        self.calls.append("read")
        return [raw(self.given.pop(0))]

    def rest(self) -> None:
        self.calls.append("rest")

    def go_on(self) -> None:
        self.calls.append("go on")


async def test_a_cancelled_rest_loses_nothing_and_the_tail_goes_on(monkeypatch: Any) -> None:
    monkeypatch.setattr(noise, "REST", 60.0)
    reading = Reading(gathered(SampleDecider()))
    tail: Any = Told(*[OTHER] * (READS + 1))
    found = [await reading.next(tail, 1.0) for _ in range(READS)]
    assert all(found)
    assert tail.calls == ["read"] * READS + ["rest"]
    resting = asyncio.create_task(reading.next(tail, 1.0))
    await asyncio.sleep(0)
    resting.cancel()
    await asyncio.gather(resting, return_exceptions=True)
    assert tail.calls[READS:] == ["rest", "go on"]
    assert len(tail.given) == 1, "nothing was read, so nothing is lost"
    await reading.next(tail, 1.0)
    assert tail.given == []
