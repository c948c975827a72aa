"""The tables of allowed moves, drawn: docs/reference/state-machines.md.

A context's tables are the `MACHINES` of the modules of its language, or of the module `moves` beside those.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from events.language.contexts import ContextSpec, contexts
from events.language.descriptions import descriptions_of
from events.language.moves import StateMachine, final

_INTRO = """\
# State machines

<!-- Generated from events/language/*/moves.py by `make proto`: change the tables there, not this file. -->

Every status changes only along these moves; anything else is refused with `failed_precondition`, or stops the service
that met it in the log. The tables are {tables} in
the `moves` of each context in `events.language`.
"""


def machines() -> Mapping[str, StateMachine]:
    """Every table's state machine by the table's name, such as ``jobs.JOB_MOVES``, context by context."""
    found = {}
    for name, spec in sorted(contexts().items()):
        for module in _modules(spec):
            names = {id(value): constant for constant, value in vars(module).items() if constant.isupper()}
            for machine in getattr(module, "MACHINES", ()):
                found[f"{name}.{names.get(id(machine.table), machine.title)}"] = machine
    return found


def _modules(spec: ContextSpec) -> Iterator[ModuleType]:
    names = spec.modules()
    beside = dict.fromkeys(f"{parent}.moves" for name in names if (parent := name.rpartition(".")[0]))
    for name in (*names, *(name for name in beside if find_spec(name) is not None)):
        yield import_module(name)


def documents() -> dict[str, str]:
    """The document by its path below the repository."""
    found = machines()
    *names, last = (f"`{name.partition('.')[2]}`" for name in found)
    parts = [_INTRO.format(tables=f"{', '.join(names)} and {last}")]
    for machine in found.values():
        parts.append("\n".join(_section(*machine)))
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
    docs = descriptions_of(type(initial))
    for old, following in table.items():
        names = ", ".join(f"`{new.value}`" for new in sorted(following, key=order.index)) or "(final)"
        yield f"| `{old.value}` | {' '.join(docs.get(old.name, '').split())} | {names} |"
    yield ""
