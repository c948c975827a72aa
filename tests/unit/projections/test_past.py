"""The past of tables: the rows as of a time are those that the events up to that time make, for random histories of
every context and batches of any size."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import settings

from events.language.base import Event
from events.language.common import LogEvent
from events.language.jobs import JobSubmitted, JobTasksCancelled
from events.language.jobs.spec import JobMetadata, JobSpec
from events.log.envelope import Meta, Position, Recorded
from events.projections.folding import Fold, SharedRow, Unfoldable
from events.projections.projection import Projection, Table
from services.jobs.projections import PROJECTION as JOBS
from services.resources.projections import PROJECTION as RESOURCES
from services.scheduling.projections import PROJECTION as SCHEDULING
from tests.golden.folding import valid
from tests.golden.history import recorded as golden
from tests.unit.jobs.test_machine import Life
from tests.unit.projections.past import Stored, check, spread, stored
from tests.unit.resources.test_machine import PoolMachine
from tests.unit.scheduling.test_machine import QueueMachine
from tests.unit.writer.sample import JOBS as SAMPLE
from tests.unit.writer.sample import SampleProjection

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def recorded(event: Event, time: datetime, partition: int = 0) -> Recorded:
    meta = Meta("e", type(event).type_name(), event.subject(), time, "local/default", "owner")
    return Recorded(event, meta, event.key(), Position(f"events.{type(event).context}", partition, 0))


# Random histories


class PastOfJobs(Life):
    def teardown(self) -> None:
        history = [
            recorded(event, time, number)
            for number, events in enumerate(self.desk.history.values())
            for event, time in events
        ]
        check(JOBS, history)


class PastOfPools(PoolMachine):
    def __init__(self) -> None:
        super().__init__()
        self.history: list[Recorded] = []

    def note(self, events: list[Event]) -> None:
        self.history += [recorded(event, self.pool.now) for event in events]
        super().note(events)

    def teardown(self) -> None:
        check(RESOURCES, spread(self.history))


class PastOfQueues(QueueMachine):
    """What queues and pools say, as the two topics would bring it."""

    def __init__(self) -> None:
        super().__init__()
        self.history: list[Recorded] = []

    def queue_says(self, events: list[Event]) -> None:
        self.history += [recorded(event, self.queue.now) for event in events]
        super().queue_says(events)

    def pool_says(self, events: list[Event]) -> None:
        self.history += [recorded(event, self.queue.now, 1) for event in events]
        super().pool_says(events)

    def teardown(self) -> None:
        check(SCHEDULING, spread(self.history))


TestPastOfJobs = PastOfJobs.TestCase
TestPastOfPools = PastOfPools.TestCase
TestPastOfQueues = PastOfQueues.TestCase
for machine in (TestPastOfJobs, TestPastOfPools, TestPastOfQueues):
    machine.settings = settings(max_examples=30, stateful_step_count=20, deadline=None)


# Histories that a platform has recorded


@pytest.mark.parametrize("projection", [JOBS, RESOURCES, SCHEDULING], ids=lambda each: each.context)
def test_recorded_histories_have_an_exact_past(projection: Projection) -> None:
    for history in golden():
        seen = [raw.decode() for name in projection.contexts for raw in valid(history, name, markers=False)]
        check(projection, [each for each in seen if not isinstance(each.data, LogEvent)])


# What a version is


def submitted(seconds: float, id: str = "one") -> Recorded:
    spec = JobSpec(metadata=JobMetadata(name=id), command="true")
    event = JobSubmitted(job_id=id, project="local/default", owner="owner", spec=spec)
    return recorded(event, NOON + timedelta(seconds=seconds))


def cancelled(seconds: float) -> Recorded:
    return recorded(JobTasksCancelled(job_id="one", tasks="0", reason="test"), NOON + timedelta(seconds=seconds))


def versions(*history: Recorded, most: int = 1) -> list[tuple[int, float, float | None]]:
    """Of the sample's row: how often its job was cancelled, since when and until when, in seconds."""
    with pytest.MonkeyPatch.context() as patch:
        found = stored(SampleProjection(), history, patch, most=most)
    seconds = lambda time: (time - NOON).total_seconds()  # noqa: E731
    past = [(row["cancelled"], seconds(since), seconds(until)) for row, since, until in found.past.get("jobs", [])]
    return [*past, *((row["cancelled"], seconds(since), None) for row, since in found.rows["jobs"].values())]


@pytest.mark.parametrize("most", [1, 10])
def test_each_time_of_a_change_makes_a_version(most: int) -> None:
    found = versions(submitted(0), cancelled(1), cancelled(5), cancelled(9), most=most)
    assert found == [(0, 0, 1), (1, 1, 5), (2, 5, 9), (3, 9, None)]


@pytest.mark.parametrize("most", [1, 10])
def test_changes_at_one_time_are_one_version(most: int) -> None:
    found = versions(submitted(0), cancelled(0), cancelled(5), cancelled(5), cancelled(5), most=most)
    assert found == [(1, 0, 5), (4, 5, None)]


def test_a_time_before_the_last_one_makes_no_version_that_ends_before_it_begins() -> None:
    assert versions(submitted(5), cancelled(3), cancelled(7)) == [(1, 5, 7), (2, 7, None)]


async def test_a_deleted_row_is_past_and_one_that_comes_again_begins_anew() -> None:
    with pytest.MonkeyPatch.context() as patch:
        found, fold = Stored(patch), Fold(Coming())
        for seconds, id in enumerate(["one", "gone", "gone", "one"]):
            await fold.apply(None, [submitted(seconds, id)])  # type: ignore[arg-type]
    (row, since) = found.rows["jobs"]["one",]
    assert since == NOON + timedelta(seconds=3)
    assert found.past["jobs"] == [(row, NOON, NOON + timedelta(seconds=1))]


class Coming(Projection):
    """A row that the job ``gone`` takes away."""

    context = "jobs"
    tables = (Table(name="jobs", key=("id",), columns={"id": "text"}),)

    def touches(self, _recorded: Recorded) -> list[tuple[Table, tuple[str]]]:
        return [(self.tables[0], ("one",))]

    def project(self, recorded: Recorded, rows: Fold) -> None:  # type: ignore[override]
        if recorded.meta.subject == "gone":
            rows.delete(self.tables[0], ("one",))
        else:
            rows.put(self.tables[0], {"id": "one"})


# A row depends on events of one place


class Sharing(SampleProjection):
    """Every event changes, or with `reads` looks at, the row of the job ``one``."""

    reads = False

    def touches(self, recorded: Recorded) -> list[tuple[Table, tuple[str]]]:
        return [(SAMPLE, ("one",)), (SAMPLE, (recorded.meta.subject,))]

    def project(self, recorded: Recorded, rows: Fold) -> None:  # type: ignore[override]
        if self.reads:
            rows.get(SAMPLE, ("one",))
        super().project(recorded, rows)


class Reading(Sharing):
    reads = True


@pytest.mark.parametrize("projection", [Sharing(), Reading()])
async def test_a_row_of_two_places_is_refused(projection: Sharing) -> None:
    here = submitted(0)
    there = submitted(1, "one" if not projection.reads else "two")
    there = Recorded(there.data, there.meta, there.key, Position("events.jobs", 1, 0))
    with pytest.MonkeyPatch.context() as patch:
        Stored(patch)
        fold = Fold(projection)
        with pytest.raises(
            Unfoldable, match=r"SharedRow: jobs\('one',\) depends on events of events.jobs/0 and of"
        ) as told:
            await fold.apply(None, [here, there])  # type: ignore[arg-type]
    assert isinstance(told.value.__cause__, SharedRow)


def test_a_column_may_not_have_the_name_of_a_hidden_one() -> None:
    with pytest.raises(ValueError, match="every table has since; name yours otherwise"):
        Table(name="t", key=("id",), columns={"id": "text", "since": "timestamptz"})
