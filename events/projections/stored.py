"""What a runner tells of a batch that it has stored, to those who listen (`events.queries.watching`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from events.log.positions import Place, ReaderPosition
from events.projections.folding import Written

Positions = Mapping[Place, ReaderPosition]


@dataclass(frozen=True, slots=True)
class Stored:
    """A batch, once its transaction is committed."""

    before: Positions
    """How far the tables held each place."""
    after: Positions
    written: Sequence[Written]
    """The rows that the batch has changed. They hold until the next batch is folded: take what is needed at once."""
    history: Sequence[tuple[Any, ...]]
    """Its rows of the history table, in the order of that table's columns."""


class Listener(Protocol):
    """Told by the runner, after each transaction. Must return at once, and raise nothing."""

    def stored(self, batch: Stored) -> None: ...

    def unknown(self) -> None:
        """The tables may be others than this runner has told of: it has just begun, or another one has stored."""
