"""What backgrounds (`events.hosting.Background`) share that follow the tables: how they wait for a change of them."""

from __future__ import annotations

import asyncpg

from events.projections.runner import Runner
from events.queries.queries import QueryError

LATER = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, QueryError)
"""The tables are about to be made or exchanged, or the database is away: a change will follow."""


async def moved(runner: Runner, seen: object) -> None:
    """Wait until events have been stored since the tables were at these positions."""
    async with runner.changes:
        await runner.changes.wait_for(lambda: runner.positions != seen)
