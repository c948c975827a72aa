"""The tables of allowed moves, drawn: docs/reference/state-machines.md."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any

from events.language.jobs.moves import JOB_MOVES
from events.language.moves import final
from events.language.resources.moves import ALLOCATION_MOVES, NODE_MOVES
from events.language.scheduling.moves import QUEUE_MOVES
from proto.shapes import member_docs

_INTRO = """\
# State machines

<!-- Generated from events/language/*/moves.py by `make proto`: change the tables there, not this file. -->

Every status changes only along these moves; anything else is refused with `failed_precondition`, or stops the service
that met it in the log. The tables are `JOB_MOVES`, `NODE_MOVES`, `ALLOCATION_MOVES` and `QUEUE_MOVES` in
the `moves` of each context in `events.language`.
"""
_MACHINES: tuple[tuple[str, str, Mapping[Any, frozenset[Any]]], ...] = (
    (
        "Jobs and their tasks",
        "Back to `queued` is the next attempt: a retry by the restart policy, a lost or drained node, a preemption,\n"
        "or (from `failed` and `cancelled`) a `RequeueJob`.",
        JOB_MOVES,
    ),
    ("Nodes", "A lost node comes back as what it was: a cordon or drain outlives the loss.", NODE_MOVES),
    ("Allocations", "An allocation holds its resources from `bound` until `released` or `lost`.", ALLOCATION_MOVES),
    ("Queues", "Set by `ConfigureQueue`.", QUEUE_MOVES),
)
"""Title, what to know, table; the first status of a table is the initial one."""


def documents() -> dict[str, str]:
    """The document by its path below the repository."""
    parts = [_INTRO]
    for title, about, table in _MACHINES:
        parts.append("\n".join(_section(title, about, table)))
    return {"docs/reference/state-machines.md": "\n".join(parts)}


def _section(title: str, about: str, table: Mapping[Any, frozenset[Any]]) -> Iterator[str]:
    order = list(table)
    initial: StrEnum = order[0]
    yield from (f"## {title}", "", about, "", "```mermaid", "stateDiagram-v2", f"    [*] --> {initial.value}")
    for old, following in table.items():
        for new in sorted(following, key=order.index):
            yield f"    {old.value} --> {new.value}"
    for status in sorted(final(table), key=order.index):
        yield f"    {status.value} --> [*]"
    yield from ("```", "", "| status | meaning | may become |", "|---|---|---|")
    docs = member_docs(type(initial))
    for old, following in table.items():
        names = ", ".join(f"`{new.value}`" for new in sorted(following, key=order.index)) or "(final)"
        yield f"| `{old.value}` | {' '.join(docs.get(old.name, '').split())} | {names} |"
    yield ""
