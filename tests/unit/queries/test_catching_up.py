"""Those who found nothing share one look at the log's ends, and none of them takes one that began before it came."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from aiokafka.errors import KafkaConnectionError

from events.log.envelope import Position
from events.queries.catching_up import CatchingUp

FIRST, SECOND = Position("events.jobs", 0, 7), Position("events.jobs", 0, 8)


class Tables:
    """Stands for a runner: the log's ends are told when they are let."""

    def __init__(self, *ends: Position | Exception) -> None:
        self.ends = list(ends)
        self.let = asyncio.Event()
        self.waited: list[list[Position]] = []
        self.missing: list[Position] = []

    async def newest(self) -> list[Position]:
        end = self.ends.pop(0)
        await self.let.wait()
        if isinstance(end, Exception):
            raise end
        return [end]

    async def wait_for(self, wanted: Sequence[Position], timeout: float) -> list[Position]:
        self.waited.append(list(wanted))
        return self.missing


async def test_a_look_that_has_begun_takes_nobody_in() -> None:
    tables = Tables(FIRST, SECOND)
    behind = CatchingUp(tables)
    first = asyncio.create_task(behind.why_behind())
    while len(tables.ends) == 2:
        await asyncio.sleep(0)
    later = [asyncio.create_task(behind.why_behind()) for _ in range(3)]
    await asyncio.sleep(0)
    tables.let.set()
    assert await asyncio.gather(first, *later) == [""] * 4
    assert tables.waited == [[FIRST], [SECOND], [SECOND], [SECOND]]


async def test_what_the_tables_lack_is_named() -> None:
    tables = Tables(FIRST)
    tables.let.set()
    tables.missing = [FIRST]
    assert await CatchingUp(tables).why_behind() == "the tables do not contain events.jobs/0@7 yet"


@pytest.mark.parametrize(
    ("error", "says"),
    [(KafkaConnectionError("10.0.0.7 refuses"), "the broker can't be asked"), (LookupError("no"), "are not read")],
)
async def test_without_the_log_nothing_is_known(error: Exception, says: str) -> None:
    tables = Tables(error, FIRST)
    tables.let.set()
    behind = CatchingUp(tables)
    assert says in await behind.why_behind()
    assert await behind.why_behind() == ""


async def test_a_broker_that_does_not_answer_is_waited_for_only_so_long() -> None:
    assert "does not answer" in await CatchingUp(Tables(FIRST)).why_behind(0.01)
