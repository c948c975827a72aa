"""State machines as tables of allowed moves; each context has its tables in its `moves`, and lists them as `MACHINES`.

Aggregates ask `check_move` before a status changes; the tables are drawn in docs/reference/state-machines.md. A status
that may follow itself (a retry whose start was never seen) says so in its row.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple, TypeVar

from events.language.common import ErrorCode, FieldError, Refused

Status = TypeVar("Status", bound=StrEnum)

Moves = Mapping[Status, frozenset[Status]]


class StateMachine(NamedTuple):
    """A table with what the reference says of it. ``MACHINES: tuple[StateMachine, ...]`` in the module of a context's
    tables lists them."""

    title: str
    """Of what, in the plural: ``Nodes``."""
    about: str
    """What there is to know besides the table; Markdown."""
    table: Moves[Any]
    """The first status is the initial one."""


class IllegalMove(Refused):
    """A status change that its table does not allow. As a refusal of a command its code is `failed_precondition`, and
    its error names the command's `field`, if one is given."""

    def __init__(
        self, old: StrEnum, new: StrEnum, allowed: frozenset[StrEnum], what: str = "", field: str = ""
    ) -> None:
        names = ", ".join(sorted(allowed))
        after = f"after {old} comes {names}" if allowed else f"{old} is final"
        problem = f"{what or type(old).__name__} can't go from {old} to {new}"
        errors = [FieldError(field=field, problem=problem, hint=after)] if field else []
        super().__init__(ErrorCode.FAILED_PRECONDITION, f"{problem}: {after}", errors)
        self.old = old
        self.new = new


def check_move(table: Moves[Status], old: Status, new: Status, what: str = "", field: str = "") -> None:
    """Raises `IllegalMove` unless `table` allows the move. `what` names the thing, such as ``job train-1 task 3``;
    `field`: what a command that asks for it calls it, such as ``status``."""
    if new not in table[old]:
        raise IllegalMove(old, new, frozenset(table[old]), what, field)


def may_move(table: Moves[Status], old: Status, new: Status) -> bool:
    """Whether `table` allows the move."""
    return new in table[old]


def final(table: Moves[Status]) -> frozenset[Status]:
    """The statuses that nothing follows."""
    return frozenset(status for status, following in table.items() if not following)
