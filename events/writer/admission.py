"""Reads a record of a command topic: as a command, as one to refuse, or as a dead letter. Pure.

A record without a usable id becomes a dead letter without an answer. A record that is no command of this context is
refused and becomes a dead letter too. A command with wrong fields is refused.
"""

from __future__ import annotations

from collections.abc import Container
from datetime import datetime
from typing import NamedTuple

from events.language.base import Command
from events.language.bounds import MAX_ATTRIBUTE_BYTES
from events.language.common import (
    DEFAULT_ACTOR,
    DEFAULT_PROJECT,
    MAX_COMMAND_BYTES,
    MAX_HEADER_BYTES,
    NODE_ACTOR,
    PLATFORM_ACTOR,
    ErrorCode,
    FieldError,
    Refused,
    shown,
)
from events.language.problems import decode_command, origin_errors
from events.language.registry import command_type, newest
from events.log.envelope import Meta
from events.log.ids import order_digest, payload_digest, with_assigned_id
from events.log.repeats import refuse_repeats
from events.log.wire import ATTRIBUTES, Damage, Raw, Undecodable
from events.writer import origins
from events.writer.encoding import DeadLetter

_LONG = MAX_ATTRIBUTE_BYTES // 2
"""Most bytes of one of a command's attributes."""


class Admitted(NamedTuple):
    """A command that may be decided."""

    meta: Meta
    digest: str
    command: Command


class Refusal(NamedTuple):
    """A command to refuse."""

    meta: Meta
    digest: str
    refused: Refused
    dead: bool
    """Whether the record becomes a dead letter too, since it is no command of this context."""


def read(raw: Raw, now: datetime, commands: Container[type[Command]], context: str) -> Admitted | Refusal | DeadLetter:
    """The command in a record of `context`'s topic, if it is one of `commands`. `now` stands in for a missing time."""
    if (size := raw.header_bytes) > MAX_HEADER_BYTES:
        reason = f"the headers have {size} bytes; a command's may have at most {MAX_HEADER_BYTES}"
        return DeadLetter(raw, reason, None)
    try:
        meta = raw.meta()
    except Undecodable as error:
        return _bad_header(raw, str(error), now)
    platform = meta.actor == PLATFORM_ACTOR and bool(meta.origin) and _ordered(meta)
    if (claimed := meta.actor) != DEFAULT_ACTOR and not platform and not _reports(meta):
        meta = meta._replace(actor=DEFAULT_ACTOR)  # a refusal is history too and must not name the claimed actor
    if asker := meta.origin if meta.origin and not _ordered(meta) else "":
        meta = meta._replace(origin="")  # the refusal must not be routed to an aggregate that ordered nothing
    if size > _LONG and (long := next((name for name in ATTRIBUTES if len(raw.get(name) or b"") > _LONG), "")):
        return _bad_header(raw, f"header {long} has more than {_LONG} bytes; give a shorter one", now)
    if not meta.id:
        if isinstance(raw, Damage):
            return DeadLetter(raw, raw.problem, None)
        return DeadLetter(raw, "header ce_id is missing; give each command a unique ce_id", None)
    if not meta.type:
        return _no_command(raw, meta, "header ce_type is missing; name the command's type")
    value = raw.value or b""
    if len(value) > MAX_COMMAND_BYTES:
        reason = f"the value has {len(value)} bytes; a command may have at most {MAX_COMMAND_BYTES}"
        return _no_command(raw, meta, reason)
    digest = order_digest(meta.origin) if meta.origin else payload_digest(meta.type, value)
    if errors := origin_errors(meta.project, claimed):
        refused = Refused(ErrorCode.INVALID_ARGUMENT, f"{errors[0].field}: {errors[0].problem}", errors)
        return Refusal(meta._replace(project=DEFAULT_PROJECT, actor=DEFAULT_ACTOR), digest, refused, False)
    if asker:
        return Refusal(meta, digest, _not_by(asker), False)
    try:
        refuse_repeats(value)
        command = with_assigned_id(decode_command(meta.type, value), meta.id, meta.project)
    except Refused as refused:
        return Refusal(meta, digest, refused, not refused.errors)
    if claimed != meta.actor:
        return Refusal(meta, digest, _of_another(claimed), False)
    if type(command) not in commands:
        reason = f"{meta.type} is no command of {context}; publish it to commands.{type(command).context}"
        return _no_command(raw, meta, reason)
    return Admitted(meta, digest, command)


def _reports(meta: Meta) -> bool:
    """Whether a node's agent is the actor of a command that agents may send."""
    kind = command_type(newest(meta.type))
    return kind is not None and kind.by_agents and meta.actor.startswith(NODE_ACTOR)


def _ordered(meta: Meta) -> bool:
    """Whether the source is the service of the context that the origin names, and so may set the origin."""
    asker = origins.parsed(meta.origin)
    return asker is not None and meta.source == f"forgelog/{asker.context}"


def _not_by(asker: str) -> Refused:
    problem = f"is {shown(asker)}, which is no aggregate of the context that ce_source names"
    hint = "leave it out: only a service says which of its aggregates orders something"
    error = FieldError(field="ce_origin", problem=problem, hint=hint)
    return Refused(ErrorCode.INVALID_ARGUMENT, f"ce_origin: {problem}; {hint}", [error])


def _of_another(actor: str) -> Refused:
    """The refusal of an actor that the producer may not claim. Kafka's users are the owner and the platform's
    processes, and a header can't turn one into another."""
    problem, hint = f"is {shown(actor)}", "leave it out: a command is its owner's, and what an agent reports its node's"
    error = FieldError(field="ce_actor", problem=problem, hint=hint)
    return Refused(ErrorCode.INVALID_ARGUMENT, f"ce_actor: {problem}; {hint}", [error])


def _bad_header(raw: Raw, reason: str, now: datetime) -> Refusal | DeadLetter:
    """A record with an unusable header: refused if its id and type can be read, else a dead letter with no answer."""
    names = raw.texts(("ce_id", "ce_type"))
    if names is None or not names[0] or max(map(len, names)) > _LONG:
        return DeadLetter(raw, reason, None)
    id, type = names
    return _no_command(raw, Meta(id, type, "", now, DEFAULT_PROJECT, DEFAULT_ACTOR), reason)


def _no_command(raw: Raw, meta: Meta, reason: str) -> Refusal:
    digest = payload_digest(meta.type, raw.value or b"")
    return Refusal(meta, digest, Refused(ErrorCode.INVALID_ARGUMENT, reason), True)
