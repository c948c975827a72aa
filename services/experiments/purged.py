"""What is purged, as queries tell of it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

import grpc

from events.process.instants import instant
from events.projections.tables import Db
from events.queries.queries import QueryError, ReadModel, read_options

_KEYS = {"run": "run_id", "logged model": "model_id"}
_TABLES = {"run": "runs", "logged model": "logged_models"}


def gone(kind: str, id: str, purged_at: datetime) -> QueryError:
    """Why something can't be told of what is purged."""
    text = f"{kind} {id} was purged at {instant(purged_at)}: what it held is gone, as of any time; its events stay"
    return QueryError(grpc.StatusCode.FAILED_PRECONDITION, text)


async def purged_among(db: Db, ids: Collection[str], kind: str = "run") -> dict[str, datetime]:
    """When those of these ids that are purged were. `db`: a view of the tables as they are now."""
    key = _KEYS[kind]
    rows = await db.fetch(
        f"select {key} as id, purged_at from {_TABLES[kind]} where {key} = any($1::text[]) and purged_at is not null",
        list(ids),
    )
    return {row["id"]: row["purged_at"] for row in rows}


async def purged_since(read: ReadModel, ids: Collection[str], options: Any, kind: str = "run") -> dict[str, datetime]:
    """As `purged_among`, for an answer as of an earlier time, whose rows don't say so; empty for one as of now. Raises
    QueryError."""
    if not ids or read_options(options)["as_of"] is None:
        return {}
    async with read.view() as db:
        return await purged_among(db, ids, kind)


async def note_purged(read: ReadModel, messages: Sequence[Any], options: Any, kind: str = "run") -> None:
    """Say in an answer's messages as of an earlier time which are purged by now. Raises QueryError."""
    key = _KEYS[kind]
    purged = await purged_since(read, [getattr(each, key) for each in messages], options, kind)
    for each in messages:
        if (purged_at := purged.get(getattr(each, key))) is not None:
            each.purged_at.FromDatetime(purged_at)
