"""The log through the client: histories and live events of any context. Knows no event's shape."""

from __future__ import annotations

import heapq
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar, cast

from events.process.counts import count_of
from forgelog.client.core import Namespace
from forgelog.client.plain import Answer, plain, timestamp
from forgelog.client.rows import EventRow
from forgelog.client.words import several
from forgelog.errors import InvalidInput
from forgelog_pb.log.v1 import queries_pb2 as log_pb
from forgelog_pb.log.v1 import queries_pb2_grpc as log_rpc

Item = TypeVar("Item", bound=Mapping[str, Any])


class AsyncLog(Namespace):
    """The log: `forgelog.log.v1.LogQueries` of every service; the gateway routes by context."""

    @property
    def _stub(self) -> Any:
        return log_rpc.LogQueriesStub(self._core.channel)

    async def history(
        self,
        context: str,
        id: str | None = None,
        *,
        at: datetime | None = None,
        flow: bool = False,
        actors: Sequence[str] = (),
        types: Sequence[str] = (),
        projects: Sequence[str] = (),
        since: datetime | None = None,
        until: datetime | None = None,
        aggregate: str = "",
        by_itself: bool = False,
        limit: int | None = None,
    ) -> list[EventRow]:
        """An aggregate's events, oldest first: ``position``, ``time``, ``type``, ``actor``, ``data`` (a dict) and more.

        Without an `id`, those of all aggregates. With `flow`, `id` is a command's, and the events are those of the flow
        that it began, in that context. Only those that fit all filters: of these `actors`, `types` (may be short:
        ``JobStarted``) and `projects`, at `since` or later, before `until`; about an `aggregate` of this kind
        (``job``, ``node``); with `by_itself`, what the platform did by itself. At most `limit`, the oldest.
        """
        if id == "" or (flow and id is None):
            raise InvalidInput(f"id: is empty; give the id of {'a command' if flow else 'a job, a node or a queue'}")
        request = log_pb.GetHistoryRequest(
            context=context,
            options=self._core.options(context, at),
            actors=several(actors),
            types=several(types),
            projects=several(projects),
            since=None if since is None else timestamp(since, "since"),
            until=None if until is None else timestamp(until, "until"),
            aggregate=aggregate,
            by_itself=by_itself,
        )
        if flow:
            request.correlation_id = id or ""
        else:
            request.subject = id or ""
        what = f"history of {id or context}"
        return [_event(row) for row in await self._core.pages(self._stub.GetHistory, request, "events", what, limit)]

    async def watch(
        self,
        context: str,
        *,
        subjects: Sequence[str] = (),
        types: Sequence[str] = (),
        after: Sequence[str] = (),
        actors: Sequence[str] = (),
        projects: Sequence[str] = (),
        since: datetime | None = None,
        until: datetime | None = None,
        aggregate: str = "",
        by_itself: bool = False,
    ) -> AsyncIterator[EventRow]:
        """Events as they happen, without an end but `until`; goes on where it was when the connection breaks: no event
        is left out and none comes twice.

        `types` may be short (``JobStarted``); `after` are positions to start behind. In partitions not named there it
        starts at the time `since`, else at the end. `subjects`, `actors`, `projects`, `aggregate` and `by_itself`
        filter as in `history`.
        """
        reached: dict[str, int] = {}
        if since is None:
            # Asked first, so that an event which happens while the first connection is lost is known to be new.
            ends = (await self.status(context)).projected
            own = f"events.{context}/"
            reached |= {place: end - 1 for place, end in ends.items() if place.startswith(own) and end > 0}
        reached |= dict(_place_offset(position) for position in several(after))
        began = None if since is None else timestamp(since, "since")
        ends_at = None if until is None else timestamp(until, "until")
        async for response in self._core.connection.resumed(
            self._stub.WatchEvents,
            lambda: log_pb.WatchEventsRequest(
                context=context,
                subjects=several(subjects),
                types=several(types),
                after=[f"{place}@{offset}" for place, offset in reached.items()],
                actors=several(actors),
                projects=several(projects),
                since=began,
                until=ends_at,
                aggregate=aggregate,
                by_itself=by_itself,
            ),
            what=f"watch {context}",
            endless=until is None,
        ):
            place, offset = _place_offset(response.event.position)
            reached[place] = offset
            yield _event(plain(response.event))

    async def until_shown(self) -> None:
        """Wait until the tables have what this client's commands led to, of those whose outcomes it was told: from then
        on other clients see it too. Raises `Unavailable` where they are far behind."""
        for context in self._core.written:
            request = log_pb.GetHistoryRequest(
                context=context, subject=context, options=self._core.options(context, None)
            )
            request.page.limit = 1  # what is asked for does not matter: the answer waits for what was written
            await self._core.ask(self._stub.GetHistory, request, f"the tables of {context}")

    async def status(self, context: str) -> Answer:
        """How a context's writer and projection fare."""
        return plain(
            await self._core.ask(self._stub.GetStatus, log_pb.GetStatusRequest(context=context), f"status of {context}")
        )


def _event(record: Answer) -> EventRow:
    import orjson

    record["data"] = Answer(orjson.loads(record["data"])) if record["data"] else Answer()
    return cast("EventRow", record)


def in_order(events: Iterable[Item]) -> list[Item]:
    """Events of several histories as one: by time, but none before the one that led to it, nor before an earlier one of
    its partition. (Writers have clocks of their own, and an answer may be as old as its question to the millisecond.)

    A topological sort (Kahn 1962): of the events whose forerunners have all been told, the oldest is told next.
    """
    items = sorted(events, key=_by_time)
    by_name = {name: index for index, item in enumerate(items) for name in (item["position"], item.get("id")) if name}
    followers: dict[int, list[int]] = {}
    missing = [0] * len(items)

    def follows(index: int, forerunner: int | None) -> None:
        if forerunner is not None and forerunner != index:
            followers.setdefault(forerunner, []).append(index)
            missing[index] += 1

    newest: dict[str, int] = {}
    for index in sorted(range(len(items)), key=lambda index: _place_offset(items[index]["position"])):
        item = items[index]
        place, _ = _place_offset(item["position"])
        follows(index, newest.get(place))
        newest[place] = index
        follows(index, by_name.get(item.get("cause", "")))
        follows(index, by_name.get(item.get("causation_id", "")))
    ready = [index for index, count in enumerate(missing) if not count]
    told: list[Item] = []
    while ready:
        index = heapq.heappop(ready)
        told.append(items[index])
        for follower in followers.get(index, ()):
            missing[follower] -= 1
            if not missing[follower]:
                heapq.heappush(ready, follower)
    return told


def _by_time(event: Mapping[str, Any]) -> tuple[Any, ...]:
    return event["time"], *_place_offset(event["position"])


def _place_offset(position: str) -> tuple[str, int]:
    place, _, offset = position.rpartition("@")
    number = count_of(offset)
    if not place or number is None:
        raise InvalidInput(f"{position!r} is not a position; write topic/partition@offset")
    return place, number
