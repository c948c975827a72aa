"""Up to which time partitions are done (read, or stored), as their ends tell. No I/O, no clock."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping


class DoneTo:
    """Of each partition: the time up to which all that was in the log is done.

    It follows from an end that was asked for at that time, once what is done reaches it. Times are of one monotonic
    clock.
    """

    def __init__(self) -> None:
        self._done: dict[int, float] = {}
        self._ends: dict[int, tuple[int, float]] = {}
        """Partition → an end that is not reached yet, and when it was asked for."""

    def time(self, partition: int) -> float:
        """The time up to which a partition is done."""
        return self._done.get(partition, -math.inf)

    def to_ask(self, wanted: Mapping[int, float]) -> set[int]:
        """Partitions whose ends have to be asked for, to learn that they are done up to these times. One whose last
        answer is not reached yet is none of them, so that a partition that grows gets there."""
        return {n for n, moment in wanted.items() if self.time(n) < moment and n not in self._ends}

    def heard(self, ends: Mapping[int, int], asked: float) -> None:
        """The ends of partitions, asked for at a time."""
        for partition, end in ends.items():
            self._ends.setdefault(partition, (end, asked))

    @property
    def open(self) -> Collection[int]:
        """Partitions whose ends are known and not reached."""
        return self._ends.keys()

    def reach(self, partition: int, offset: int) -> bool:
        """All before an offset is done; whether a partition is done up to a later time by that."""
        end, asked = self._ends.get(partition, (math.inf, 0.0))
        if offset < end:
            return False
        del self._ends[partition]
        self._done[partition] = asked
        return True

    def forget(self, partition: int) -> None:
        """Nothing is known of a partition: it stands still, or is read again."""
        self._done.pop(partition, None)
        self._ends.pop(partition, None)
