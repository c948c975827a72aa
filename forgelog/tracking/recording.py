"""The points of a run, from a program's calls into segments of the spool: in order, by one thread at a time.

Counts what finds no room. Knows no platform, and of the run only its session.
"""

from __future__ import annotations

import struct
import threading
import time as clock
from collections.abc import Callable, Mapping
from typing import Any

from forgelog.errors import ForgelogError
from forgelog.tracking import checking
from forgelog.tracking.segments import MOST_PAIRS, Full, Writer
from forgelog.tracking.spool import Session

RETRY = 1.0
"""Seconds until a full spool is looked at again."""


class Recorder:
    """Takes the points of a process; a forked one has segments of its own."""

    def __init__(self, run_id: str, rotated: Callable[[], object], warn: Callable[[str], None]) -> None:
        """`rotated`: called when a segment was begun. `warn`: tells a person."""
        self._run_id = run_id
        self._rotated = rotated
        self._warn = warn
        self._session: Session | None = None
        self._writer: Writer | None = None
        # A signal's handler may log, and end the run, while its thread is in here.
        self._lock = threading.RLock()
        self._writing = False
        self._later: list[tuple[int, int, Mapping[Any, Any]]] = []
        """Calls that came so."""
        self._next = 0
        self._known: set[Any] = set()
        self.dropped = self._dropped_here = 0
        """Points that were not kept; those of them that the present segment counts."""
        self._retry_at = 0.0

    def open(self, session: Session) -> None:
        """Points go to this session from here on."""
        self._session = session

    def finish(self) -> None:
        """Have all that is there in whole segments; further points begin another one."""
        with self._lock:
            if self._writer is not None:
                self._writer.end()
                self._writer = None

    def close(self) -> None:
        """Take no more."""
        with self._lock:
            self.finish()
            self._session = None

    def forked(self) -> None:
        """This is a process that was forked."""
        self._lock = threading.RLock()
        self._writing, self._later = False, []
        if self._writer is not None:
            self._writer.forget()
            self._writer = None
        self.dropped = self._dropped_here = 0

    def add(self, step: int | None, time: int | None, values: Mapping[Any, Any], dataset: str, model_id: str) -> None:
        """A value for each key. Raises InvalidInput, and ForgelogError where no session is open."""
        if dataset or model_id:
            values = {(key, model_id, dataset): value for key, value in values.items()}
        if not self._known.issuperset(values):
            new = [each for each in values if each not in self._known]
            named = [each[0] for each in new] if dataset or model_id else new
            checking.series(named, len(self._known), dataset, model_id)
            self._known.update(new)
        now = clock.time_ns() // 1_000_000 if time is None else time
        with self._lock:
            at = self._next if step is None else step
            if self._writing:
                self._later.append((at, now, values))
                return
            self._writing = True
            try:
                self._add(at, now, values)
                self._next = at + 1
                while self._later:
                    self._add(*self._later.pop(0))
            except (struct.error, TypeError, OverflowError, ValueError):
                if self._session is None:  # a signal's handler has ended it just now
                    raise over(self._run_id) from None
                raise checking.what_is_no_number(at, values) from None
            finally:
                self._writing = False

    def _add(self, step: int, time: int, values: Mapping[Any, Any]) -> None:
        if len(values) > MOST_PAIRS:
            items = [*values.items()]
            for first in range(0, len(items), MOST_PAIRS):
                self._add(step, time, dict(items[first : first + MOST_PAIRS]))
            return
        if self._writer is not None:
            try:
                self._writer.add(step, time, values)
                return
            except Full:
                pass
        if self._session is None:
            raise over(self._run_id)
        if (writer := self._next_segment()) is not None:
            writer.add(step, time, values)
        else:
            for value in values.values():
                struct.pack("<d", value)  # what is no number is told, also while the spool is full
            self._drop(len(values))

    def _next_segment(self) -> Writer | None:
        assert self._session is not None
        if self._dropped_here and clock.monotonic() < self._retry_at:
            return None
        try:
            writer = self._session.segment()
        except OSError as error:
            writer = None
            self._warn(f"the spool {self._session.spool.path} takes nothing more: {error.strerror or error}")
        if writer is None:
            self._retry_at = clock.monotonic() + RETRY
            return None
        if self._writer is not None:
            self._writer.end()
        self._writer = writer
        self._dropped_here = 0
        self._rotated()
        return writer

    def _drop(self, points: int) -> None:
        assert self._session is not None
        self.dropped += points
        self._dropped_here += points
        spool = self._session.spool
        self._warn(
            f"the spool {spool.path} has its most bytes ({spool.limit}): points of run {self._run_id} are dropped, and "
            "counted by its tag forgelog.dropped_points, until the platform takes what is there"
        )
        if self._writer is None:
            try:
                self._writer = self._session.segment(Writer.LEAST)
            except OSError:
                return  # not even that: the disk is full, and they are counted here alone
        assert self._writer is not None
        self._writer.count_dropped(self._dropped_here)


def over(run_id: str) -> ForgelogError:
    return ForgelogError(f"run {run_id} was ended; resume() goes on with it")
