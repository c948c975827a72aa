"""How the context's backgrounds (`events.hosting.Background`) keep at their work."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import asyncpg
from aiokafka.errors import KafkaError

from events.language.base import Command
from events.language.common import PLATFORM_ACTOR
from events.log.publish import Outgoing
from events.objects.store import ObjectStoreError
from events.queries.queries import QueryError, ReadModel
from events.writer.origins import Asker

log = logging.getLogger("forgelog.experiments")

TABLES_MISSING = (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError, asyncpg.InvalidSchemaNameError)
"""What a query raises whose tables are about to be made."""


async def again_and_again(work: Callable[[], Awaitable[None]], pause: float, trouble: str) -> None:
    """Do the work, `pause` seconds after it ended, until cancelled. What a server that is away raises does not end it:
    it is logged, behind `trouble`, as ``files can't be looked at now``."""
    while True:
        try:
            await work()
        except (KafkaError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError, QueryError) as error:
            log.warning("%s: %s: %s", trouble, type(error).__name__, error)
        except ObjectStoreError as error:
            log.warning("%s: %s", trouble, error)
        await asyncio.sleep(pause)


def own_order(command: Command, id: str, project: str) -> Outgoing:
    """A command of the platform's own: it is an order of the aggregate to itself, as no client can say of a command."""
    origin = str(Asker("experiments", command.decider_kind(), command.key() or project))
    source = "forgelog/experiments"
    return Outgoing(command, id, project=project, actor=PLATFORM_ACTOR, source=source, origin=origin)


async def tables_made(read: ReadModel) -> None:
    """Returns once events have been stored; before that there may be no tables."""
    runner = read.runner
    async with runner.changes:
        await runner.changes.wait_for(lambda: bool(runner.positions))
