"""A table of the objects that events name, for projections.

A projection whose events name objects (`events.language.objects`) has `REFERENCES` among its tables and keeps a row for
each object that an event of a subject names. Its `touches` yields `reference_keys`, its `project` calls
`put_references`. A row stays as long as the event does. `events.objects.references` asks the tables of all contexts.

What is purged needs its objects no more, though its events name them. A projection that has such events has `PURGED`
among its tables, too, and calls `put_purged`.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from events.language.base import Message
from events.language.objects import ObjectRef
from events.projections.projection import Key, Rows, Table

REFERENCES = Table(
    name="objects",
    key=("subject", "digest"),
    columns={"subject": "text", "digest": "text", "size": "bigint", "bundle": "bool"},
    indexes=("digest",),
)
"""`bundle`: the object is a manifest, which names further objects (`events.objects.manifest`)."""

PURGED = Table(name="purged", key=("subject",), columns={"subject": "text", "purged_at": "timestamptz"})
"""Subjects whose rows of `REFERENCES` count no more."""


def holder(event: Message) -> str:
    """The subject, for rows that may be purged: two aggregates of different kinds may have one id."""
    return f"{event.aggregate}/{event.subject()}"


def reference_keys(subject: str, refs: Iterable[ObjectRef]) -> list[tuple[Table, Key]]:
    """The rows of objects that an event names, for `Projection.touches`."""
    return [(REFERENCES, (subject, ref.digest)) for ref in refs]


def put_references(rows: Rows, subject: str, refs: Iterable[ObjectRef], *, bundle: bool = False) -> None:
    """Note the objects that an event of `subject` names. `bundle`: they are manifests."""
    for ref in refs:
        row = {"subject": subject, "digest": ref.digest, "size": ref.size, "bundle": bundle}
        rows.put(REFERENCES, row)


def put_purged(rows: Rows, subject: str, time: datetime) -> None:
    """Note that what events of `subject` name is needed no more."""
    rows.put(PURGED, {"subject": subject, "purged_at": time})
