"""What the events of a replica's job mean for the replica. Pure.

JobStarted ─► ReplicaStarted
JobTaskReady ─► ReplicaReady; JobTaskUnready ─► ReplicaUnready
JobExited ─► ReplicaUnready; its job starts it again
the job's end, or its refusal ─► ReplicaEnded
"""

from __future__ import annotations

from collections.abc import Iterator

from events.language.base import Event
from events.language.common import CommandRejected
from events.language.deployments.enums import ReplicaStatus
from events.language.deployments.events import (
    ReplicaEnded,
    ReplicaEvent,
    ReplicaReady,
    ReplicaStarted,
    ReplicaUnready,
)
from events.language.deployments.models import MAX_REASON
from events.language.jobs import (
    ExitReason,
    JobEnded,
    JobExited,
    JobStarted,
    JobTaskReady,
    JobTaskUnready,
    SubmitJob,
    TaskExit,
)
from events.process.exit_message import EXIT_PERMANENT
from services.deployments import routing
from services.deployments.state import LIVE, Deployment, Replica

_NO_FAULT = frozenset({ExitReason.STOPPED, ExitReason.LOST})
"""Ends of processes that come from elsewhere."""

_SAID = 600
"""Characters of what a process says of its end: more than one of them goes into a reason of a rollout's end."""

_WAITING = (ReplicaStatus.STARTED, ReplicaStatus.UNREADY)


def heard(state: Deployment, id: str, event: Event) -> Iterator[ReplicaEvent]:
    """What an event of a job means for the replica that it is."""
    number = state.jobs.get(event.subject())
    if number is None:
        return  # it is none of this deployment's, or the replica has ended
    replica = state.replicas[number]
    if isinstance(event, JobEnded):
        yield ReplicaEnded(deployment_id=id, replica=number, job_id=replica.job_id, reason=event.reason[:MAX_REASON])
    elif replica.status not in LIVE:
        return
    elif isinstance(event, JobStarted):
        for start in event.tasks:
            if start.attempt > replica.attempt:
                yield ReplicaStarted(
                    deployment_id=id,
                    replica=number,
                    attempt=start.attempt,
                    node_id=event.node_id,
                    address=start.address,
                    ports=start.ports,
                )
    elif isinstance(event, JobTaskReady):
        if event.attempt == replica.attempt and replica.status in _WAITING:
            names = {"deployment_id": id, "replica": number, "attempt": event.attempt}
            if problem := routing.unreachable(replica):
                yield ReplicaUnready(**names, revision=replica.revision, reason=problem)
            else:
                yield ReplicaReady(**names)
    elif isinstance(event, JobTaskUnready):
        if event.attempt == replica.attempt and replica.status is ReplicaStatus.READY:
            yield ReplicaUnready(
                deployment_id=id,
                replica=number,
                revision=replica.revision,
                attempt=event.attempt,
                reason=event.reason[:MAX_REASON],
            )
    elif isinstance(event, JobExited):
        for exit in event.tasks:
            if not _known(replica, exit.attempt):
                yield ReplicaUnready(
                    deployment_id=id,
                    replica=number,
                    revision=replica.revision,
                    attempt=exit.attempt,
                    reason=_reason(exit, replica.job_id)[:MAX_REASON],
                    exited=True,
                    crashed=exit.reason not in _NO_FAULT,
                    permanent=_permanent(state, replica, exit),
                )


def _permanent(state: Deployment, replica: Replica, exit: TaskExit) -> bool:
    """Whether a model server says that it would end alike again. A program of the user's has exit codes of its own."""
    said = exit.reason is ExitReason.EXITED and exit.exit_code == EXIT_PERMANENT
    return said and not state.revisions[replica.revision].spec.command


def _known(replica: Replica, attempt: int) -> bool:
    """Whether it is known that an attempt's process is gone."""
    return attempt < replica.attempt or (attempt == replica.attempt and replica.status is ReplicaStatus.REQUESTED)


def refused(state: Deployment, id: str, refusal: CommandRejected) -> Iterator[ReplicaEnded]:
    """An order of a job was refused: it was not taken, or could not be cancelled, since it had ended."""
    number = state.jobs.get(refusal.subject_id)
    if number is None:
        return
    refused = refusal.command_type == SubmitJob.type_name()
    was = "its job was refused" if refused else "its job had ended"
    yield ReplicaEnded(
        deployment_id=id,
        replica=number,
        job_id=refusal.subject_id,
        reason=f"{was}: {refusal.message}"[:MAX_REASON],
        refused=refused,
    )


def _reason(exit: TaskExit, job: str) -> str:
    """How a process ended, in words. Of one that ended by itself its output knows more."""
    if exit.reason is ExitReason.EXITED:
        end = f"signal {exit.signal}" if exit.signal else f"exit code {exit.exit_code}"
        said = f": {exit.message}" if exit.message else ""
        return f"{f'its process ended with {end}{said}'[:_SAID]}; 'forgelog logs {job}' shows its output"
    words = exit.reason.value.replace("_", " ")
    return f"{words}: {exit.message}" if exit.message else words
