"""The contract between a context's pure decisions and the runtime that feeds them.

A decider folds the events of one aggregate (a job; a queue; a pool) into a state and decides commands against it. A
context has one decider for each kind of aggregate that decides (`events.writer.deciders`). Everything here is
synchronous and pure: time and ids come in the `DecisionContext`. The runtime owns Kafka, ordering, fencing and resume;
see `events.writer.writer`.

The runtime guarantees:
- `evolve` sees every event that its aggregate decided, in log order, exactly once. `decide` and `react` never change
  the state: what they return is folded by `evolve`, and so they return events of that aggregate alone.
- Every record carries the project, and mostly the actor and the flow, of the aggregate that its event is about
  (`events.writer.provenance`): a decider says what has happened, not to whom it belongs.
- Foreign events (`routes`) are handled once each in effect: after a crash the runtime resumes behind the last input
  that led to an event; an input that led to none may be handled again, so `react` on the same state must then again
  return nothing.
- `observe` folds foreign events into a part of the state that is a *view* (a node's free capacity, say). It never sees
  an event before the own events that this one follows from. Beyond that a view may not depend on how foreign events
  interleaved with the aggregate's own: after a crash they may come earlier, or later, than they did.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

from events.language.base import Command, Event
from events.language.common import CommandRejected
from events.writer import dumps
from events.writer.provenance import Provenance

S = TypeVar("S")


class DecisionContext(NamedTuple):
    """What a decision may know besides its state: who, when, and a unique id."""

    now: datetime
    """The writer's clock, never earlier than the partition's last event."""
    id: str
    """Id of the command or of the input event: unique; use it to derive new ids."""
    actor: str
    project: str
    """`actor` and `project`: the command's, or the input event's; where there is neither, the aggregate's own."""
    subject: str
    """Id of the aggregate that the command is about; the state's key where there is no command."""
    aggregate: str = ""
    """Kind of the subject."""
    owner: Provenance | None = None
    """Where the subject comes from; None if there is no such aggregate yet, or no more."""


Route = Callable[[Any], Iterable[str]]
"""The keys (of this decider's states) that a foreign event concerns."""


def BY_ORIGIN(_: Any) -> Iterable[str]:
    """A `Route` to the aggregate that ordered what the event is about. The runtime takes it from ``ce_origin``, before
    it decodes the event."""
    raise TypeError("an origin stands in an event's envelope")


class Order(NamedTuple):
    """A command for another context. Its `ce_id` follows from the event: ordered again, it is a repeat."""

    command: Command
    project: str = ""
    """Empty: that of the aggregate that orders."""


class Question(NamedTuple):
    """A query of another context's service, asked before something is ordered: see `Decider.answered`."""

    context: str
    """Whose service answers; one of `Decider.consults`."""
    stub: Callable[[Any], Any]
    """The generated class of its queries, such as `JobQueriesStub`."""
    method: str
    """Such as ``GetJob``."""
    request: Any
    """The method's message. Its `options.at_least` is filled in with the event of that context that the own event
    follows from, if it follows from one."""


class Decider(Generic[S]):
    """Base class of the decisions of one kind of aggregate. Subclasses set the class variables and override what they
    need."""

    context: ClassVar[str]
    aggregate: ClassVar[str]
    """Kind of the aggregate that decides, such as ``queue``: what the messages below name as `decider_kind`."""
    commands: ClassVar[tuple[type[Command], ...]]
    """Commands that this aggregate takes."""
    events: ClassVar[tuple[type[Event], ...]]
    """Events that this aggregate writes."""
    routes: ClassVar[Mapping[type[Event], Route]] = {}
    """Events (of any context, the own one included) this context reacts to or observes, and the keys each concerns.
    An own-context event listed here reaches `react` of *other* keys; `evolve` of its own key happens regardless."""

    reacting: ClassVar[frozenset[type[Event]] | None] = None
    """Of `routes`, the events that `react` is asked about, where the others are only observed; None: all."""

    def reacts(self, kind: type[Event]) -> bool:
        """Whether `react` is asked about such an event of `routes`."""
        return self.reacting is None or kind in self.reacting

    def initial(self, key: str) -> S:
        """The state before any event."""
        raise NotImplementedError

    def evolve(self, state: S, event: Event, time: datetime) -> S:
        """The state after an own event (may change `state` in place and return it). `time` is the event's time."""
        raise NotImplementedError

    def decide(self, state: S, command: Command, context: DecisionContext) -> Sequence[Event]:
        """The events a command leads to; none if nothing changes. Raises `Refused`. Must not change `state`."""
        raise NotImplementedError

    def react(self, state: S, event: Event, context: DecisionContext) -> Sequence[Event]:
        """The own events that a foreign event leads to. Called after `observe` of the same event."""
        return ()

    def observe(self, state: S, event: Event, time: datetime) -> S:
        """The state with a foreign event folded into its view."""
        return state

    def after_batch(self, state: S, context: DecisionContext) -> Sequence[Event]:
        """Further events once a batch of inputs has been handled (scheduling plans here). Called for each key that the
        batch concerned, again until it returns none.

        What these events begin takes project, actor and flow from the aggregate that acts, as does the context. Of an
        aggregate that no event is about (a pool) none are known: then they are `local/default`, `forgelog` and no flow.
        """
        return ()

    def due(self, state: S) -> datetime | None:
        """When `wake` should next be called for this key; None if never."""
        return None

    def wake(self, state: S, context: DecisionContext) -> Sequence[Event]:
        """Events that the passing of time leads to (`context.now` has reached `due`). What they begin belongs to whom
        `after_batch` says."""
        return ()

    def note_quiet(self, state: S, command: Command, time: datetime) -> None:
        """Note a quiet command's arrival in the state's volatile part (a heartbeat's time), which is not part of the
        log: see `on_resume`."""

    def on_resume(self, state: S, now: datetime) -> None:
        """What is volatile (see `note_quiet`) counts as seen at `now`: a writer has taken over and folded this state,
        or it was stopped for a while and may not have heard what was said."""

    dispatching: ClassVar[frozenset[type[Event]]] = frozenset()
    """Own events that `dispatch` is asked about."""

    asks: ClassVar[tuple[str, ...]] = ()
    """Contexts that orders go to; the own one may be among them. Their refusals come back to `refused`."""

    consults: ClassVar[tuple[str, ...]] = ()
    """Contexts that questions go to."""

    def dispatch(self, event: Event, at: DecisionContext) -> Sequence[Order | Question]:
        """Commands for other contexts that an own event of `dispatching` leads to, and questions whose answers lead to
        some. Pure, and of the event alone.

        It is asked once the event is in the log and valid; after a crash once more, so it must then give the same. What
        is ordered carries this aggregate as its origin: events about it can be routed by `BY_ORIGIN`. Who may write to
        Kafka can forge an origin: so `react` believes an event only about an id that its state has ordered.
        `at`: the event's time, id, actor, project and subject.
        """
        return ()

    def answered(self, event: Event, question: Question, answer: Any, at: DecisionContext) -> Sequence[Order]:
        """The orders that an answer to a question of `dispatch` leads to. Pure, and of its arguments alone.

        `answer`: the method's message; or a `Refused`, where the question itself is wrong (``invalid_argument``) or
        what it is about is not there, not yet, or not so. Until there is an answer, it is asked again.

        After a crash it is asked once more, and the answer may be another one. An order that was sent wins over one of
        the same number that comes after it, if both go to the same aggregate. So the event alone says to which
        aggregates the orders go, and how many there are; the answer says what they have. An answer that decides more
        becomes an event first: order a command of the own aggregate.
        """
        raise NotImplementedError

    def refused(self, state: S, refusal: CommandRejected, context: DecisionContext) -> Sequence[Event]:
        """The own events that the refusal of an order leads to, once each in effect, as for `react`.

        `refusal.subject_id` says what the order was about."""
        return ()

    def may_passivate(self, state: S) -> bool:
        """Whether nothing more happens to this aggregate unless someone asks for it.

        `after_batch` has nothing to do for it, it is never `due`, and nothing in it is volatile. The runtime packs such
        states away by `dump` and brings them back by `load` when they are needed.
        """
        return False

    def holds(self, state: S, aggregate: str, id: str) -> bool:
        """Whether the state still speaks of another aggregate that it decides for, such as a pool of an allocation.

        If not, an event about it carries project, actor and flow of what led to that event, and the runtime forgets
        where that aggregate comes from, sooner or later: that shows nowhere. Only an event that `begins` an aggregate
        may make the state speak of it. A decider that decides for other aggregates overrides this.
        """
        return True

    def dump(self, state: S) -> Any:
        """The state as JSON-ready data, for snapshots. Left out, it is dumped by its type, as `load` then loads it:
        see `events.writer.dumps` for what such a state may be made of."""
        return dumps.adapter_of(type(self)).dump_python(state, mode="json")

    def load(self, key: str, data: Any) -> S:
        """The state that `dump` gave. A snapshot of another `dump_version` is thrown away, not migrated."""
        state: S = dumps.adapter_of(type(self)).validate_python(data)
        return state

    dump_version: ClassVar[int] = 1
    """Raise it when `dump` changes shape or folding changes; older snapshots are then ignored. (That a state which
    is dumped by its type has another shape is noticed.)"""
