"""Ids: assigned ones by kind, those of parts, and those of events, which no two events share."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

import pytest

from events.language.aggregates import LanguageError, check_aggregates
from events.language.base import Command
from events.language.common import PLATFORM_ACTOR, WriterStarted, is_identifier
from events.language.jobs import JobSubmitted, SubmitJob
from events.language.jobs.spec import JobDependency, JobMetadata, JobSpec
from events.language.registry import command_types
from events.log.envelope import Meta, Position, Recorded
from events.log.ids import child_id, foreign_id, id_ending, new_command_id, reaction_id, with_assigned_id
from events.log.partitioner import partition_of
from events.writer.partition import Partition
from tests.unit.writer.sample import SampleDecider
from tests.unit.writer.test_projects_apart import NOW, VISION, Log, submit

SPEC = JobSpec(metadata=JobMetadata(name="n"), command="true")


# Of aggregates


class MakeRun(Command):
    context: ClassVar[str] = "trials"
    aggregate: ClassVar[str] = "run"
    subject_from: ClassVar[str] = "run_id"
    key_from: ClassVar[str] = "run_id"
    assigns_id: ClassVar[bool] = True
    id_prefix: ClassVar[str] = "r"

    run_id: str = ""


def test_assigned_ids_begin_as_their_kind_says() -> None:
    assert with_assigned_id(MakeRun(), "c-1").subject().startswith("r")
    assert with_assigned_id(SubmitJob(spec=SPEC), "c-1").subject() == "jd5yuitifhpshy", "as before there were kinds"
    check_aggregates([SubmitJob, MakeRun])


@pytest.mark.parametrize(
    ("prefix", "told"),
    [("", "assigns ids, and id_prefix is ''"), ("R", "id_prefix is 'R'"), ("j", "how ids of job begin")],
)
def test_a_kind_without_a_prefix_of_its_own_is_refused(prefix: str, told: str) -> None:
    bad = type("Bad", (MakeRun,), {"__module__": __name__, "id_prefix": prefix})
    with pytest.raises(LanguageError, match=f"Bad: .*{told}"):
        check_aggregates([SubmitJob, bad])


class MakeSite(MakeRun):
    """Named, and so its id is its name's."""

    __module__ = __name__
    aggregate: ClassVar[str] = "site"
    id_prefix: ClassVar[str] = ""
    named_by: ClassVar[str] = "name"

    name: str


def test_an_id_may_be_the_name_that_is_given_once_in_a_project() -> None:
    assert with_assigned_id(MakeSite(name="north"), "c-1").subject() == "north"
    assert with_assigned_id(MakeSite(name="north"), "c-2", VISION).subject() == f"north{id_ending(VISION)}"
    check_aggregates([MakeSite])


@pytest.mark.parametrize("changed", [{"named_by": "no_field"}, {"id_prefix": "s"}, {"assigns_id": False}])
def test_a_name_that_can_be_no_id_is_refused(changed: dict[str, Any]) -> None:
    bad = type("Bad", (MakeSite,), {"__module__": __name__, **changed})
    with pytest.raises(LanguageError, match="Bad: named_by is"):
        check_aggregates([bad])


def test_every_prefix_of_the_language_is_one_kind_s() -> None:
    check_aggregates(command_types().values())


@pytest.mark.parametrize("project", ["local/default", VISION])
@pytest.mark.parametrize("stem", ["train", "train.model", "a" * 120, "a" * 128])
def test_the_id_of_a_part_is_one_of_its_parent_s_project(stem: str, project: str) -> None:
    parent = stem[: 128 - len(id_ending(project))] + id_ending(project)
    ids = {child_id(parent, str(number), project) for number in range(20)}
    assert len(ids) == 20
    for id in ids:
        assert is_identifier(id)
        assert foreign_id(SubmitJob(job_id=id, spec=SPEC), project) is None


def test_parts_of_different_parents_have_different_ids_however_long_these_are() -> None:
    assert child_id("train", "1") == "train.1"
    assert child_id(f"train{id_ending(VISION)}", "1", VISION) == f"train.1{id_ending(VISION)}"
    assert child_id("a" * 127 + "b", "1") != child_id("a" * 127 + "c", "1")


# Of events


def reacted(number: int, count: int, cause: Recorded) -> set[str]:
    """Ids of the events that a partition decides upon a job's submission."""
    partition = Partition(SampleDecider(), number, count)
    partition.epoch = 0
    keys = [each for each in partition.deciders.concerned(cause.data) if partition_of(each.key, count) == number]  # type: ignore[arg-type]
    unit = partition.event(cause, keys, NOW)
    assert unit is not None
    return {each.at("events.jobs", number, 1).decode().meta.id for each in unit.records}


def test_two_partitions_that_react_to_one_event_write_events_of_different_ids() -> None:
    count = 2
    first = next(f"a{each}" for each in range(99) if partition_of(f"a{each}", count) == 0)
    second = next(f"a{each}" for each in range(99) if partition_of(f"a{each}", count) == 1)
    spec = SPEC.model_copy(update={"depends_on": (JobDependency(job_id=first), JobDependency(job_id=second))})
    event = JobSubmitted(job_id="x", project="local/default", owner="owner", spec=spec)
    cause = Recorded(
        event, Meta("c-1.0", event.type_name(), "x", NOW, "local/default", "owner"), "x", Position("e", 0, 7)
    )
    ids = [reacted(number, count, cause) for number in range(count)]
    assert ids == [{"c-1.0.jobs-0.0"}, {"c-1.0.jobs-1.0"}]


def test_the_ids_of_a_long_chain_of_reactions_stay_short_and_differ() -> None:
    id, seen = "c-1.0", set[str]()
    for _ in range(1_000):
        id = f"{reaction_id(id, 'scheduling', 12)}.0"
        assert len(id) < 300
        seen.add(id)
    assert len(seen) == 1_000


def test_events_of_a_command_are_numbered_as_before() -> None:
    assert [raw.text("ce_id") for raw in Log().send(submit("a"), "c-1", "local/default")][:1] == ["c-1.0"]


def test_what_a_writer_does_by_itself_has_another_id_after_the_log_was_lost() -> None:
    """Epochs begin anew then; the marker's own id does not come again."""

    def own_id(now: datetime) -> str:
        partition = Partition(SampleDecider(), 3, 4)
        marker = Meta(new_command_id(), WriterStarted.type_name(), "jobs/3", now, "", PLATFORM_ACTOR)
        partition.begin(0, marker.id)
        return partition._units.own_id()

    assert own_id(NOW) != own_id(NOW)
    assert own_id(NOW).startswith("jobs-3-0-")
