"""Commands of two projects under one `ce_id`, and ids that another project has: neither is told of the other's.

Nothing here asks who may use a project; that is decided before a command comes to its partition.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from events.language.base import Command
from events.language.common import CommandNoted, CommandRejected, ErrorCode
from events.language.jobs import CancelJob, JobCancelRequested, JobSubmitted, SubmitJob
from events.language.jobs.spec import JobMetadata, JobSpec
from events.log import topics
from events.log.envelope import Meta, Recorded
from events.log.ids import id_ending, with_assigned_id
from events.log.outcomes import Outcomes
from events.log.wire import Raw, headers_of, value_of
from events.process.settings import Settings
from events.writer.encoding import Unit
from events.writer.partition import Partition
from events.writer.snapshots import dump, load
from services.jobs.decide import Jobs

NOW = datetime(2026, 5, 9, 3, 12, tzinfo=UTC)
VISION, SOUND = "lab/vision", "lab/sound"


def submit(name: str, job_id: str = "") -> SubmitJob:
    return SubmitJob(job_id=job_id, spec=JobSpec(metadata=JobMetadata(name=name), command="true"))


class Log:
    """A partition of jobs and the log it writes, one command at a time."""

    def __init__(self) -> None:
        self.partition: Partition = Partition(Jobs(), 0, 1)
        self.partition.epoch = 0
        self.raws: list[Raw] = []
        self._commands = 0

    def send(self, command: Command, id: str, project: str) -> list[Raw]:
        """What the command led to, as a reader of the log gets it."""
        meta = Meta(id, type(command).type_name(), "", NOW, project, "owner")
        record = Raw(topics.commands("jobs"), 0, self._commands, 0, b"", value_of(command), headers_of(meta))
        self._commands += 1
        unit = self.partition.command(record, NOW)
        assert isinstance(unit, Unit)
        offset = 1 + len(self.raws)
        raws = [each.at("events.jobs", 0, offset + place) for place, each in enumerate(unit.records)]
        self.partition.appended(unit, offset)
        self.raws += raws
        return raws

    def sent(self, command: Command, id: str, project: str) -> Recorded:
        return self.send(command, id, project)[0].decode()

    def keep(self) -> None:
        """The same writer goes on."""

    def recover(self) -> None:
        """Another writer takes over: it knows what is in the log."""
        self.partition = Partition(Jobs(), 0, 1)
        for raw in self.raws:
            self.partition.fold(raw)
        self.partition.epoch = 0

    def from_snapshot(self) -> None:
        self.partition = load(Jobs(), 0, 1, dump(self.partition))


@pytest.mark.parametrize("then", [Log.keep, Log.recover, Log.from_snapshot], ids=["live", "log", "snapshot"])
def test_one_ce_id_in_two_projects_is_two_commands(then: Any) -> None:
    log = Log()
    first = log.sent(submit("secret"), "c-1", VISION)
    then(log)
    other = log.sent(submit("plain"), "c-1", SOUND)
    assert isinstance(first.data, JobSubmitted)
    assert isinstance(other.data, JobSubmitted), "it has its own outcome, and no word of the other's"
    assert first.data.job_id != other.data.job_id
    then(log)
    for project, was in ((VISION, first), (SOUND, other)):
        again = log.sent(submit("secret" if project == VISION else "plain"), "c-1", project).data
        assert isinstance(again, CommandNoted)
        assert (again.repeat, again.first_offset) == (True, was.position.offset)
        refused = log.sent(submit("a third"), "c-1", project).data
        assert isinstance(refused, CommandRejected)
        assert refused.code is ErrorCode.ABORTED


@pytest.mark.parametrize("then", [Log.recover, Log.from_snapshot], ids=["log", "snapshot"])
def test_a_command_on_a_job_of_another_project_is_remembered_as_its_sender_s(then: Any) -> None:
    """Its events carry the job's project; what is remembered of it is the command's."""
    log = Log()
    job = log.sent(submit("a"), "c-1", VISION).data.job_id  # type: ignore[attr-defined]
    cancel = CancelJob(job_id=job)
    raws = log.send(cancel, "c-2", "local/default")
    assert any(isinstance(raw.decode().data, JobCancelRequested) and raw.text("ce_project") == VISION for raw in raws)
    then(log)
    again = log.sent(cancel, "c-2", "local/default").data
    assert isinstance(again, CommandNoted)
    assert again.repeat
    theirs = log.sent(cancel, "c-2", VISION).data
    assert not (isinstance(theirs, CommandNoted) and theirs.repeat), "this project has sent none of that id"


async def test_who_waits_for_a_command_gets_only_its_own_project_s_outcome() -> None:
    log = Log()
    mine, theirs = log.send(CancelJob(job_id="a"), "c-1", VISION), log.send(CancelJob(job_id="a"), "c-1", SOUND)
    (digest,) = {raw.cause.mark for raw in (*mine, *theirs) if raw.cause is not None}

    outcomes = Outcomes(Settings())
    future = outcomes.expect("c-1", "jobs", digest, project=SOUND)
    for raw in mine:
        outcomes.take(raw)
    assert not future.done()
    for raw in theirs:
        outcomes.take(raw)
    assert future.result().position == theirs[-1].decode().position


def test_a_chosen_id_of_another_project_is_refused_in_the_same_words_whether_it_is_in_use_or_not() -> None:
    log = Log()
    log.sent(submit("secret", f"train{id_ending(VISION)}"), "c-1", VISION)
    log.sent(submit("plain", "train"), "c-2", "local/default")
    answers = []
    for taken, free in ((f"train{id_ending(VISION)}", f"other{id_ending(VISION)}"), ("train", "other")):
        for number, id in enumerate((taken, free)):
            refused = log.sent(submit("mine", id), f"c-{taken}-{number}", SOUND).data
            assert isinstance(refused, CommandRejected)
            assert (refused.code, refused.errors[0].field) == (ErrorCode.INVALID_ARGUMENT, "job_id")
            answers.append(refused.message.replace(id, "ID"))
    assert len(set(answers)) == 1
    assert id_ending(SOUND) in answers[0], "it says what to add"
    assert isinstance(log.sent(submit("mine", f"train{id_ending(SOUND)}"), "c-9", SOUND).data, JobSubmitted)


def test_ids_of_the_default_project_are_as_they_were() -> None:
    assert with_assigned_id(submit("a"), "c-1", "local/default").subject() == "jd5yuitifhpshy"
    assert id_ending("local/default") == ""
    assert with_assigned_id(submit("a"), "c-1", VISION).subject() == f"jd5yuitifhpshy{id_ending(VISION)}"
