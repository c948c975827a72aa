"""How a schema differs from another one, and what of it breaks a contract. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from events.language.pipelines.columns import Column
from events.language.pipelines.contracts import ContractMode, SchemaChange, SchemaChangeKind
from services.pipelines.dataset.types import canonical, widens

Kind = SchemaChangeKind

_ADMITTED = {
    ContractMode.EXACT: frozenset[SchemaChangeKind](),
    ContractMode.ADDITIVE: frozenset({Kind.ADDED, Kind.REQUIRED, Kind.MOVED}),
    ContractMode.WIDENING: frozenset({Kind.ADDED, Kind.REQUIRED, Kind.MOVED, Kind.NULLABLE}),
    ContractMode.ANY: frozenset(SchemaChangeKind),
}


def changes(old: Sequence[Column], new: Sequence[Column]) -> tuple[SchemaChange, ...]:
    """How `new` differs from `old`: first what is missing, then in the order of `new`."""
    before, after = {column.name: column for column in old}, {column.name: column for column in new}
    found = [
        SchemaChange(kind=Kind.REMOVED, column=name, before=column.type)
        for name, column in before.items()
        if name not in after
    ]
    kept = [name for name in before if name in after]
    places = {name: at for at, name in enumerate(name for name in after if name in before)}
    for name, column in after.items():
        if name not in before:
            found.append(SchemaChange(kind=Kind.ADDED, column=name, after=column.type))
            continue
        was = before[name]
        types = {"column": name, "before": was.type, "after": column.type}
        if canonical(was.type) != canonical(column.type):
            found.append(SchemaChange(kind=Kind.RETYPED, widening=widens(was.type, column.type), **types))
        if was.nullable is not column.nullable:
            found.append(SchemaChange(kind=Kind.NULLABLE if column.nullable else Kind.REQUIRED, **types))
        if kept[places[name]] != name:
            found.append(SchemaChange(kind=Kind.MOVED, **types))
    return tuple(found)


def breaking(mode: ContractMode, found: Sequence[SchemaChange]) -> tuple[SchemaChange, ...]:
    """Those of the changes that a contract's mode does not admit."""
    admitted = _ADMITTED[mode]
    wider = mode is ContractMode.WIDENING
    return tuple(
        change
        for change in found
        if change.kind not in admitted and not (wider and change.kind is Kind.RETYPED and change.widening)
    )


def told(change: SchemaChange) -> str:
    """A change in words."""
    name = f"column {change.column!r}"
    match change.kind:
        case Kind.ADDED:
            return f"{name} is new"
        case Kind.REMOVED:
            return f"{name} is missing"
        case Kind.RETYPED:
            return f"{name} is {change.after} and was {change.before}"
        case Kind.NULLABLE:
            return f"values of {name} may be missing"
        case Kind.REQUIRED:
            return f"values of {name} are always there"
        case Kind.MOVED:
            return f"{name} stands elsewhere"
