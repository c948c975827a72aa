"""Whether readers move on: how far each has read, against what there is to read. Pure: it is told numbers and time.

A reader that is behind and moves is busy; one that is behind and has not moved for longer than a bound stands still.
Must not know what is read, nor why it stands.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

ASLEEP = 5.0
"""Seconds between two looks from which on the process itself was not running (stopped, or the machine slept): what did
not move meanwhile could not."""

_SEEN = 600
"""Most ends remembered of a reader that is behind."""


@dataclass(frozen=True, slots=True)
class Lag:
    """How a reader fares at one place."""

    kind: str
    """commands (to be decided), events (of others, to be handled), appends (on their way into the log), orders (own
    events whose orders to others are to be sent), tables (events to be projected), or stream (records to be stored)."""
    place: str
    """Such as ``commands.jobs/3``."""
    position: int
    """The next offset to be read."""
    end: int
    """One behind the last that is there, as far as is known."""
    oldest_seconds: float = 0.0
    """For how long the oldest of what is left has been there, as far as this process has seen; 0 when nothing is."""
    still_seconds: float = 0.0
    """For how long the reader has not moved though it is behind."""
    cause: str = ""
    """Why it stands still; empty while it moves, or has nothing to read."""

    @property
    def left(self) -> int:
        """Records that are still to be read."""
        return max(0, self.end - self.position)


@dataclass(slots=True)
class _Reader:
    position: int = -1
    moved: float = 0.0
    ends: deque[tuple[float, int]] = field(default_factory=deque)
    """When the end was first seen at an offset, of those that are not reached."""
    lag: Lag | None = None


class Progress:
    """The readers of one process. `note` each about once a second, between `begin` and `end`."""

    def __init__(self, patience: float) -> None:
        """`patience`: seconds without a move from which on a reader that is behind stands still."""
        self._patience = patience
        self._readers: dict[tuple[str, str], _Reader] = {}
        self._noted: set[tuple[str, str]] = set()
        self._now = 0.0

    def begin(self, now: float) -> None:
        """A new look, at `now` (monotonic seconds)."""
        asleep = now - self._now if self._readers and now - self._now > ASLEEP else 0.0
        if asleep:
            for reader in self._readers.values():
                reader.moved += asleep
                reader.ends = deque((since + asleep, end) for since, end in reader.ends)
        self._now = now
        self._noted.clear()

    def note(self, kind: str, place: str, position: int, end: int, cause: str = "") -> None:
        """A reader's numbers. `cause`: what is known to hold it."""
        key = kind, place
        self._noted.add(key)
        reader = self._readers.setdefault(key, _Reader())
        if position != reader.position:
            reader.position, reader.moved = position, self._now
        ends = reader.ends
        while ends and ends[0][1] <= position:
            ends.popleft()
        while ends and ends[-1][1] > end:
            ends.pop()  # the log is another one now, or was cut
        if end > position and (not ends or end > ends[-1][1]):
            if not ends:
                reader.moved = max(reader.moved, self._now)
            if len(ends) < _SEEN:
                ends.append((self._now, end))
        oldest = self._now - ends[0][0] if ends else 0.0
        still = self._now - reader.moved if ends else 0.0
        if still <= self._patience:
            cause = ""
        reader.lag = Lag(
            kind, place, position, end, oldest, still, cause or (_UNKNOWN if still > self._patience else "")
        )

    def end(self) -> None:
        """The look is over: readers that were not noted are not this process's any more."""
        for key in set(self._readers) - self._noted:
            del self._readers[key]

    @property
    def lags(self) -> list[Lag]:
        """Every reader, in order."""
        return [reader.lag for _, reader in sorted(self._readers.items()) if reader.lag is not None]

    def standing(self) -> dict[str, str]:
        """Place → what waits there, for how long, and why; of the readers that stand still."""
        return {f"{lag.kind} {lag.place}": described(lag) for lag in self.lags if lag.cause}


_UNKNOWN = "no cause is known: see the service's log, and start it again"

_WORDS = {
    "commands": ("command is not decided", "commands are not decided"),
    "events": ("event is not handled", "events are not handled"),
    "appends": ("append has not ended", "appends have not ended"),
    "orders": ("event is not looked at for orders", "events are not looked at for orders"),
    "stream": ("record is not stored", "records are not stored"),
    "tables": ("event is not in the tables", "events are not in the tables"),
}


def described(lag: Lag) -> str:
    """A lag in a sentence."""
    one, many = _WORDS[lag.kind]
    what = f"{lag.left} {one if lag.left == 1 else many}"
    if not lag.cause:
        return f"{what}, the oldest for {lag.oldest_seconds:.0f} s"
    return f"{what}; nothing has moved for {lag.still_seconds:.0f} s: {lag.cause}"
