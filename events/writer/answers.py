"""The events that answer a command which changes nothing: it was refused, or it is a repeat. Pure."""

from __future__ import annotations

from events.language.base import Command
from events.language.common import CommandNoted, CommandRejected, Refused
from events.log.envelope import Meta


def rejected(meta: Meta, refused: Refused, subject: str) -> CommandRejected:
    """A refusal, about `subject` as far as it is known."""
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
