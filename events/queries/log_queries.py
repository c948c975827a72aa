"""`forgelog.log.v1.LogQueries` of one context: what it tells of its part of the log. The same code for all contexts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

import grpc

from events.log import native
from events.log.deadletters import list_dead_letters
from events.log.envelope import Position
from events.process.settings import Settings
from events.projections.stored import Positions
from events.projections.tables import HISTORY
from events.queries import history
from events.queries.listing import next_cursor, page
from events.queries.queries import QueryError, ReadModel, read_options
from forgelog_pb.log.v1 import queries_pb2 as pb
from forgelog_pb.log.v1 import queries_pb2_grpc as rpc

_WATCH_BATCH = 1000


def to_event(row: Any) -> Any:
    """A history row as its message."""
    return pb.LoggedEvent(
        context=row["context"],
        position=f"events.{row['context']}/{row['partition']}@{row['off']}",
        id=row["id"],
        type=row["type"],
        subject=row["subject"],
        time=row["time"],
        project=row["project"],
        actor=row["actor"],
        correlation_id=row["correlation"],
        causation_id=row["causation"],
        cause=row["cause"],
        data=row["data"],
        aggregate=row["aggregate"],
        origin=row["origin"],
    )


class LogServicer(rpc.LogQueriesServicer):
    """Answers from the projection's history table."""

    def __init__(self, context: str, read: ReadModel, settings: Settings, status: Callable[[], dict[str, Any]]) -> None:
        self.context = self._context = context
        self._read = read
        self._settings = settings
        self._status = status

    async def GetHistory(self, request: Any, _: Any) -> Any:
        self._check(request.context)
        if request.subject and request.correlation_id:
            raise QueryError(grpc.StatusCode.INVALID_ARGUMENT, "subject, correlation_id: give one of the two")
        filters = history.Filters.of(request, self._context)
        limit, cursor = page(request, history.CURSOR)
        options = read_options(request.options)
        await self._read.wait_for(options["at_least"])
        async with self._read.view() as db:
            rows, end = await history.page_of(
                db,
                self._context,
                filters,
                subject=request.subject,
                correlation=request.correlation_id,
                as_of=options["as_of"],
                after=history.Place(cursor["t"], cursor["p"], cursor["o"]) if cursor else None,
                limit=limit,
            )
        following = ""
        if end is not None:
            row = {"t": end.time, "p": end.partition, "o": end.offset}
            following = next_cursor(row, history.CURSOR, request)
        return pb.GetHistoryResponse(events=[to_event(row) for row in rows], next_cursor=following)

    async def WatchEvents(self, request: Any, context: Any) -> AsyncIterator[Any]:
        self._check(request.context)
        filters = history.Filters.of(request, self._context)
        runner = self._read.runner
        if not runner.positions:
            raise QueryError(grpc.StatusCode.UNAVAILABLE, "the service has just started; ask again")
        reached = self._own(runner.positions)
        if filters.since is not None:
            async with self._read.view() as db:
                reached |= await history.since_offsets(db, self._context, filters.since)
        for text in request.after:
            position = _position(text)
            if position.topic != f"events.{self._context}":
                problem = f"after: {text} is no position of events.{self._context}; give those that this stream gave"
                raise QueryError(grpc.StatusCode.INVALID_ARGUMENT, problem)
            reached[position.partition] = position.offset + 1
        wanted = history.Wanted(self._context, filters, frozenset(request.subjects))
        with self._read.watching.joined(HISTORY, matches=wanted) as watcher:
            while not context.done():
                # Looked at before the events are: what the tables have by then is shown.
                over = filters.until is not None and datetime.now(UTC) >= filters.until
                told = self._own(watcher.reached)
                rows = watcher.take()
                if rows is None:  # told of by nobody
                    reached |= {number: max(reached.get(number, 0), end) for number, end in told.items()}
                    now = dict(runner.positions)
                    async for row in self._spans(reached, self._own(now), wanted):
                        yield pb.WatchEventsResponse(event=to_event(row))
                    watcher.looked(now)
                for row in rows or ():
                    if row["off"] >= reached.get(row["partition"], 0):
                        yield pb.WatchEventsResponse(event=to_event(row))
                if over:
                    return
                if not rows and rows is not None:
                    left = None if filters.until is None else (filters.until - datetime.now(UTC)).total_seconds()
                    await watcher.news(left)

    async def _spans(self, reached: dict[int, int], ends: dict[int, int], wanted: history.Wanted) -> AsyncIterator[Any]:
        """The events between these offsets that are wanted, by partition; `reached` goes on to the ends."""
        for number, end in ends.items():
            while (since := reached.get(number, 0)) < end:
                until = min(end, since + _WATCH_BATCH)
                async with self._read.view() as db:
                    rows = await history.span(
                        db, self._context, number, since, until, list(wanted.subjects), wanted.filters
                    )
                for row in rows:
                    yield row
                reached[number] = until

    def _own(self, positions: Positions) -> dict[int, int]:
        """Partition → how far these positions are. The tables may be made of other contexts' events too, which those
        contexts' services tell of."""
        return {number: at.offset for (name, number), at in positions.items() if name == self._context}

    async def GetStatus(self, request: Any, _: Any) -> Any:
        self._check(request.context)
        status = self._status()
        return pb.GetStatusResponse(
            context=self._context,
            partitions=[
                pb.PartitionStatus(
                    partition=int(number), state=at["state"], epoch=at["epoch"], next_offset=at["next_offset"]
                )
                for number, at in status["partitions"].items()
            ],
            projected=status["projected"],
            problems=status["problems"],
            stopped=[
                pb.StoppedPlace(
                    place=stop.place,
                    position=str(stop.position),
                    record=stop.record,
                    cause=stop.cause,
                    since=stop.since,
                    skippable=stop.skippable,
                    kind=stop.kind,
                )
                for stop in status["stopped"]
            ],
            notices=status["notices"],
            ready=not status["waits"],
            native=native.status(),
            waits=status["waits"],
            lags=[
                pb.Lag(
                    kind=lag.kind,
                    place=lag.place,
                    position=lag.position,
                    end=lag.end,
                    left=lag.left,
                    oldest_seconds=lag.oldest_seconds,
                    still_seconds=lag.still_seconds,
                    cause=lag.cause,
                )
                for lag in status["lags"]
            ],
        )

    async def ListDeadLetters(self, request: Any, _: Any) -> Any:
        self._check(request.context)
        letters = await list_dead_letters(self._settings, self._context, request.limit or 1000)
        return pb.ListDeadLettersResponse(
            letters=[
                pb.DeadLetter(
                    position=str(letter.position),
                    origin=letter.origin,
                    reason=letter.reason,
                    at=letter.at,
                    key=letter.key,
                    headers={name: (value or b"").decode(errors="replace") for name, value in letter.headers},
                    value=letter.value,
                    replayed=letter.replayed,
                )
                for letter in letters
            ]
        )

    def _check(self, context: str) -> None:
        if context and context != self._context:
            raise QueryError(
                grpc.StatusCode.INVALID_ARGUMENT, f"this is the service of {self._context!r}, not of {context!r}"
            )


def _position(text: str) -> Position:
    try:
        return Position.parse(text)
    except ValueError as error:
        raise QueryError(grpc.StatusCode.INVALID_ARGUMENT, f"after: {error}") from None
