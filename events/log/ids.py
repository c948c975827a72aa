"""Ids: new command ids, and aggregate ids derived from a command's id so that a repeat names the same aggregate."""

from __future__ import annotations

import base64
import os
import time
from functools import lru_cache

from blake3 import blake3

from events.language.base import Command
from events.language.common import DEFAULT_PROJECT, MAX_ID, ErrorCode, FieldError, Refused, shown

_LONG_ID = 200
"""Length of an event's id beyond which the ids of reactions to it contain its hash instead."""


def new_command_id() -> str:
    """A fresh id that sorts by time: 10 hex digits of milliseconds and 16 of randomness (like UUIDv7, shorter)."""
    return f"{time.time_ns() // 1_000_000:011x}{os.urandom(8).hex()}"


def _base32(text: str, digits: int) -> str:
    return base64.b32encode(blake3(text.encode()).digest(9)).decode().lower()[:digits]


@lru_cache(maxsize=1000)
def id_ending(project: str) -> str:
    """The ending of the ids of a project's aggregates: a dot and 5 base-32 digits; empty for `DEFAULT_PROJECT`.

    So a project can't name an aggregate of another project, and can't find out which ids are in use elsewhere.
    """
    return "" if project == DEFAULT_PROJECT else f".{_base32(project, 5)}"


def derived_id(prefix: str, command_id: str, project: str = DEFAULT_PROJECT) -> str:
    """The aggregate id that a creating command with this `ce_id` gets: `prefix`, 13 base-32 digits (65 bits), and the
    project's `id_ending`."""
    return f"{prefix}{_base32(command_id, 13)}{id_ending(project)}"


def named_id(name: str, project: str = DEFAULT_PROJECT) -> str:
    """The id of the aggregate that has a name in a project, of a kind that is `named_by` it."""
    return f"{name}{id_ending(project)}"


def with_assigned_id(command: Command, command_id: str, project: str = DEFAULT_PROJECT) -> Command:
    """The command with what follows from its envelope: the project, where it has a field for it, and its aggregate's
    id, if it is a creating one that left it empty. Raises `Refused` for one that names another project."""
    kind, found = type(command), {}
    if kind.names_project() and (named := getattr(command, "project")) != project:  # noqa: B009
        if named:
            raise _of_another_project(named, project)
        found["project"] = project
    if kind.assigns_id and not command.subject():
        found[kind.subject_from] = (
            named_id(getattr(command, kind.named_by), project)
            if kind.named_by
            else derived_id(kind.id_prefix, command_id, project)
        )
    return command.model_copy(update=found) if found else command


def _of_another_project(named: str, project: str) -> Refused:
    problem, hint = f"is {shown(named)}, but the command is for {project}", "leave it out: ce_project says it"
    error = FieldError(field="project", problem=problem, hint=hint)
    return Refused(ErrorCode.INVALID_ARGUMENT, f"project: {problem}; {hint}", [error])


def child_id(parent: str, part: str, project: str = DEFAULT_PROJECT) -> str:
    """The id of a part of an aggregate: `parent`, a dot and `part` (for example ``3``), before the ending of the
    project's ids. A parent's id that is too long is cut and gets 13 digits of its hash."""
    ending = id_ending(project)
    stem = parent.removesuffix(ending) if ending else parent
    if len(stem) + 1 + len(part) + len(ending) > MAX_ID:
        stem = f"{stem[: MAX_ID - len(part) - len(ending) - 15]}-{_base32(stem, 13)}"
    return f"{stem}.{part}{ending}"


REPLICAS = "dep."
"""How the ids of replicas' jobs begin; no other job has such an id."""


def replica_job(deployment_id: str, revision: int, number: int, project: str) -> str:
    """The id of the job that a replica is: ``dep.<deployment>.<revision>.<number>``."""
    return f"{REPLICAS}{child_id(deployment_id, f'{revision}.{number}', project)}"


def deployment_of(job_id: str, project: str) -> str:
    """The deployment whose replica a job is; empty for a job that is none."""
    found = revision_of(job_id, project)
    return "" if found is None else found[0]


def revision_of(job_id: str, project: str) -> tuple[str, int] | None:
    """The deployment and its revision whose replica a job is; None for a job that is none."""
    ending = id_ending(project)
    name, _, number = job_id.removeprefix(REPLICAS).removesuffix(ending).rpartition(".")
    name, _, revision = name.rpartition(".")
    is_replica = job_id.startswith(REPLICAS) and name and number.isdigit() and revision.isdigit()
    return (f"{name}{ending}", int(revision)) if is_replica else None


def dashed(id: str, project: str) -> str:
    """An id of a project as clients know it that take no dot in one (MLflow's): the ending begins with a dash."""
    ending = id_ending(project)
    return f"{id.removesuffix(ending)}-{ending[1:]}" if ending and id.endswith(ending) else id


def reaction_id(cause_id: str, context: str, partition: int) -> str:
    """The prefix of the ids of events that a partition of a context decides in reaction to an event. Unique for the
    context and the partition, and bounded in length for any chain of reactions."""
    return f"{_stem(cause_id)}.{context}-{partition}"


def order_id(event_id: str, number: int, part: int | None = None) -> str:
    """The `ce_id` of an order that an event leads to: the same each time it is published. Bounded in length.

    `number`: index of the order or question in what `dispatch` returns. `part`: for a question, index of the order in
    what `answered` returns.
    """
    return f"{_stem(event_id)}.o{number}" + (f"-{part}" if part is not None else "")


def order_digest(origin: str) -> str:
    """The digest of an order, made from its origin instead of its body. So two orders with the same id and different
    bodies count as the same command: the first one wins. (The same body from another origin is another command.)"""
    return payload_digest("", origin.encode())


def _stem(id: str) -> str:
    return id if len(id) <= _LONG_ID else blake3(id.encode()).hexdigest(16)


def foreign_id(command: Command, project: str) -> Refused | None:
    """The refusal of an aggregate's id that does not belong to the project; None if it does. The text is the same if
    another project has such an aggregate and if none has."""
    ending = id_ending(project)
    if command.subject().endswith(ending):
        return None
    field = type(command).subject_from
    problem = f"{shown(command.subject())} is no id of project {project}: its ids end in {ending}"
    hint = f"add {ending} to it, or leave it out, and one is made"
    error = FieldError(field=field, problem=problem, hint=hint)
    return Refused(ErrorCode.INVALID_ARGUMENT, f"{field}: {problem}", [error])


def command_key(project: str, command_id: str) -> str:
    """The key of a command in the dedup window: project and id, since two projects may use one id for different
    commands. (A project's name has no line break.)"""
    return f"{project}\n{command_id}"


def payload_digest(type_name: str, value: bytes) -> str:
    """16 hex digits that tell two bodies under one `ce_id` apart."""
    return blake3(type_name.encode() + b"\0" + value).hexdigest(8)
