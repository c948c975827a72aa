"""What may be purged, of anything that is deleted. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from events.language.base import Command, Event
from events.language.common import PLATFORM_ACTOR, Refused
from events.language.experiments.purging import PurgeExperiment, PurgeLoggedModel, PurgeRun
from events.process.instants import instant
from events.writer.decider import DecisionContext
from services.experiments.refusals import denied, forbidden


class Deletable(Protocol):
    """A state that can be deleted."""

    deleted_at: datetime | None
    """None if it is not deleted."""


class Purgeable(Deletable, Protocol):
    """A state that goes with its experiment."""

    experiment_id: str
    purged: bool


def check(kind: str, state: Deletable, command: PurgeExperiment | PurgeRun | PurgeLoggedModel) -> None:
    """`kind`: what it is, in words. Raises Refused if it is not deleted, or was deleted too late."""
    id = command.subject()
    if state.deleted_at is None:
        raise forbidden(command.subject_from, f"{kind} {id} is not deleted", "delete it first")
    before = command.deleted_before
    if before is not None and state.deleted_at >= before:
        problem = f"{kind} {id} was deleted at {instant(state.deleted_at)}, not before {instant(before)}"
        raise forbidden("deleted_before", problem, "make a plan again, or leave deleted_before out")


def purged(
    kind: str,
    state: Purgeable,
    command: PurgeRun | PurgeLoggedModel,
    context: DecisionContext,
    event: Event,
) -> Sequence[Event]:
    """The `event` that purges it; nothing if it is purged, or the command is for what is of another experiment. Raises
    Refused."""
    if not _goes_with(kind, state.experiment_id, command, context.actor):
        if command.experiment_id:
            return ()
        if not state.purged:
            check(kind, state, command)
    return () if state.purged else [event]


def _goes_with(kind: str, experiment_id: str, command: PurgeRun | PurgeLoggedModel, actor: str) -> bool:
    """Whether it goes with its experiment, which the command names. Raises Refused for a client that says so."""
    if not command.experiment_id:
        return False
    if actor != PLATFORM_ACTOR:
        problem = f"{kind} {command.subject()} goes with its experiment when that is purged, as the platform says"
        raise denied("experiment_id", problem, "leave it out, or purge the experiment")
    return command.experiment_id == experiment_id


def refused(kind: str, command: Command, gone: str) -> Refused:
    """Why a command on something purged is refused. `gone`: what it has lost."""
    problem = f"{kind} {command.subject()} is purged: its {gone} are gone"
    return forbidden(command.subject_from, problem, "it can't be restored; use another one")
