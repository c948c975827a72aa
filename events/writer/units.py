"""Makes units of decided events: each event with its place and its aggregate's provenance, encoded, chained. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from events.language.base import Event
from events.log import topics
from events.writer.encoding import Encoded, Encoder, Origin, Placed, TooLarge
from events.writer.kinds import Placings
from events.writer.provenance import Provenance, Subject


class Units:
    """Encodes the units of one partition, one after the other."""

    __slots__ = ("_context", "_number", "_placings", "_salt", "_serial", "encoder", "epoch")

    def __init__(self, context: str, number: int, placings: Placings) -> None:
        self.epoch = -1
        """Offset of this writer's marker; -1 before there is one."""
        self._context = context
        self._number = number
        self._placings = placings
        self.encoder = Encoder(context)
        self._serial = 0
        self._salt = ""

    def begin(self, epoch: int, marker: str = "") -> None:
        """Start an epoch: later records carry it. `marker`: the id of its `WriterStarted`."""
        self.epoch = epoch
        self._salt = f"-{marker[-8:]}" if marker else ""
        self.encoder.begin(epoch)

    def own_id(self) -> str:
        """An id for the next action of the writer itself. Unique even if the log is lost and epochs start again."""
        return f"{self._context}-{self._number}-{self.epoch}{self._salt}-{self._serial}"

    def place(self, decided: Sequence[Event], origin: Origin, *, of_command: bool) -> list[Placed]:
        """The events that `origin` leads to, each with the attributes of its record.

        - Project and origin are those of the event's aggregate.
        - Actor and flow are the command's if a command leads to the event: it is that person's doing. If a reaction or
          a timer does, they are the aggregate's.
        - An aggregate that begins here takes all of them from `origin`. So does an event about an aggregate that has
          not begun, or is over.
        """
        placed: list[Placed] = []
        begun: dict[tuple[str, Subject], Provenance] = {}  # their states do not hold them yet
        _, correlation, actor, project, traceparent, *_, asker = origin
        for event in decided:
            place = self._placings[type(event)]
            if place is None:  # an answer to the command, or an event of the log itself
                subject = event.subject()
                placed.append((event, subject, subject, project, actor, correlation, traceparent, asker))
                continue
            key = event.key()
            named: str = getattr(event, "project") if place.names_project else ""  # noqa: B009
            states = place.kind.states
            if place.own:
                subject, other, own = key, None, None
                if not place.begins and (own := states.own.get(key)) is None:
                    own = states.provenance(key)
            else:
                subject = getattr(event, place.subject_from)
                other, own = (place.aggregate, subject), None
                if not place.begins:
                    own = (begun.get((key, other)) if begun else None) or states.provenance(key, other)
            if own is None:
                own = Provenance.first(named or project, actor, correlation, traceparent, asker)
                if place.begins:
                    states.begin(key, other, own)
                    if other is not None:
                        begun[key, other] = own
                elif other is None:
                    states.note(key, None, own)
            if of_command:
                placed.append((event, key, subject, named or own[0], actor, correlation, traceparent, own[4]))
            else:
                placed.append((event, key, subject, named or own[0], own[1], own[2], own[3], own[4]))
        return placed

    def encode(self, placed: Sequence[Placed], origin: Origin, now: datetime) -> tuple[list[Encoded], int]:
        """The records of a unit's events, and their bytes. Raises TooLarge if they do not fit into one batch."""
        self._serial += 1
        records = self.encoder.records(placed, origin, now)
        size = sum([record.size for record in records])
        if size > topics.MAX_BATCH_BYTES:
            raise TooLarge(f"one input leads to {size} bytes of events; at most {topics.MAX_BATCH_BYTES} are allowed")
        return records, size
