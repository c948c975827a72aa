"""What a request means that asks for deleted rows, for all, or for neither."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from events.queries.listing import Listing
from events.queries.queries import invalid
from forgelog_pb.experiments.v1 import queries_pb2 as pb

LIFECYCLE: Mapping[int, str] = {
    pb.LIFECYCLE_UNSPECIFIED: "deleted_at is null",
    pb.LIFECYCLE_DELETED: "deleted_at is not null",
    pb.LIFECYCLE_ALL: "",
}
"""Which rows are meant, as a condition."""

PURGEABLE: Mapping[int, str] = {
    pb.LIFECYCLE_UNSPECIFIED: "deleted_at is null",
    pb.LIFECYCLE_DELETED: "deleted_at is not null and purged_at is null",
    pb.LIFECYCLE_ALL: "purged_at is null",
}
"""The same of what can be purged, and is then in no list."""

L = TypeVar("L")


def listings(
    request: Any, source: str, own: tuple[str, ...] = (), which: Mapping[int, str] = LIFECYCLE, **more: Any
) -> dict[int, Listing]:
    """Lifecycle → the list of what is so, by `which`."""
    return {
        lifecycle: Listing(request, source, descending=True, where=where, own=("lifecycle", *own), **more)
        for lifecycle, where in which.items()
    }


def by_lifecycle(lists: Mapping[int, L], request: Any) -> L:
    """The list that a request's lifecycle names. Raises QueryError."""
    if (found := lists.get(request.lifecycle)) is None:
        raise invalid(f"lifecycle: {request.lifecycle} is no Lifecycle; take deleted, all, or leave it out")
    return found
