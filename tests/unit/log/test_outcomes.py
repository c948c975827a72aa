"""What a reader makes of a command's outcome, given the records in the order in which it meets them."""

from __future__ import annotations

from datetime import UTC, datetime

from events.language.common import CommandNoted
from events.language.jobs import SubmitJob
from events.language.jobs.spec import JobMetadata, JobSpec
from events.log import topics
from events.log.envelope import Meta
from events.log.outcomes import Outcomes
from events.log.wire import Raw, headers_of, value_of
from events.process.settings import Settings
from events.writer.encoding import Unit
from events.writer.partition import Partition
from services.jobs.decide import Jobs

NOW = datetime(2026, 5, 9, 3, 12, tzinfo=UTC)


def units(count: int) -> list[list[Raw]]:
    """The same command, so many times: what each led to."""
    partition = Partition(Jobs(), 0, 1)
    partition.epoch = 0
    command = SubmitJob(job_id="a", spec=JobSpec(metadata=JobMetadata(name="a"), command="true"))
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


async def test_an_outcome_is_whole_when_all_its_records_were_seen() -> None:
    ((first, second),) = units(1)
    outcomes = Outcomes(Settings())
    future = outcomes.expect("c")
    outcomes.take(first)
    assert not future.done()
    outcomes.take(second)
    assert [type(each.data).__name__ for each in future.result().events] == ["JobSubmitted", "JobQueued"]


async def test_a_repeats_answer_counts_though_only_a_part_of_the_first_was_seen() -> None:
    (_, second), (note,) = units(2)
    outcomes = Outcomes(Settings())
    future = outcomes.expect("c", bare=True)
    outcomes.take(second)
    assert not future.done()
    outcomes.take(note)
    assert isinstance(future.result().noted, CommandNoted)
