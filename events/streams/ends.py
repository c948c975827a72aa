"""The time up to which partitions are done (read, or stored), derived from their end offsets. No I/O, no clock."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping


class DoneTo:
    """For each partition, the time up to which everything that was in the log is done.

    If the end offset was requested at time T, the partition is done up to T once that offset is reached. All times are
    of one monotonic clock.
    """

    def __init__(self) -> None:
        self._done: dict[int, float] = {}
        self._ends: dict[int, tuple[int, float]] = {}
        """Partition → an end offset that is not reached yet, and the time of its request."""

    def time(self, partition: int) -> float:
        """The time up to which a partition is done."""
        return self._done.get(partition, -math.inf)

    def to_ask(self, wanted: Mapping[int, float]) -> set[int]:
        """The partitions whose ends must be requested, to learn whether they are done up to these times. Leaves out a
        partition that has not reached its last end yet: else a growing partition would never be done."""
        return {n for n, moment in wanted.items() if self.time(n) < moment and n not in self._ends}

    def heard(self, ends: Mapping[int, int], asked: float) -> None:
        """Note the end offsets of partitions, which were requested at the time `asked`."""
        for partition, end in ends.items():
            self._ends.setdefault(partition, (end, asked))

    @property
    def open(self) -> Collection[int]:
        """The partitions whose end is known and not reached."""
        return self._ends.keys()

    def reach(self, partition: int, offset: int) -> bool:
        """Note that everything before an offset is done. Returns whether the partition's time has moved by that."""
        end, asked = self._ends.get(partition, (math.inf, 0.0))
        if offset < end:
            return False
        del self._ends[partition]
        self._done[partition] = asked
        return True

    def forget(self, partition: int) -> None:
        """Drop what is known of a partition: it has stopped, or is read again."""
        self._done.pop(partition, None)
        self._ends.pop(partition, None)
