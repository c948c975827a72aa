"""The studies as they are now: a fold of the log in memory, begun when somebody first asks.

An Optuna client reads dozens of times for each trial, so its reads cost no query of a service. What it has written
itself it finds again: `reached` waits for the events of its command.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping

import grpc
from aiokafka.errors import KafkaError

from events.language.experiments import TuningEvent, TuningReleased
from events.log.envelope import Position
from events.log.positions import Place
from events.log.tail import NoTopic, Tail
from events.log.topics import context_of
from events.log.wire import Raw
from events.process.settings import Settings
from events.process.tasks import end_all
from services.gateway.errors import DoorError
from services.gateway.optuna_studies import Studies

log = logging.getLogger("forgelog.gateway")

CONTEXT = "experiments"

PATIENCE = 300.0
"""Seconds that a call waits for the log to be read. Optuna's clients do not ask again."""


def _leaves(of: type[TuningEvent]) -> Iterable[str]:
    for kind in of.__subclasses__():
        yield kind.__name__
        yield from _leaves(kind)


_WANTED = frozenset((*_leaves(TuningEvent), TuningReleased.__name__))
"""Names of the types that are folded, of any version; the others are not even decoded."""


class Live:
    """Follows the log from its first use until it is closed."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.studies = Studies()
        self._folded: dict[Place, int] = {}
        """Place → the offset up to which it is folded."""
        self._goal: Mapping[Place, int] | None = None
        """What has to be folded before anything is answered; None until that is known."""
        self._moved = asyncio.Condition()
        self._task: asyncio.Task[None] | None = None
        self._stopped = ""
        """Why a partition of the fold stands still; empty while none does."""

    async def caught_up(self) -> None:
        """Wait until all is folded that was there when the fold began. Raises DoorError."""
        if self._task is None:
            self._task = asyncio.create_task(self._follow())
        if not self._current():
            await self._wait(self._current)

    async def reached(self, positions: Iterable[Position]) -> None:
        """Wait until these are folded. Raises DoorError."""
        wanted = {(context_of(each.topic), each.partition): each.offset for each in positions}

        def there() -> bool:
            return all(self._folded.get(place, 0) > offset for place, offset in wanted.items() if place[0] == CONTEXT)

        await self.caught_up()
        if not there():
            await self._wait(there)

    async def close(self) -> None:
        if self._task is not None:
            task, self._task = self._task, None
            await end_all([task])

    def _current(self) -> bool:
        goal = self._goal
        return goal is not None and all(self._folded.get(place, 0) >= offset for place, offset in goal.items())

    async def _wait(self, for_what: Callable[[], bool]) -> None:
        try:
            async with asyncio.timeout(PATIENCE), self._moved:
                await self._moved.wait_for(lambda: bool(self._stopped) or for_what())
        except TimeoutError:
            raise _unavailable("it takes longer than usual") from None
        if not for_what():
            raise _unavailable(self._stopped)

    async def _follow(self) -> None:
        pause = 0.2
        while True:
            try:
                await self._read()
            except (OSError, KafkaError, NoTopic) as error:  # a log that was cut or is another one, too
                log.warning("studies: %s; reading the log anew in %.1f s", error, pause)
            await asyncio.sleep(pause)
            pause = min(2 * pause, 5.0)

    async def _read(self) -> None:
        async with Tail(self._settings, (CONTEXT,), patient=True) as tail:
            self.studies, self._folded, self._goal, self._stopped = Studies(), {}, None, ""
            self._goal = await tail.ends()
            while True:
                for raw in await tail.poll_raw(1.0):
                    if not raw.is_marker and not tail.stands_before(raw):
                        self._take(raw, tail)
                self._folded = {place: position.offset for place, position in tail.positions.items()}
                if not tail.stopped:
                    self._stopped = ""
                async with self._moved:
                    self._moved.notify_all()

    def _take(self, raw: Raw, tail: Tail) -> None:
        if raw.type.rsplit(".", 1)[-1] not in _WANTED:
            return
        try:
            self.studies.fold(raw.decode().data)
        except Exception as error:
            log.exception("studies stand still at %s", raw.position)
            self._stopped = f"they stand still at {raw.position}: {error}; `forgelog status` and `repair` tell more"
            tail.stop_at(raw)


def _unavailable(why: str) -> DoorError:
    text = f"the studies can't be read from the log now ({why}); try again"
    return DoorError(grpc.StatusCode.UNAVAILABLE, text)
