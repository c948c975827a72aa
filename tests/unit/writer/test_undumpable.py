"""A state that can't be dumped keeps its partition from snapshots and from packing, not from work: a notice says so."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest

from events.language.jobs import CancelJob, JobTasksCancelled, SubmitJob
from events.language.jobs.spec import JobMetadata, JobSpec
from events.log.envelope import Meta
from events.log.positions import ReaderPosition
from events.log.wire import Raw, headers_of, value_of
from events.process.settings import Settings
from events.writer import dedup
from events.writer import states as states_module
from events.writer.encoding import Unit
from events.writer.partition import Partition
from events.writer.snapshots import Snapshots
from events.writer.states import States
from tests.unit.writer.sample import Sample, SampleDecider

NOWHERE = "postgres://nowhere:1/x"
NOW = datetime(2026, 5, 9, 3, 12, tzinfo=UTC)


@dataclass
class Wrong:
    """What goes wrong with the state of `odd`: in `dump`, or when what it gave is written."""

    raises: bool = True
    mended: bool = False


class Undumpable(SampleDecider):
    def __init__(self, wrong: Wrong) -> None:
        self.wrong = wrong

    def may_passivate(self, state: Sample) -> bool:
        return state.cancelled > 0

    def dump(self, state: Sample) -> dict[str, Any]:
        if state.told == 7 and not self.wrong.mended:
            if self.wrong.raises:
                raise RuntimeError("no words for this state")
            return {"told": object()}
        return super().dump(state)


WAYS = pytest.mark.parametrize("raises", [True, False], ids=["dump raises", "what it gives can't be written"])


@WAYS
async def test_a_snapshot_that_can_not_be_taken_is_a_notice_and_tried_again_later(raises: bool) -> None:
    wrong = Wrong(raises)
    partition: Partition = Partition(Undumpable(wrong), 3, 4, next_offset=9, folded=10)
    partition.epoch = 0
    partition.kinds["job"].states["odd"] = Sample(True, 0, 7)
    snapshots = Snapshots(
        Settings(postgres="postgres://nowhere:1/x"), asyncpg.create_pool("postgres://nowhere:1/x"), 10
    )
    await offered(snapshots, partition)
    (notice,) = snapshots.notices([3])
    assert notice.startswith("no snapshot of jobs/3: ")
    assert ("no words for this state" if raises else "not JSON serializable") in notice
    assert snapshots.notices([]) == [], "it is another process's partition"
    for folded, due in ((10, False), (19, False), (20, True)):
        partition.folded = folded
        assert snapshots.due(partition) is due
    await offered(snapshots, partition)
    partition.folded = 39
    assert not snapshots.due(partition)
    wrong.mended = True
    partition.folded = 40
    await offered(snapshots, partition)
    assert snapshots.notices([3]) == []


async def test_snapshots_are_as_seldom_as_what_is_remembered_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands that are remembered by hashes can be most of a snapshot."""
    monkeypatch.setattr(dedup, "NEWEST", 0)
    partition: Partition = Partition(SampleDecider(), 3, 4)
    for number in range(800):
        partition.dedup.remember(f"c-{number}", "d", number, NOW)
    snapshots = Snapshots(Settings(postgres=NOWHERE), asyncpg.create_pool(NOWHERE), 10)
    for folded, due in ((99, False), (100, True)):
        partition.folded = folded
        assert snapshots.due(partition) is due


async def offered(snapshots: Snapshots, partition: Partition) -> None:
    """Offer it until what was taken is encoded, and stored or given up."""
    snapshots.offer(partition, ReaderPosition(0, 0))
    while (held := snapshots._held.get(partition.number)) is not None:
        await asyncio.wait([held[2]])
        snapshots.offer(partition, ReaderPosition(9, 0))
    for task in list(snapshots._storing):
        task.cancel()


@WAYS
def test_a_state_that_can_not_be_packed_stays_at_work_and_the_others_are_packed(
    raises: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(states_module, "PACK", 3)
    wrong = Wrong(raises)
    states: States[Sample] = States(Undumpable(wrong))
    kept = {f"job{number}": Sample(True, 1, 7 if number == 1 else 0) for number in range(6)}
    for key, state in kept.items():
        states[key] = state
        states.passivate(key, True)
    assert {key: states.get(key) for key in kept} == kept
    assert set(dict(states.items())) == {"job1", "job3", "job4", "job5"}
    assert "the state of job job1 can't be packed" in states.trouble
    wrong.mended = True
    for key in ("job1", "job6", "job7"):
        states[key] = kept.get(key, Sample(True, 1))
        states.passivate(key, True)
    assert states.trouble == ""


def test_an_event_is_not_blamed_for_a_state_that_can_not_be_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Packing comes with the event that brings enough states to rest, which may be any."""
    monkeypatch.setattr(states_module, "PACK", 1)
    partition: Partition = Partition(Undumpable(Wrong()), 0, 1)
    partition.epoch = 0
    partition.kinds["job"].states["odd"] = Sample(True, 1, 7)
    partition.kinds["job"].states.passivate("odd", True)
    raws: list[Raw] = []
    for offset, command in enumerate(
        (SubmitJob(job_id="a", spec=JobSpec(metadata=JobMetadata(name="a"), command="true")), CancelJob(job_id="a"))
    ):
        meta = Meta(f"c-{offset}", type(command).type_name(), "", NOW, "local/default", "owner")
        unit = partition.command(Raw("commands.jobs", 0, offset, 0, b"", value_of(command), headers_of(meta)), NOW)
        assert isinstance(unit, Unit)
        raws += [each.at("events.jobs", 0, 1 + len(raws) + place) for place, each in enumerate(unit.records)]
    assert JobTasksCancelled.type_name() in {raw.type for raw in raws}
    assert "odd" in partition.kinds["job"].states.trouble
