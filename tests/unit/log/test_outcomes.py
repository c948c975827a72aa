"""What a reader makes of a command's outcome, given the records in the order in which it meets them."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from events.language.common import CommandNoted, ErrorCode
from events.language.jobs import CancelJob, JobCancelled, JobQueued, JobStarted, JobSubmitted, SubmitJob, TaskCounts
from events.language.jobs.spec import JobMetadata, JobSpec
from events.log import topics
from events.log.envelope import Meta, Recorded
from events.log.first_outcomes import FirstOutcomes, first_outcome
from events.log.outcomes import Outcomes
from events.log.wire import Raw, headers_of, value_of
from events.process.settings import Settings
from events.writer.encoding import Unit
from events.writer.partition import Partition
from services.jobs.decide import Jobs
from tests import PATIENCE

NOW = datetime(2026, 5, 9, 3, 12, tzinfo=UTC)


def units(count: int, body: str = "true") -> list[list[Raw]]:
    """The same command, so many times: what each led to."""
    partition = Partition(Jobs(), 0, 1)
    partition.epoch = 0
    command = SubmitJob(job_id="a", spec=JobSpec(metadata=JobMetadata(name="a"), command=body))
    meta = Meta("c", type(command).type_name(), "a", NOW, "local/default", "owner")
    found: list[list[Raw]] = []
    offset = 1
    for number in range(count):
        unit = partition.command(
            Raw(topics.commands("jobs"), 0, number, 0, b"a", value_of(command), headers_of(meta)), NOW
        )
        assert isinstance(unit, Unit)
        found.append([record.at("events.jobs", 0, offset + place) for place, record in enumerate(unit.records)])
        offset += len(unit.records)
    return found


COMMAND = SubmitJob(job_id="a", spec=JobSpec(metadata=JobMetadata(name="a"), command="true"))


@pytest.fixture
def _stepwise(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job counts as created once it has been started or cancelled."""
    monkeypatch.setattr(SubmitJob, "concluded_by", (JobStarted, JobCancelled))
    monkeypatch.setattr(JobCancelled, "refusal", lambda event: event.reason)


def cancelled(job: str, reason: str = "") -> Raw:
    """The log's record of it, caused by a command of somebody else."""
    event = JobCancelled(job_id=job, project="local/default", counts=TaskCounts(total=1), exit_code=143, reason=reason)
    meta = Meta("other.0", type(event).type_name(), job, NOW, "local/default", "owner", causation="other")
    headers = [*headers_of(meta), ("fl_epoch", b"0"), ("fl_cause", b"commands.jobs/0@9|d|0/1")]
    return Raw("events.jobs", 0, 40, 0, job.encode(), value_of(event), headers)


async def test_an_outcome_is_whole_when_all_its_records_were_seen() -> None:
    ((first, second),) = units(1)
    outcomes = Outcomes(Settings())
    future = outcomes.expect("c")
    outcomes.take(first)
    assert not future.done()
    outcomes.take(second)
    assert [type(each.data).__name__ for each in future.result().events] == ["JobSubmitted", "JobQueued"]


async def test_a_repeats_answer_counts_though_only_a_part_of_the_first_was_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (first, second), (note,) = units(2)

    async def read(_: FirstOutcomes, repeat: Raw, offset: int) -> list[Recorded]:
        assert offset == -1, "it was decided before the first one's append was acknowledged"
        return first_outcome([first, second], repeat)

    monkeypatch.setattr(FirstOutcomes, "read", read)
    outcomes = Outcomes(Settings())
    future = outcomes.expect("c", bare=True)
    outcomes.take(second)
    assert not future.done()
    outcomes.take(note)
    outcome = await asyncio.wait_for(future, PATIENCE)
    assert isinstance(outcome.noted, CommandNoted)
    assert [each.position.offset for each in outcome.events] == [first.offset, second.offset]


def test_the_first_outcome_is_what_is_whole_and_neither_a_repeat_nor_of_another_command() -> None:
    (first, second), (again,), (note,) = units(3)
    assert [each.position.offset for each in first_outcome([first, second, again], note)] == [1, 2]
    assert first_outcome([second, again], note) == [], "it is looked for further back"
    (other, rest), *_ = units(1, body="false")
    assert first_outcome([other, rest], note) == []
    elsewhere = [("ce_project", b"lab/vision") if name == "ce_project" else (name, text) for name, text in note.headers]
    stranger = Raw(note.topic, 0, note.offset, 0, note.key, note.value, elsewhere)
    assert first_outcome([first, second], stranger) == []


@pytest.mark.usefixtures("_stepwise")
@pytest.mark.parametrize("reason", ["", "it was too late"])
async def test_a_conclusion_is_waited_for_though_nothing_but_its_aggregate_leads_to_it(reason: str) -> None:
    ((submitted, queued),) = units(1)
    outcomes = Outcomes(Settings())
    future, plain = outcomes.expect("c", until=COMMAND), outcomes.expect("c")
    for raw in (submitted, queued):
        outcomes.take(raw)
    outcomes.take(cancelled("b", "another job"))
    assert plain.result().conclusion is None
    assert not future.done()
    outcomes.take(cancelled("a", reason))
    outcome = future.result()
    assert outcome.conclusion is not None
    assert isinstance(outcome.conclusion.data, JobCancelled)
    assert [type(each.data) for each in outcome.events] == [JobSubmitted, JobQueued]
    refused = outcome.refused
    assert (refused and (refused.code, refused.message)) == (
        (ErrorCode.FAILED_PRECONDITION, reason) if reason else None
    )


@pytest.mark.usefixtures("_stepwise")
async def test_a_conclusion_may_be_read_before_the_outcome_and_counts_only_with_it() -> None:
    ((submitted, queued),) = units(1)
    outcomes = Outcomes(Settings())
    future = outcomes.expect("c", until=COMMAND)
    outcomes.take(cancelled("a"))
    assert not future.done()
    outcomes.take(submitted)
    outcomes.take(queued)
    assert future.result().conclusion is not None


@pytest.mark.usefixtures("_stepwise")
async def test_what_concludes_another_s_creation_of_that_id_does_not_conclude_a_refused_one() -> None:
    command = COMMAND.model_copy(update={"spec": COMMAND.spec.model_copy(update={"command": "false"})})
    partition = Partition(Jobs(), 0, 1)
    partition.epoch = 0
    answers = []
    for number, (id, body) in enumerate([("first", COMMAND), ("c", command)]):
        meta = Meta(id, SubmitJob.type_name(), "a", NOW, "local/default", "owner")
        raw = Raw(topics.commands("jobs"), 0, number, 0, b"a", value_of(body), headers_of(meta))
        answers.append(partition.command(raw, NOW))
    refusal = answers[1]
    assert isinstance(refusal, Unit)
    outcomes = Outcomes(Settings())
    future = outcomes.expect("c", until=command)
    outcomes.take(cancelled("a"))
    outcomes.take(refusal.records[0].at("events.jobs", 0, 9))
    assert future.result().conclusion is None
    refused = future.result().refused
    assert refused is not None
    assert refused.code is ErrorCode.ALREADY_EXISTS


@pytest.mark.usefixtures("_stepwise")
async def test_who_waits_no_more_for_a_conclusion_leaves_nothing_behind() -> None:
    ((submitted, queued),) = units(1)
    outcomes = Outcomes(Settings())
    futures = [outcomes.expect("c", until=COMMAND) for _ in range(3)]
    futures[0].cancel()
    outcomes.take(submitted)
    outcomes.take(queued)
    futures[1].cancel()
    outcomes.take(cancelled("a"))
    assert futures[2].result().conclusion is not None
    await asyncio.sleep(0)
    assert outcomes.expected == 0
    assert outcomes._concluding == {}


async def test_a_command_of_one_step_has_no_conclusion() -> None:
    outcomes = Outcomes(Settings())
    with pytest.raises(ValueError, match="CancelJob has no conclusion"):
        outcomes.expect("c", until=CancelJob(job_id="a"))
    assert outcomes.expected == 0


class Searched:
    """The log, looked into for a conclusion by who asks again: each search ends when it is told what it finds."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, first: list[Raw]) -> None:
        self.begun = asyncio.Event()
        self.found: asyncio.Future[Recorded | None] = asyncio.get_running_loop().create_future()

        async def read(_: FirstOutcomes, repeat: Raw, _offset: int) -> list[Recorded]:
            return first_outcome(first, repeat)

        async def search(*_: object) -> Recorded | None:
            self.begun.set()
            return await self.found

        monkeypatch.setattr(FirstOutcomes, "read", read)
        monkeypatch.setattr("events.log.outcomes.search", search)


@pytest.mark.usefixtures("_stepwise")
@pytest.mark.parametrize("earlier", [True, False])
async def test_a_repeat_is_told_what_concluded_the_creation_before_it_though_more_comes_meanwhile(
    monkeypatch: pytest.MonkeyPatch, earlier: bool
) -> None:
    first, (note,) = units(2)
    searched, outcomes = Searched(monkeypatch, first), Outcomes(Settings())
    future = outcomes.expect("c", until=COMMAND)
    outcomes.take(cancelled("a", "what came meanwhile"))
    outcomes.take(note)
    await asyncio.wait_for(searched.begun.wait(), PATIENCE)
    assert not future.done()
    searched.found.set_result(cancelled("a", "what came first").decode() if earlier else None)
    outcome = await asyncio.wait_for(future, PATIENCE)
    assert outcome.refused is not None
    assert outcome.refused.message == ("what came first" if earlier else "what came meanwhile")


@pytest.mark.usefixtures("_stepwise")
async def test_who_asks_again_amid_the_first_outcome_is_told_of_a_conclusion_that_was_read_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Partitions are read in any order: the conclusion, then whoever asks again, then the outcome."""
    first, (note,) = units(2)
    searched, outcomes = Searched(monkeypatch, first), Outcomes(Settings())
    outcomes.take(cancelled("a"))
    future = outcomes.expect("c", until=COMMAND)
    for raw in (*first, note):
        outcomes.take(raw)
    searched.found.set_result(cancelled("a").decode())
    outcome = await asyncio.wait_for(future, PATIENCE)
    assert [type(each.data) for each in outcome.events] == [JobSubmitted, JobQueued]
    assert outcome.conclusion is not None
