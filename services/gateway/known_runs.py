"""Which runs take points: those that there are, that are not deleted, and that have room for further series.

Kept for the runs that points come for: from the events that the gateway reads anyway, and what it has not read it asks
the service for. Several gateways may each let a run have its last series; the service's intake decides.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any

import grpc

from events.language.common import FieldError, shown
from events.language.experiments import RunCreated, RunDeleted, RunRestored
from events.language.experiments.points import MAX_SERIES, SeriesName
from events.language.experiments.purging import RunPurged
from events.log.topics import events
from events.log.wire import Raw
from services.gateway.errors import DoorError

MOST_RUNS = 20_000
"""Runs that are kept, of those that points came for last."""
MOST_NAMES = 1_000_000
"""Series of all of them."""

_TOPIC = events("experiments")
_CREATED, _DELETED, _RESTORED, _PURGED = (kind.type_name() for kind in (RunCreated, RunDeleted, RunRestored, RunPurged))
_CHANGES = {_CREATED: False, _DELETED: True, _RESTORED: False, _PURGED: True}


@dataclass(frozen=True, slots=True)
class Asked:
    """What the service says of a run."""

    deleted: bool
    series: frozenset[SeriesName]
    purged: bool = False


Ask = Callable[[], Coroutine[Any, Any, Asked | None]]
"""Asks the service for a run; None if there is none. Raises what a query raises."""


@dataclass(slots=True)
class _Known:
    deleted: bool | None = None
    """None while no event told."""
    purged: bool = False
    series: set[int] | None = None
    """Hashes of the names of its series; None until it was asked."""


class KnownRuns:
    """The runs, with what is known of each."""

    def __init__(self) -> None:
        self._runs: OrderedDict[str, _Known] = OrderedDict()
        self._names = 0
        """Names of all of them."""
        self._asking: dict[str, asyncio.Task[Asked | None]] = {}

    def forget(self) -> None:
        """Drop all: events may have been missed."""
        self._runs.clear()
        self._names = 0

    def saw(self, event: Raw) -> None:
        """A valid event was read."""
        if event.topic != _TOPIC or (deleted := _CHANGES.get(event.type)) is None:
            return
        known = self._of((event.get("ce_subject") or b"").decode(errors="replace"))
        known.deleted = deleted
        known.purged = event.type == _PURGED
        if event.type == _CREATED:
            known.series = set()

    async def admit(self, run: str, series: Iterable[SeriesName], ask: Ask) -> None:
        """Returns if a run takes points of these series. `ask` is called if that is not known. Raises DoorError that
        names the field, and what `ask` raises."""
        known = self._of(run)
        if known.series is None or known.deleted is None:
            await self._learn(run, known, ask)
        if known.purged:
            problem, hint = f"run {run} is purged", "it takes no points any more; use another run"
            raise _refused(grpc.StatusCode.FAILED_PRECONDITION, "run_id", problem, hint)
        if known.deleted:
            problem = f"run {run} is deleted"
            raise _refused(grpc.StatusCode.FAILED_PRECONDITION, "run_id", problem, "restore it first")
        assert known.series is not None, "it was asked for"
        new = {hash(name) for name in series} - known.series
        if not new:
            return
        if (count := len(known.series) + len(new)) > MAX_SERIES:
            problem = f"run {run} would have {count} series; at most {MAX_SERIES} are taken"
            hint = "use steps instead of further keys, or another run"
            raise _refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "series", problem, hint)
        known.series |= new
        self._count(run, known, len(new))

    def _of(self, run: str) -> _Known:
        known = self._runs.get(run)
        if known is None:
            known = self._runs[run] = _Known()
            while len(self._runs) > MOST_RUNS or (self._names > MOST_NAMES and len(self._runs) > 1):
                _, dropped = self._runs.popitem(last=False)
                self._names -= len(dropped.series or ())
        self._runs.move_to_end(run)
        return known

    async def _learn(self, run: str, known: _Known, ask: Ask) -> None:
        """Ask the service for what no event told. Those that come together share one question."""
        asking = self._asking.get(run)
        if asking is None:
            asking = self._asking[run] = asyncio.create_task(ask())
            asking.add_done_callback(lambda task: self._answered(run, task))
        answer = await asyncio.shield(asking)
        if known.series is not None and known.deleted is not None:
            return  # events told meanwhile
        if answer is None:
            self._runs.pop(run, None)
            problem, hint = f"there is no run {shown(run)}", "create it first, with CreateRun"
            raise _refused(grpc.StatusCode.NOT_FOUND, "run_id", problem, hint)
        if known.deleted is None:  # an event that came meanwhile is newer
            known.deleted, known.purged = answer.deleted, answer.purged
        known.series = {hash(name) for name in answer.series}
        self._count(run, known, len(known.series))

    def _count(self, run: str, known: _Known, names: int) -> None:
        if self._runs.get(run) is known:
            self._names += names

    def _answered(self, run: str, task: asyncio.Task[Asked | None]) -> None:
        del self._asking[run]
        if not task.cancelled():
            task.exception()  # it is told to those that still wait


def _refused(code: grpc.StatusCode, field: str, problem: str, hint: str) -> DoorError:
    return DoorError(code, f"{field}: {problem}; {hint}", [FieldError(field=field, problem=problem, hint=hint)])
