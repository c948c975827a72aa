"""One event partition as its writer holds it: states, dedup window, resume positions, hash chain. No I/O.

The inputs are undecoded records. The outputs are `Unit`s: the records that one input leads to, for one batch. The state
changes before the append (speculatively). If the append fails, the partition is thrown away and folded from the log.
"""

from __future__ import annotations

import logging
from binascii import unhexlify
from collections.abc import Sequence
from dataclasses import InitVar, dataclass, field
from datetime import datetime
from typing import Any

from events.language.base import Command, Event
from events.language.common import (
    DEFAULT_PROJECT,
    PLATFORM_ACTOR,
    CommandRejected,
    ErrorCode,
    OrdersSent,
    Refused,
)
from events.language.planned import refuse_planned
from events.log import chain, topics
from events.log.envelope import Meta, Recorded
from events.log.ids import command_key, foreign_id, reaction_id
from events.log.partitioner import partition_of
from events.log.positions import ReaderPosition
from events.log.repairs import Repair
from events.log.wire import CAUSE, HASH, MARKER, Raw, decode_event, parse_cause, time_of, without_hash
from events.writer import admission
from events.writer.admission import Refusal
from events.writer.answers import noted, rejected
from events.writer.decider import DecisionContext
from events.writer.deciders import Concerned, Deciders, OneOrMore, gathered
from events.writer.dedup import Dedup
from events.writer.encoding import DeadLetter, Forward, Origin, Unit, origin_of
from events.writer.initiative import Decide, Initiative
from events.writer.kinds import Kind, Placing, Placings
from events.writer.own_events import OwnEvents
from events.writer.provenance import NOBODYS, Provenance
from events.writer.units import Units

_DEFAULT_PROJECT = DEFAULT_PROJECT.encode()

_FOLDED = ("ce_type", HASH, CAUSE, "ce_time")

_DEFECT = "the decision failed because of a defect in the service; see its log"

log = logging.getLogger("forgelog.writer")


@dataclass(slots=True)
class Partition:
    given: InitVar[OneOrMore]
    number: int
    count: int
    """Partitions of the topic."""
    deciders: Deciders = field(init=False)
    kinds: dict[str, Kind[Any]] = field(init=False)
    """The kinds of aggregates that decide, each with its states."""
    dedup: Dedup = field(init=False)
    own: OwnEvents = field(init=False)
    inputs: dict[tuple[str, int], ReaderPosition] = field(default_factory=dict)
    """Topic and partition → where to handle inputs from."""
    observed: dict[tuple[str, int], ReaderPosition] = field(default_factory=dict)
    """Topic and partition → up to where the view has been folded."""
    stopped: dict[tuple[str, int], ReaderPosition] = field(default_factory=dict)
    """Stopped inputs: topic and partition → the position of the record that raised."""
    dispatched: ReaderPosition | None = None
    """Up to where the orders of own events are sent; None if the log has no `OrdersSent`."""
    repairs: int = 0
    """Number of the first repair that the state does not include."""
    last_time: datetime | None = None
    next_offset: int = 0
    folded: int = 0
    """Events folded since the last snapshot."""
    _acting: Kind[Any] | None = None
    """The kind that last acted by itself."""
    _cause: bytes = b""
    """Input and mark of the record that was folded last."""
    _placings: Placings = field(init=False)
    _units: Units = field(init=False)
    context: str = field(init=False)
    _commands: str = field(init=False)

    def __post_init__(self, given: OneOrMore) -> None:
        self.deciders = gathered(given)
        self.kinds = {decider.aggregate: Kind(decider) for decider in self.deciders}
        self._placings = Placings(self.deciders, self.kinds)
        self.context = self.deciders.context
        self.dedup = Dedup(self.context)
        self.own = OwnEvents(self.deciders, self.number)
        self._units = Units(self.context, self.number, self._placings)
        self._commands = topics.commands(self.context)

    @property
    def epoch(self) -> int:
        """Offset of this writer's marker; -1 before there is one."""
        return self._units.epoch

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        self.begin(epoch)

    def begin(self, epoch: int, marker: str = "") -> None:
        """Start an epoch: later records carry it. `marker`: the id of its `WriterStarted`."""
        self._units.begin(epoch, marker)
        self.own.begin(epoch)

    @property
    def digest(self) -> bytes:
        """The hash chain up to the last record."""
        return self._units.encoder.digest

    @digest.setter
    def digest(self, digest: bytes) -> None:
        self._units.encoder.digest = digest

    @property
    def has_view(self) -> bool:
        """Whether a decider overrides `observe`."""
        return self.deciders.observing

    def read_from(self, topic: str, partition: int) -> ReaderPosition:
        """Where this partition needs a foreign topic's partition read from."""
        if self.has_view:
            return self.observed.get((topic, partition), ReaderPosition())
        return self.resume_of(topic, partition)

    # Folding the partition's own history

    def fold(self, raw: Raw) -> None:
        """Fold one valid record of the own event partition, in log order (recovery)."""
        self.next_offset = raw.offset + 1
        named, stored, text, at = raw.contents(_FOLDED)
        if named == MARKER:
            self.digest = chain.link(self.digest, raw.key or b"", raw.value or b"", without_hash(raw.headers))
            return
        if stored:
            self._units.encoder.digest = unhexlify(stored)
        event = decode_event(named.decode() if named else "", raw.value or b"", raw)
        time = time_of(at) if at else raw.time()
        if text and (cause := text.rpartition(b"|")[0]) != self._cause:
            self._cause = cause  # all records of one input have the same cause: note it once
            topic, partition, offset, mark = parse_cause(text.decode())
            if topic == self._commands:
                mark, _, project = mark.partition(":")
                if not project:
                    project = (raw.get("ce_project") or _DEFAULT_PROJECT).decode()
                command = command_key(project, (raw.get("ce_causationid") or b"").decode())
                self.dedup.remember(command, mark, raw.offset, time)
                self.inputs[topic, partition] = ReaderPosition(offset + 1)
            else:
                self.inputs[topic, partition] = ReaderPosition(offset + 1, int(mark))
        key = (raw.key or b"").decode()
        place = self._placings[type(event)]
        if place is not None:
            states = place.kind.states
            if place.begins:
                other = None if place.own else (place.aggregate, getattr(event, place.subject_from))
                states.begin(key, other, Provenance.of(raw))
            elif place.own and key not in states.own and not states.restored(key):
                states.own[key] = Provenance.of(raw)
        self._evolve(place, key, event, time)
        if place is not None and place.begins and states.crowded:
            states.sweep()

    def _evolve(self, place: Placing | None, key: str, event: Any, time: datetime) -> None:
        self.last_time = time if self.last_time is None or time > self.last_time else self.last_time
        self.folded += 1
        if place is None:
            if type(event) is OrdersSent:
                self.dispatched = ReaderPosition(event.until, event.epoch)
            return
        kind = place.kind
        held = kind.states.take(key)
        state = kind.decider.evolve(kind.decider.initial(key) if held is None else held, event, time)
        if state is not held:
            kind.states[key] = state
        if kind.passivates and kind.rests(key, state):
            return
        if kind.initiative.acts:
            kind.initiative.dirty.add(key)

    def resume_of(self, topic: str, partition: int) -> ReaderPosition:
        """Where to handle inputs of a topic's partition from."""
        return self.inputs.get((topic, partition), ReaderPosition())

    def contains(self, repair: Repair) -> bool:
        """Whether the state was folded from a record that the repair skips."""
        if repair.place == (topics.events(self.context), self.number):
            return repair.first < self.next_offset
        return self.has_view and repair.first < self.observed.get(repair.place, ReaderPosition()).offset

    # Deciding

    def command(self, raw: Raw, now: datetime, *, decide: bool = True) -> Unit | Forward | DeadLetter | None:
        """Decide one record of the own command partition. None: it was handled before, or is quiet and has no events.

        `decide`: False for a command whose events do not fold: it is refused as a defect of the service."""
        source = (raw.topic, raw.partition)
        if raw.offset < self.resume_of(*source).offset:
            return None
        self.inputs[source] = ReaderPosition(raw.last + 1)
        read = admission.read(raw, now, self.deciders.commands, self.context)
        if isinstance(read, DeadLetter):
            return read
        if isinstance(read, Refusal):
            unit = self._refuse(raw, read.meta, read.digest, read.refused, now, read.meta.subject)
            return DeadLetter(raw, read.refused.message, unit) if read.dead else unit
        meta, digest, command = read
        key = command.key()
        home = partition_of(key, self.count)
        if home != self.number:
            return Forward(raw, key, home)
        if not decide:
            return self._refuse(raw, meta, digest, Refused(ErrorCode.INTERNAL, _DEFECT), now, command.subject())
        return self._decide(raw, meta, command, key, digest, now)

    def _decide(self, raw: Raw, meta: Meta, command: Command, key: str, digest: str, now: datetime) -> Unit | None:
        now = self._clock(now)
        first = self.dedup.find(command_key(meta.project, meta.id), digest, now)
        if first is not None:
            if not first.same and not (meta.origin and self._ordered_before(meta, command, key)):
                message = f"ce_id {meta.id!r} was used before for another command; give each command its own id"
                refused = Refused(ErrorCode.ABORTED, message)
                return self._refuse(raw, meta, digest, refused, now, command.subject())
            return self._note(raw, meta, digest, command, now, repeat=True, first_offset=first.offset)
        if type(command).assigns_id and (foreign := foreign_id(command, meta.project)) is not None:
            return self._refuse(raw, meta, digest, foreign, now, command.subject())
        if meta.origin and self._ordered_before(meta, command, key):
            return self._note(raw, meta, digest, command, now, repeat=False, first_offset=-1)
        place, subject, owner = self._about(command, key)
        kind = place.kind
        state = kind.state(key)
        context = DecisionContext(now, meta.id, meta.actor, meta.project, subject, place.aggregate, owner, meta.origin)
        try:
            refuse_planned(command)
            decided = kind.own(kind.decider.decide(state, command, context))
        except Refused as refused:
            return self._refuse(raw, meta, digest, refused, now, subject)
        except Exception:
            log.exception("%s: deciding %s %s failed", raw.position, meta.type, meta.id)
            return self._refuse(raw, meta, digest, Refused(ErrorCode.INTERNAL, _DEFECT), now, subject)
        if type(command).quiet:
            kind.decider.note_quiet(state, command, now)
            kind.initiative.mark(key)
            if not decided:
                return None
        if not decided:
            return self._note(raw, meta, digest, command, now, repeat=False, first_offset=-1)
        return self._unit(decided, origin_of(raw.position, meta, digest), now, digest)

    def _about(self, command: Command, key: str) -> tuple[Placing, str, Provenance | None]:
        """Where a command belongs, and the id and the provenance of the aggregate that it is about."""
        place = self._placings[type(command)]
        assert place is not None
        subject = key if place.own else command.subject()
        return place, subject, place.kind.states.provenance(key, None if place.own else (place.aggregate, subject))

    def _ordered_before(self, meta: Meta, command: Command, key: str) -> bool:
        """Whether an order creates an aggregate that the same order created before. The order is then a repeat whose id
        was forgotten, or that a newer service sends with another body."""
        owner = self._about(command, key)[2] if type(command).assigns_id else None
        return owner is not None and owner.origin == meta.origin

    def _refuse(self, raw: Raw, meta: Meta, digest: str, refused: Refused, now: datetime, subject: str) -> Unit:
        event = rejected(meta, refused, subject)
        return self._unit([event], origin_of(raw.position, meta, digest), self._clock(now), digest)

    def _note(
        self, raw: Raw, meta: Meta, digest: str, command: Command, now: datetime, *, repeat: bool, first_offset: int
    ) -> Unit:
        event = noted(meta, command, repeat=repeat, first_offset=first_offset)
        return self._unit([event], origin_of(raw.position, meta, digest), self._clock(now), digest)

    # Reacting

    def wants(self, topic: str, number: int, offset: int) -> tuple[bool, bool]:
        """Whether a foreign event at this offset is still to be handled (first) and to be observed (second)."""
        if self.stopped and (stop := self.stopped.get((topic, number))) is not None and offset >= stop.offset:
            return False, False
        handle = offset >= self.resume_of(topic, number).offset
        observe = self.has_view and offset >= self.observed.get((topic, number), ReaderPosition()).offset
        return handle, observe

    def passed(self, topic: str, number: int, position: ReaderPosition) -> None:
        """Note that all foreign events of that topic's partition before `position`, or a stop, have been handled."""
        if self.stopped and (stop := self.stopped.get((topic, number))) is not None:
            position = min(position, stop)
        if position.offset > self.resume_of(topic, number).offset:
            self.inputs[(topic, number)] = position
        if self.has_view and position.offset > self.observed.get((topic, number), ReaderPosition()).offset:
            self.observed[(topic, number)] = position

    def event(
        self,
        recorded: Recorded,
        concerned: Sequence[Concerned],
        now: datetime,
        *,
        handle: bool = True,
        observe: bool = True,
    ) -> Unit | None:
        """Observe and react to a foreign event that concerns these states. `handle`, `observe`: see `wants`."""
        event: Any = recorded.data
        meta, now = recorded.meta, self._clock(now)
        decided: list[Event] = []
        for name, key in concerned:
            kind = self.kinds[name]
            observes = observe and kind.observes and not isinstance(event, CommandRejected)
            state = kind.taken(key) if observes else kind.state(key)
            if observes:
                kind.states[key] = state = kind.decider.observe(state, event, meta.time)
                if not (kind.passivates and kind.rests(key, state)):
                    kind.initiative.mark(key)
            if handle and kind.reacts(type(event)):
                id, owner = f"{meta.id}:{name}/{key}", kind.states.provenance(key)
                context = DecisionContext(now, id, meta.actor, meta.project, key, name, owner)
                if reaction := kind.react(state, event, context):
                    decided += kind.own(reaction)
        if not decided:
            return None
        stem = reaction_id(meta.id, self.context, self.number)
        return self._unit(decided, origin_of(recorded.position, meta, str(recorded.epoch), stem), now)

    # The writer's own initiative

    def after_batch(self, now: datetime) -> list[Unit]:
        """Call `Decider.after_batch` for every dirty key. Returns the units that this leads to."""
        dirty = (kind for kind in self.kinds.values() if kind.initiative.dirty)
        return [unit for kind in dirty for unit in self._let(kind).after_batch(now, self._act)]

    def wake(self, now: datetime) -> list[Unit]:
        """Call `Decider.wake` for every key that is due. Returns the units that this leads to."""
        return [unit for kind in self.kinds.values() for unit in self._let(kind).wake(now, self._act)]

    def next_due(self) -> datetime | None:
        """The time of the next timer; None if there is none."""
        return min((due for kind in self.kinds.values() if (due := kind.initiative.next_due())), default=None)

    def on_resume(self, now: datetime) -> None:
        """Call `Decider.on_resume` for every live state."""
        for kind in self.kinds.values():
            self._let(kind).on_resume(now)

    def _let(self, kind: Kind[Any]) -> Initiative[Any]:
        self._acting = kind
        return kind.initiative

    @property
    def acting_on(self) -> str:
        """Kind and key that last acted by themselves, for example ``queue default``; empty if none has."""
        return self._acting.acting_on if self._acting is not None else ""

    def _act(self, decide: Decide[Any], key: str, state: Any, now: datetime) -> Unit | None:
        assert self._acting is not None
        now = self._clock(now)
        id, kind, owner = self._units.own_id(), self._acting.decider.aggregate, self._acting.states.provenance(key)
        project, actor, correlation, traceparent, asker = owner or NOBODYS
        decided = decide(state, DecisionContext(now, id, actor, project, key, kind, owner))
        if not decided:
            return None
        by = Origin(id, correlation, actor, project, traceparent, origin=asker)
        return self._unit(self._acting.own(decided), by, now)

    def orders_sent(self, until: ReaderPosition, now: datetime) -> Unit:
        """A unit that records that the orders of all own events before `until` are sent."""
        event = OrdersSent(subject_id=f"{self.context}/{self.number}", until=until.offset, epoch=until.epoch)
        origin = Origin(self._units.own_id(), "", PLATFORM_ACTOR, DEFAULT_PROJECT, "")
        return self._unit([event], origin, self._clock(now))

    def _clock(self, now: datetime) -> datetime:
        return now if self.last_time is None or now > self.last_time else self.last_time

    # Units

    def _unit(self, decided: Sequence[Event], origin: Origin, now: datetime, digest: str = "") -> Unit:
        """Fold the decided events and encode them. `digest`: of the command that they answer; empty if none."""
        placed = self._units.place(decided, origin, of_command=bool(digest))
        records, size = self._units.encode(placed, origin, now)
        placings = self._placings
        for event, key, *_ in placed:
            self._evolve(placings[type(event)], key, event, now)
        for kind in self.kinds.values():
            if kind.states.crowded:
                kind.states.sweep()
        command = command_key(origin.project, origin.id) if digest else ""
        if command:
            self.dedup.remember(command, digest, -1, now)
        return Unit(records, size, command, origin.name, origin.traceparent, self.own.concerning(placed))

    def appended(self, unit: Unit, offset: int) -> None:
        """Note that a unit's records are in the log, from `offset` on."""
        self.next_offset = self.own.appended(unit, offset)
        if unit.command:
            self.dedup.appended(unit.command, offset)
