"""Where routing tables come from: the events of deployments, and at first the service's answer to what there is now.

A router that was told once needs the log alone; while neither can be reached it goes on with what it has.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping

import grpc
import grpc.aio
from aiokafka.errors import KafkaError

from events.language.convert import to_dict
from events.language.deployments.events import RoutingChanged
from events.language.deployments.routing import RoutingTable
from events.log.envelope import Position
from events.log.positions import Place, ReaderPosition
from events.log.tail import LogLost, NoTopic, Tail
from events.log.topics import events
from events.process.channels import client_options
from events.process.settings import Settings
from events.queries.callers import bearer, services_key
from forgelog_pb.deployments.v1.queries_pb2 import ListRoutingRequest
from forgelog_pb.deployments.v1.queries_pb2_grpc import DeploymentQueriesStub
from services.deployments.router.companion import Change

log = logging.getLogger("forgelog.router")

CONTEXT = "deployments"

ANSWER_SECONDS = 10.0
LONGEST_PAUSE = 5.0
PAGE = 200
MOST_BYTES = 64 << 20

_TYPE = RoutingChanged.type_name()


class LogSource:
    """Follows the log of one platform."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def follow(self, known: Mapping[Place, ReaderPosition]) -> AsyncIterator[Change]:
        """Changes, without end; see `companion.Source`."""
        pause = 0.2
        while True:
            try:
                async for change in self._read(known):
                    known, pause = change.position, 0.2
                    yield change
            except LogLost as error:
                problem, known = f"{error}; all tables are asked for again", {}
            except (OSError, KafkaError, NoTopic) as error:
                problem = f"the log can't be read ({error or type(error).__name__})"
            except grpc.aio.AioRpcError as error:
                problem = f"the deployments service does not answer ({error.code().name}: {error.details()})"
            log.warning("%s; the router goes on with what it has; it tries again in %.1f s", problem, pause)
            await asyncio.sleep(pause)
            pause = min(LONGEST_PAUSE, pause * 2)

    async def _read(self, known: Mapping[Place, ReaderPosition]) -> AsyncIterator[Change]:
        async with Tail(self._settings, (CONTEXT,), start=known or "end", patient=True) as tail:
            if not known:
                # Where the log ends first, then what there is: nothing in between is missed, and no table counts twice.
                position = dict(tail.positions)
                yield Change(tuple(await self._all(position)), whole=True, position=position)
            while True:
                tables = []
                for raw in await tail.poll_raw(1.0):
                    if raw.is_marker or raw.type != _TYPE or tail.stands_before(raw):
                        continue
                    try:
                        data = raw.decode().data
                    except Exception:
                        log.exception(
                            "the routing of some deployments stands still at %s; update the router, or repair",
                            raw.position,
                        )
                        tail.stop_at(raw)
                        continue
                    assert isinstance(data, RoutingChanged)
                    tables.append(data.table)
                if tables:
                    yield Change(tuple(tables), position=dict(tail.positions))

    async def _all(self, position: Mapping[Place, ReaderPosition]) -> list[RoutingTable]:
        """All tables, as of that position at least. Raises AioRpcError."""
        address = self._settings.address_of(CONTEXT)
        request = ListRoutingRequest()
        request.page.limit = PAGE
        request.options.at_least.extend(
            str(Position(events(context), partition, at.offset - 1))
            for (context, partition), at in position.items()
            if at.offset
        )
        metadata = bearer(services_key(self._settings))
        found: list[RoutingTable] = []
        async with grpc.aio.insecure_channel(address, options=client_options(MOST_BYTES)) as channel:
            ask = DeploymentQueriesStub(channel).ListRouting
            while True:
                answer = await ask(request, timeout=ANSWER_SECONDS, metadata=metadata)
                found += (RoutingTable.model_validate(to_dict(one.routing)) for one in answer.routing)
                if not answer.next_cursor:
                    return found
                request.page.cursor = answer.next_cursor
