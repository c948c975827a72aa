"""Every event carries its aggregate's own project; and its actor and flow, unless a command led to the event directly.

Live, after a recovery from the log, and after one from snapshots.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from events.language.common import CommandRejected
from events.language.jobs import (
    CancelJob,
    DependencyMet,
    JobCancelRequested,
    JobExited,
    JobQueued,
    ReportJobExited,
    ReportJobStarted,
    RequeueJob,
    SubmitJob,
    TaskExit,
    TaskStart,
)
from events.language.jobs.spec import JobDependency, JobMetadata, JobSpec
from events.language.resources import (
    AllocationBound,
    AllocationReleased,
    AllocationStopRequested,
    DrainNode,
    EndedTasks,
    NodeDrained,
    NodeDraining,
    NodeLost,
    NodeRegistered,
    RemoveNode,
    ReportAllocationsEnded,
)
from events.language.scheduling import (
    ConfigureQueue,
    CreateQueue,
    DeleteQueue,
    JobDeferred,
    JobDequeued,
    JobEnqueued,
    JobScheduled,
    JobUnscheduled,
    QueueConfigured,
    QueueCreated,
    QueueStatus,
)
from events.log.envelope import Recorded
from events.log.ids import id_ending
from events.writer import states
from events.writer.snapshots import take
from tests.unit.writer.platform import LOST_AFTER, START, Platform, register

VISION, SOUND, LOCAL = "lab/vision", "lab/sound", "local/default"
TRACE = f"00-{'1' * 32}-{'2' * 16}-01"
JOB = f"train{id_ending(VISION)}"


class Carried(NamedTuple):
    project: str
    actor: str
    correlation: str
    traceparent: str = ""


JOBS_OWN = Carried(VISION, "owner", "submit", TRACE)
"""What `submit` below gave the job."""

going_on = pytest.mark.parametrize(
    "then",
    [Platform.keep, Platform.recover, Platform.from_snapshots],
    ids=["live", "log", "snapshot"],
)


def submit(job_id: str = JOB, **spec: Any) -> SubmitJob:
    return SubmitJob(job_id=job_id, spec=JobSpec(metadata=JobMetadata(name="n"), command="true", **spec))


def submitted(platform: Platform, **spec: Any) -> list[Recorded]:
    return platform.send(submit(**spec), "submit", project=VISION, traceparent=TRACE)


def registered(platform: Platform) -> list[Recorded]:
    return platform.send(register(), "register", actor="node:n1")


def started(platform: Platform) -> str:
    """The job runs; its allocation."""
    registered(platform)
    (bound,) = of(AllocationBound, submitted(platform))
    allocation: str = bound.data.allocation_id  # type: ignore[attr-defined]
    start = TaskStart(task=0, attempt=1, allocation_id=allocation, pid=1, started_at=START)
    command = ReportJobStarted(job_id=JOB, node_id="n1", tasks=(start,))
    platform.send(command, "started", actor="node:n1", project=VISION, correlation="submit")
    return allocation


def ended(allocation: str, code: int) -> ReportJobExited:
    exit = TaskExit(task=0, attempt=1, allocation_id=allocation, exit_code=code, ended_at=START)
    return ReportJobExited(job_id=JOB, node_id="n1", tasks=(exit,))


def freeing(allocation: str) -> ReportAllocationsEnded:
    ended = (EndedTasks(allocation_id=allocation, tasks="0"),)
    return ReportAllocationsEnded(pool="default", node_id="n1", ended=ended)


def of(kind: type, said: list[Recorded]) -> list[Recorded]:
    return [each for each in said if isinstance(each.data, kind)]


def carried(kind: type, said: list[Recorded]) -> Carried:
    """What the events of that type carry."""
    (found,) = {
        Carried(each.meta.project, each.meta.actor, each.meta.correlation, each.meta.traceparent)
        for each in of(kind, said)
    }
    return found


@going_on
def test_what_a_queue_says_of_a_job_by_itself(then: Any) -> None:
    platform = Platform()
    submitted(platform)
    then(platform)
    assert carried(JobDeferred, platform.after(1.0)) == JOBS_OWN
    then(platform)
    said = registered(platform)
    assert carried(JobScheduled, said) == JOBS_OWN
    assert carried(AllocationBound, said) == JOBS_OWN, "the allocation begins with what the job carries"
    assert carried(NodeRegistered, said) == Carried(LOCAL, "node:n1", "register")


@going_on
def test_a_lost_node_is_its_own_and_what_ran_there_is_the_job_s(then: Any) -> None:
    platform = Platform()
    started(platform)
    then(platform)
    said = [each for _ in range(int(LOST_AFTER) + 1) for each in platform.after(1.0)]
    assert carried(NodeLost, said) == Carried(LOCAL, "forgelog", "register"), "no agent says that it is lost"
    assert carried(AllocationReleased, said) == JOBS_OWN
    assert carried(JobExited, said) == JOBS_OWN
    assert carried(JobQueued, said) == JOBS_OWN


@going_on
def test_a_drain_is_its_operator_s_doing_and_what_runs_there_stays_in_its_project(then: Any) -> None:
    platform = Platform()
    allocation = started(platform)
    then(platform)
    said = platform.send(DrainNode(pool="default", node_id="n1"), "drain", traceparent="")
    assert carried(NodeDraining, said) == Carried(LOCAL, "owner", "drain")
    assert carried(AllocationStopRequested, said) == Carried(VISION, "owner", "drain")
    (stop,) = of(AllocationStopRequested, said)
    raw = platform.logs["resources"][stop.position.offset]
    assert raw.cause is not None
    assert raw.cause.project == LOCAL, "and it is remembered as a command of the operator's project"
    then(platform)
    told = platform.send(ended(allocation, 143), "exited", actor="node:n1", correlation="submit")
    assert carried(JobExited, told) == Carried(VISION, "node:n1", "submit")
    freed = platform.send(freeing(allocation), "freed", actor="node:n1")
    assert carried(AllocationReleased, freed) == Carried(VISION, "node:n1", "freed")
    assert carried(NodeDrained, freed) == Carried(LOCAL, "forgelog", "register")


@going_on
def test_a_cancel_from_another_project_stays_in_the_job_s(then: Any) -> None:
    platform = Platform()
    started(platform)
    then(platform)
    said = platform.send(CancelJob(job_id=JOB), "cancel", project=SOUND)
    assert carried(JobCancelRequested, said) == Carried(VISION, "owner", "cancel")
    assert carried(JobUnscheduled, said) == JOBS_OWN, "a reaction"
    assert carried(AllocationStopRequested, said) == JOBS_OWN
    refused = platform.send(CancelJob(job_id="nobody"), "again", project=SOUND)
    assert carried(CommandRejected, refused) == Carried(SOUND, "owner", "again"), "an answer is the command's"


@going_on
def test_a_job_that_another_one_waits_for_does_not_lend_it_its_flow(then: Any) -> None:
    platform = Platform()
    after = (JobDependency(job_id=JOB),)
    allocation = started(platform)
    second = f"second{id_ending(SOUND)}"
    platform.send(submit(second, depends_on=after), "submit-2", project=SOUND)
    then(platform)
    said = platform.send(ended(allocation, 0), "exited", actor="node:n1", correlation="submit")
    assert carried(DependencyMet, said) == Carried(SOUND, "owner", "submit-2")
    assert carried(JobQueued, said) == Carried(SOUND, "owner", "submit-2")


@going_on
def test_what_is_decided_later_knows_whose_the_aggregate_is(then: Any) -> None:
    platform = Platform()
    submitted(platform)
    then(platform)
    jobs = platform.partitions["jobs"].kinds["job"]
    seen: list[Any] = []
    decide = jobs.decider.decide

    def noting(state: Any, command: Any, context: Any) -> Any:
        seen.append(context)
        return decide(state, command, context)

    jobs.decider.decide = noting
    platform.send(CancelJob(job_id=JOB), "cancel", project=SOUND)
    platform.send(submit("new"), "new")
    first, second = seen
    assert (first.project, first.owner.project, first.aggregate, first.subject) == (SOUND, VISION, "job", JOB)
    assert (second.project, second.owner) == (LOCAL, None), "there is no such job yet"


@going_on
def test_a_job_that_is_queued_again_begins_anew_with_its_queue(then: Any) -> None:
    """The queue had let it go."""
    platform = Platform()
    allocation = started(platform)
    platform.send(ended(allocation, 1), "exited", actor="node:n1", project=VISION, correlation="submit")
    platform.send(freeing(allocation), "freed", actor="node:n1", project=VISION, correlation="submit")
    then(platform)
    said = platform.send(RequeueJob(job_id=JOB), "requeue", project=SOUND)
    again = Carried(VISION, "owner", "requeue")
    assert carried(JobEnqueued, said) == again
    assert carried(JobScheduled, said) == again
    assert carried(AllocationBound, said) == again
    then(platform)
    cancelled = platform.send(CancelJob(job_id=JOB), "cancel", project=SOUND)
    assert carried(JobUnscheduled, cancelled) == again
    assert carried(AllocationStopRequested, cancelled) == again


@going_on
def test_what_a_queue_says_of_a_job_that_it_does_not_take_is_the_input_s(then: Any) -> None:
    platform = Platform()
    allocation = started(platform)
    platform.send(ended(allocation, 1), "exited", actor="node:n1", project=VISION, correlation="submit")
    platform.send(freeing(allocation), "freed", actor="node:n1", project=VISION, correlation="submit")
    platform.send(ConfigureQueue(queue="default", status=QueueStatus.CLOSED), "close")
    then(platform)
    said = platform.send(RequeueJob(job_id=JOB), "requeue", project=SOUND)
    assert carried(JobDequeued, said) == Carried(VISION, "owner", "requeue")


@going_on
def test_a_node_that_is_registered_again_begins_anew(then: Any) -> None:
    platform = Platform()
    registered(platform)
    platform.send(DrainNode(pool="default", node_id="n1"), "drain")
    platform.send(RemoveNode(pool="default", node_id="n1"), "remove")
    then(platform)
    platform.send(register(), "again", actor="node:n1", project=SOUND)
    then(platform)
    said = [each for _ in range(int(LOST_AFTER) + 1) for each in platform.after(1.0)]
    assert carried(NodeLost, said) == Carried(SOUND, "forgelog", "again")


@going_on
def test_a_queue_that_is_created_again_is_its_new_maker_s(then: Any) -> None:
    platform = Platform()
    platform.send(CreateQueue(queue="night"), "create", project=VISION)
    platform.send(DeleteQueue(queue="night"), "delete", project=VISION)
    then(platform)
    created = platform.send(CreateQueue(queue="night"), "create-2", project=SOUND)
    assert carried(QueueCreated, created).project == SOUND
    then(platform)
    paused = platform.send(ConfigureQueue(queue="night", status=QueueStatus.PAUSED), "pause", project=VISION)
    assert carried(QueueConfigured, paused).project == SOUND


def test_yesterday_s_events_without_a_project_of_their_own_do_no_harm() -> None:
    """The first event of an aggregate counts; later ones may carry what they were given then."""
    platform = Platform()
    submitted(platform)
    (deferred,) = of(JobDeferred, platform.after(1.0))
    log = platform.logs["scheduling"]
    old = log[deferred.position.offset]
    headers = [(name, b"local/default" if name == "ce_project" else value) for name, value in old.headers]
    log[old.offset] = type(old)(old.topic, 0, old.offset, old.timestamp, old.key, old.value, headers)
    platform.recover()
    assert carried(JobScheduled, registered(platform)) == JOBS_OWN


def test_jobs_that_have_ended_leave_nothing_with_queue_and_pool() -> None:
    platform = Platform()
    registered(platform)
    count = 2 * states.LEAST_OTHERS + 10
    for number in range(count):
        job = f"job{number}{id_ending(VISION)}"
        (bound,) = of(AllocationBound, platform.send(submit(job), f"submit{number}", project=VISION))
        platform.send(freeing(bound.data.allocation_id), f"freed{number}", actor="node:n1")  # type: ignore[attr-defined]
    for context, kind, left in (("scheduling", "queue", 0), ("resources", "pool", 1)):
        partition = platform.partitions[context]
        assert len(partition.kinds[kind].states.provenances("default")) <= states.LEAST_OTHERS + 2
        kept = take(partition).content["kinds"][kind]["provenance"]["default"]
        assert len(kept) == 1 + left, "its own, and those of the nodes"


def test_a_queue_is_its_maker_s() -> None:
    platform = Platform()
    paused = ConfigureQueue(queue="default", status=QueueStatus.PAUSED)
    platform.send(paused, "pause", project=VISION)
    platform.recover()
    active = platform.send(paused.model_copy(update={"status": QueueStatus.ACTIVE}), "activate", project=SOUND)
    assert [each.meta.project for each in active] == [VISION]
