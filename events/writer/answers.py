"""The events that answer a command which changes nothing, since it is refused or a repeat. Pure."""

from __future__ import annotations

from events.language.base import Command
from events.language.common import CommandNoted, CommandRejected, Refused
from events.log.envelope import Meta


def rejected(meta: Meta, refused: Refused, subject: str) -> CommandRejected:
    """A refusal. `subject`: the id of what the command was about; empty if unknown."""
    return CommandRejected(
        subject_id=subject or meta.subject or meta.id,
        command_id=meta.id,
        command_type=meta.type,
        code=refused.code,
        message=refused.message,
        errors=refused.errors,
    )


def noted(meta: Meta, command: Command, *, repeat: bool, first_offset: int) -> CommandNoted:
    """Nothing has changed."""
    return CommandNoted(
        subject_id=command.subject() or meta.id,
        command_id=meta.id,
        command_type=meta.type,
        repeat=repeat,
        first_offset=first_offset,
    )
