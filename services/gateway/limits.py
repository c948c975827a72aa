"""Bounded work in hand: above a bound a request is told when to come back, instead of making all the others slow.

What is bounded is memory (calls, commands, bytes) and waiting (commands that are in the log and not decided). A refusal
is made before a body is decoded, so that it costs next to nothing; its hint is how long what is in hand will take.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import grpc

from events.log.envelope import Position
from events.log.wire import Raw
from events.process.settings import Settings
from services.gateway import metrics
from services.gateway.errors import DoorError
from services.gateway.slow import Patience

SHORTEST_HINT, LONGEST_HINT = 0.1, 30.0
"""Seconds that a client is told to wait."""

PATIENCE = 1.0
"""Seconds for which commands may wait to be decided, however many they are: a burst is no overload."""

SAMPLE_SECONDS = 0.1
"""How exactly it is known since when a command waits."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Most of each kind at a time; `Settings` has the same with ``gateway_`` before the name."""

    requests: int = 1_000
    """Requests with commands, whether they wait for the outcome or not."""
    commands: int = 20_000
    """Commands in all those requests."""
    bytes: int = 64 << 20
    """Bytes of all those requests' bodies."""
    backlog: int = 10_000
    """Most commands of one context in the log that are not decided yet, from all publishers."""
    object_bytes: int = 256 << 20
    """Bytes of objects that are on their way in or out."""
    queries: int = 1_000
    streams: int = 2_000
    connections: int = 4_000
    patience: Patience = field(default_factory=Patience)

    @classmethod
    def of(cls, settings: Settings) -> Bounds:
        return cls(
            requests=settings.gateway_requests,
            commands=settings.gateway_commands,
            bytes=settings.gateway_bytes,
            backlog=settings.gateway_backlog,
            object_bytes=settings.gateway_object_bytes,
            queries=settings.gateway_queries,
            streams=settings.gateway_streams,
            connections=settings.gateway_connections,
            patience=Patience(
                settings.gateway_head_seconds, settings.gateway_body_seconds, settings.gateway_unread_seconds
            ),
        )

    @property
    def calls(self) -> int:
        """gRPC calls at a time that get as far as a handler, which can refuse in words and with a hint."""
        return self.requests + self.queries + self.streams + 500


class Pace:
    """How fast something was done when it was last done for a second or more."""

    def __init__(self) -> None:
        self._since = time.monotonic()
        self._count = 0
        self._rate = 0.0

    def done(self, count: int) -> None:
        now = time.monotonic()
        passed = now - self._since
        if passed > 2.0:  # a rest, which says nothing of the pace
            self._since, self._count = now, count
            return
        self._count += count
        if passed >= 1.0:
            rate = self._count / passed
            self._rate = (self._rate + rate) / 2 if self._rate else rate
            self._since, self._count = now, 0

    def hint(self, count: int) -> float:
        """Seconds that so many take."""
        return min(LONGEST_HINT, max(SHORTEST_HINT, count / self._rate)) if self._rate else 1.0


class Limit:
    """Counts what is in hand of one kind."""

    def __init__(self, kind: str, most: int) -> None:
        self._kind = kind
        self._most = most
        self._count = 0
        self._gauge = metrics.in_flight.labels(kind)
        self._pace = Pace()

    @property
    def count(self) -> int:
        return self._count

    @contextmanager
    def take(self, count: int = 1) -> Iterator[None]:
        """Raises DoorError(RESOURCE_EXHAUSTED) when there is no room for `count` more."""
        if self._count + count > self._most:
            raise exhausted(
                f"{self._count} {self._kind} are in hand already, of {self._most} at most", self._pace.hint(self._count)
            )
        self._count += count
        self._gauge.inc(count)
        try:
            yield
        finally:
            self._count -= count
            self._gauge.dec(count)
            self._pace.done(count)


class _Place:
    """One partition of commands."""

    def __init__(self, offset: int) -> None:
        self.published = self.decided = offset
        """Every command before `decided` is; this gateway has published none at or behind `published`."""
        self.waiting: deque[tuple[int, float]] = deque()
        """Offset and time of commands published here and not decided, about one in `SAMPLE_SECONDS`."""


class Undecided:
    """How far the decisions are behind the commands, by context.

    Measured in the log itself: where this gateway's last commands are, and which command the newest events follow from.
    What others publish between is so counted too. (Quiet commands leave no trace: they count only while a command of
    this gateway's behind them waits.)
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._places: dict[str, dict[int, _Place]] = {}
        self._paces: dict[str, Pace] = {}

    def published(self, position: Position) -> None:
        """A command that leaves a trace when it is decided is in the log."""
        places = self._places.setdefault(position.topic, {})
        place = places.get(position.partition)
        if place is None:
            place = places[position.partition] = _Place(position.offset)
        if position.offset < place.decided:
            return  # decided before Kafka's word that it has it came
        place.published = max(place.published, position.offset + 1)
        now = time.monotonic()
        if not place.waiting or now - place.waiting[-1][1] >= SAMPLE_SECONDS:
            place.waiting.append((position.offset, now))

    def saw(self, event: Raw) -> None:
        """A valid event was read."""
        places = self._places.get(f"commands{event.topic[len('events') :]}")
        place = places.get(event.partition) if places else None
        if place is None or place.decided >= place.published:
            return
        cause = event.cause
        if cause is None or not cause.position.topic.startswith("commands."):
            return
        decided = cause.position.offset + 1
        if decided > place.decided:
            topic = cause.position.topic
            self._paces.setdefault(topic, Pace()).done(decided - place.decided)
            place.decided = decided
            while place.waiting and place.waiting[0][0] < decided:
                place.waiting.popleft()

    def of(self, topic: str) -> int:
        """Commands of a context that are known to wait."""
        return sum(max(0, place.published - place.decided) for place in self._places.get(topic, {}).values())

    def check(self, topics: Iterable[str]) -> None:
        """Raises DoorError(RESOURCE_EXHAUSTED) when too many commands of one of these topics wait, and do for long."""
        for topic in topics:
            behind = self.of(topic)
            if behind < self._most:
                continue
            oldest = min((place.waiting[0][1] for place in self._places[topic].values() if place.waiting), default=None)
            if oldest is not None and (late := time.monotonic() - oldest) >= PATIENCE:
                pace = self._paces.get(topic)
                raise exhausted(
                    f"{behind} commands in {topic} are not decided yet, the oldest for {late:.1f} s; {self._most} may "
                    f"be",
                    pace.hint(behind - self._most // 2) if pace is not None else 1.0,
                )


def exhausted(problem: str, hint: float) -> DoorError:
    """The refusal of what there is no room for now."""
    metrics.refused.labels("resource_exhausted").inc()
    return DoorError(
        grpc.StatusCode.RESOURCE_EXHAUSTED, f"{problem}; try again in {max(hint, 0.1):.1f} s", retry_after=hint
    )
