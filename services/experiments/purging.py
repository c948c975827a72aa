"""What may be purged, of anything that is deleted. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from events.language.common import PLATFORM_ACTOR, ErrorCode, FieldError, Refused, shown
from events.language.experiments.purging import PurgeExperiment, PurgeLoggedModel, PurgeRun


class Deletable(Protocol):
    """A state that can be deleted."""

    deleted_at: datetime | None
    """None if it is not deleted."""


def check(kind: str, id: str, state: Deletable, command: PurgeExperiment | PurgeRun | PurgeLoggedModel) -> None:
    """`kind`: what it is, in words. Raises Refused if it is not deleted, or was deleted too late."""
    if state.deleted_at is None:
        problem = f"{kind} {id} is not deleted: delete it first"
        raise Refused(ErrorCode.FAILED_PRECONDITION, problem)
    before = command.deleted_before
    if before is not None and state.deleted_at >= before:
        problem = f"{kind} {id} was deleted at {state.deleted_at.isoformat()}, not before {before.isoformat()}"
        hint = "make a plan again, or leave deleted_before out"
        raise Refused(
            ErrorCode.FAILED_PRECONDITION, problem, [FieldError(field="deleted_before", problem=problem, hint=hint)]
        )


def goes_with(kind: str, id: str, experiment_id: str, wanted: str, actor: str) -> bool:
    """Whether it goes with its experiment, which `wanted` names. Raises Refused for a client that says so."""
    if not wanted:
        return False
    if actor != PLATFORM_ACTOR:
        problem = f"{kind} {id} goes with its experiment when that is purged; the platform itself says so"
        hint = f"leave it out, or purge the experiment {shown(wanted)}"
        raise Refused(
            ErrorCode.PERMISSION_DENIED, problem, [FieldError(field="experiment_id", problem=problem, hint=hint)]
        )
    return wanted == experiment_id


def refused(kind: str, id: str, gone: str) -> Refused:
    """Why a command on something purged is refused. `gone`: what it has lost."""
    return Refused(
        ErrorCode.FAILED_PRECONDITION, f"{kind} {id} is purged: its {gone} are gone, and it can't be restored"
    )
