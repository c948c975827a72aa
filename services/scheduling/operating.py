"""The decisions on an operator's commands: create, change and delete a queue. Pure.

A queue exists if it was created, if its pool has nodes, or if it is `default`. A queue that does not exist takes no
jobs: under a mistyped name they would wait without an end.
"""

from __future__ import annotations

from collections.abc import Sequence

from events.language.base import Event
from events.language.common import DEFAULT_QUEUE, ErrorCode, FieldError, Refused
from events.language.moves import check_move
from events.language.scheduling import ConfigureQueue, CreateQueue, QueueConfigured, QueueCreated, QueueDeleted
from events.language.scheduling.moves import QUEUE_MOVES
from services.scheduling.state import Queue

NAMED = 3
"""Most jobs or nodes that a refusal names; the rest is counted."""


def create(queue: Queue, command: CreateQueue) -> Sequence[Event]:
    if queue.exists:
        hint = f"'forgelog queue {queue.name}' shows it"
        raise _refused(ErrorCode.ALREADY_EXISTS, f"there is a queue {queue.name} already", hint)
    return [QueueCreated(queue=queue.name, policy=command.policy)]


def configure(queue: Queue, command: ConfigureQueue) -> Sequence[Event]:
    _must_exist(queue)
    policy = command.policy or queue.backlog.policy
    status = command.status or queue.status
    if policy is queue.backlog.policy and status is queue.status:
        return ()
    if status is not queue.status:
        check_move(QUEUE_MOVES, queue.status, status, f"queue {queue.name}", "status")
    return [QueueConfigured(queue=queue.name, policy=policy, status=status)]


def delete(queue: Queue) -> Sequence[Event]:
    _must_exist(queue)
    if queue.name == DEFAULT_QUEUE:
        raise _refused(ErrorCode.FAILED_PRECONDITION, f"queue {queue.name} is always there", "leave it")
    if jobs := list(queue.backlog.jobs):
        it = "it" if len(jobs) == 1 else "them"
        what = f"has {len(jobs)} job{'s' if len(jobs) > 1 else ''} ({_named(jobs)})"
        problem = f"queue {queue.name} {what}; let {it} end, or cancel {it}, first"
        raise _refused(ErrorCode.FAILED_PRECONDITION, problem)
    if nodes := list(queue.cluster.nodes):
        problem = f"queue {queue.name} has nodes ({_named(nodes)}); remove them, or end their agents, first"
        raise _refused(ErrorCode.FAILED_PRECONDITION, problem)
    return [QueueDeleted(queue=queue.name)]


def unknown(name: str) -> str:
    """The message for a queue that does not exist, with what to do."""
    return f"there is no queue {name}; 'forgelog queue' lists those there are, 'forgelog queue create {name}' makes it"


def _must_exist(queue: Queue) -> None:
    if not queue.exists:
        raise _refused(ErrorCode.NOT_FOUND, unknown(queue.name))


def _named(ids: Sequence[str]) -> str:
    more = len(ids) - NAMED
    return ", ".join(ids[:NAMED]) + (f" and {more} more" if more > 0 else "")


def _refused(code: ErrorCode, problem: str, hint: str = "") -> Refused:
    return Refused(code, problem, [FieldError(field="queue", problem=problem, hint=hint)])
