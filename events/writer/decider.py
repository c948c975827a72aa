"""The contract between a context's pure decisions and the runtime that feeds them.

A decider folds the events of one aggregate (a job; a queue; a pool) into a state and decides commands against it. A
context has one decider for each kind of aggregate that decides (`events.writer.deciders`). Everything here is
synchronous and pure: time and ids come in the `DecisionContext`. The runtime owns Kafka, ordering, fencing and resume;
see `events.writer.writer`.

The runtime guarantees:

- `evolve` gets every event that its aggregate decided, in log order, exactly once. `decide` and `react` never change
  the state: the runtime folds what they return by `evolve`. So they return events of that aggregate alone.
- Every record carries the project of the aggregate that its event is about, and in most cases its actor and flow
  (`events.writer.provenance`). A decider says what has happened, not to whom it belongs.
- A foreign event of `routes` takes effect exactly once. After a crash the runtime resumes behind the last input that
  led to an event. It may give an input that led to none again; `react` on the same state must return nothing again.
- `observe` folds foreign events into a part of the state that is a *view* (a node's free capacity, for example). It
  gets a foreign event only after the own events that this one follows from. A view must not depend on any other order
  between foreign and own events: after a crash a foreign event may come earlier, or later, than it did.

What the runtime does when a method raises (anything but the `Refused` of `decide`):

- `decide`, or `evolve` of what it returned: the command is refused as ``internal``; the traceback is in the log.
- `react`, `refused`, `observe`, or `evolve` of what they returned: the partition stops reading that input, at that
  event. Its commands and its other inputs go on.
- `after_batch`, `due`, `wake`, `on_resume`, or `evolve` of recorded events: the partition stops.
- `dispatch`, `answered`: the partition's orders stop, at that event. The partition goes on.
- `dump`, or `load` of a snapshot: the snapshot is skipped. That costs only memory and start-up time.

`forgelog status` shows what has stopped, `forgelog repair` says what to do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

from events.language.base import Command, Event
from events.language.common import CommandRejected
from events.process.settings import Settings
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
    """`actor` and `project`: those of the command or of the input event; without either, the aggregate's own."""
    subject: str
    """Id of the aggregate that the command is about; the state's key where there is no command."""
    aggregate: str = ""
    """Kind of the subject."""
    owner: Provenance | None = None
    """Where the subject comes from; None if there is no such aggregate yet, or no longer."""
    origin: str = ""
    """Of a command: the aggregate of another context that orders it, as ``context/kind/id``; empty if none does."""


Route = Callable[[Any], Iterable[str]]
"""The keys (of this decider's states) that a foreign event concerns."""


def BY_ORIGIN(_: Any) -> Iterable[str]:
    """A `Route` to the aggregate that ordered what the event is about. The runtime takes it from ``ce_origin``, before
    it decodes the event."""
    raise TypeError("an origin stands in an event's envelope")


class Order(NamedTuple):
    """A command for another context. Its `ce_id` is derived from the event's, so a second send is a repeat."""

    command: Command
    project: str = ""
    """Empty: the project of the aggregate that orders."""


class Question(NamedTuple):
    """A query of another context's service, sent before an order: see `Decider.answered`."""

    context: str
    """The context whose service answers; one of `Decider.consults`."""
    stub: Callable[[Any], Any]
    """The generated class of its queries, for example `JobQueriesStub`."""
    method: str
    """The name of the method, for example ``GetJob``."""
    request: Any
    """The method's message. The runtime sets its `options.at_least`: to the event of that context that caused the own
    event, if one did, and to what this partition has heard of `subject`."""
    subject: str = ""
    """The id of the aggregate there that the question is about, if this partition hears of it (`Decider.react`): what
    was heard before the own event is in the answer, and what comes later will be heard. Empty: what was heard may be
    missing."""


class Measure(NamedTuple):
    """A number of a state, as a gauge of Prometheus."""

    name: str
    """Such as ``forgelog_node_cpu_percent``. All of a name have the same labels."""
    what: str
    """What it is, for people."""
    labels: Mapping[str, str]
    value: float


class Decider(Generic[S]):
    """Base class of the decisions of one kind of aggregate. A subclass sets the class variables and overrides the
    methods it needs; `initial`, `evolve` and `decide` always.

    No method but `prepare` may read a clock, draw random numbers, do I/O, or keep anything outside of the state. The
    module's first lines say what the runtime guarantees, and what it does when a method raises.
    """

    context: ClassVar[str]
    aggregate: ClassVar[str]
    """Kind of the aggregate that decides, for example ``queue``: what its messages return as `decider_kind`."""
    commands: ClassVar[tuple[type[Command], ...]]
    """Commands that this aggregate takes."""
    events: ClassVar[tuple[type[Event], ...]]
    """Events that this aggregate writes."""
    routes: ClassVar[Mapping[type[Event], Route]] = {}
    """Foreign events that this aggregate reacts to or observes, and the keys that each concerns. They may be of any
    context. An event of the own context that is listed here goes to `react` of *other* keys; `evolve` of its own key
    happens regardless."""
    unhurried: ClassVar[frozenset[type[Event]]] = frozenset()
    """The events of `routes` that most often concern nothing that this context has. They do not end the rests of a
    reader amid what nobody waits for (see `events.writer.noise`), unless their origin is of this context."""

    def prepare(self, settings: Settings) -> None:
        """Read what decisions need to know of the platform and is the same for all, such as a public key.

        Called: once, by the process that hosts the decider, before it decides. It may read and make files of the data
        folder. Raises SettingsError if the process can't work so.
        """

    reacting: ClassVar[frozenset[type[Event]] | None] = None
    """The events of `routes` that go to `react`; the others go to `observe` only. None: all."""

    def reacts(self, kind: type[Event]) -> bool:
        """Whether events of this type of `routes` go to `react`."""
        return self.reacting is None or kind in self.reacting

    def initial(self, key: str) -> S:
        """The state before any event.

        Called: when a key has no state. A state that is decided on and not changed is thrown away.
        Returns: a new state each time, since `evolve` may change it in place.
        """
        raise NotImplementedError

    def evolve(self, state: S, event: Event, time: datetime) -> S:
        """The state after an own event.

        Called: for each event of `events`, as soon as it is decided, and again when the log is folded.
        Given: `time`, the event's time, never earlier than the one before.
        Returns: the new state; it may be `state`, changed in place.
        Must not: refuse an event. It is a fact.
        """
        raise NotImplementedError

    def decide(self, state: S, command: Command, context: DecisionContext) -> Sequence[Event]:
        """The events that a command leads to.

        Called: for each command of `commands` whose fields are valid and which is no repeat.
        Returns: events of `events`, in order, which are appended all or none. Nothing if the command changes nothing;
        the runtime then answers it with `CommandNoted`.
        Raises: `Refused`, to refuse the command.
        Must not: change `state`.
        """
        raise NotImplementedError

    def react(self, state: S, event: Event, context: DecisionContext) -> Sequence[Event]:
        """The own events that a foreign event leads to.

        Called: for each event of `routes` that `reacts` names, once for each key that it concerns, after `observe`.
        Returns: as `decide`. Nothing if the state has handled the event already.
        Must not: change `state`, or raise `Refused`. A foreign event is a fact.
        """
        return ()

    def observe(self, state: S, event: Event, time: datetime) -> S:
        """The state with a foreign event folded into its view.

        Called: for each event of `routes`, once for each key that it concerns; also when the log is folded.
        Given: `time`, the event's time. It may be earlier than that of own events.
        Returns: the new state; it may be `state`, changed in place.
        """
        return state

    def after_batch(self, state: S, context: DecisionContext) -> Sequence[Event]:
        """Further own events once a batch of inputs has been handled. Scheduling plans here.

        Called: for each key that the batch concerned, again until it returns nothing; also after `wake`, `note_quiet`
        and `on_resume`.
        Given: a `context` with the project and actor of the aggregate itself. An aggregate that no event is about (a
        pool) has ``local/default`` and ``forgelog``. What these events begin takes project, actor and flow from there.
        Returns: as `decide`. It must come to nothing in the end.
        Must not: change `state`.
        """
        return ()

    def due(self, state: S) -> datetime | None:
        """When `wake` is to be called for this key; None for never.

        Called: after each batch that changed the state, and before `wake`.
        """
        return None

    def wake(self, state: S, context: DecisionContext) -> Sequence[Event]:
        """Own events that the passing of time leads to.

        Called: when `context.now` has reached `due`.
        Given: a `context` as for `after_batch`.
        Returns: as `decide`. Its events move `due` into the future or to None; else it is called again at once.
        Must not: change `state`.
        """
        return ()

    def note_quiet(self, state: S, command: Command, time: datetime) -> None:
        """Note the arrival of a quiet command (a heartbeat) in the volatile part of the state.

        Called: for each command whose class is `quiet`, once `decide` has accepted it. The log has no record of it if
        `decide` returned nothing.
        Must not: change what `evolve` or `dump` know. See `on_resume`.
        """

    def on_resume(self, state: S, now: datetime) -> None:
        """Take what is volatile (see `note_quiet`) as seen at `now`.

        Called: for each state at work, when a writer has taken the partition over and folded it, and after the process
        did not run, or the broker did not answer, for a while. In these cases quiet commands may not have been heard.
        """

    def measured(self, state: S) -> Iterable[Measure]:
        """What is to be told of a state as metrics, such as what was noted by `note_quiet`.

        Called: for each state at work, whenever the metrics of the process are asked for.
        """
        return ()

    dispatching: ClassVar[frozenset[type[Event]]] = frozenset()
    """Own events that go to `dispatch`."""

    asks: ClassVar[tuple[str, ...]] = ()
    """Contexts that orders go to; the own one may be among them. Their refusals come back to `refused`."""

    consults: ClassVar[tuple[str, ...]] = ()
    """Contexts that questions go to."""

    def dispatch(self, event: Event, at: DecisionContext) -> Sequence[Order | Question]:
        """The orders (commands for other contexts) that an own event leads to, and the questions to ask first.

        Called: for each event of `dispatching`, once it is in the log and valid; again after a crash, and again once
        its questions are answered.
        Given: `at`, the event's time, id, actor, project and subject.
        Returns: for the same arguments always the same. Orders only to contexts of `asks`, questions only to contexts
        of `consults`.

        An order carries this aggregate as its origin, so events about what it creates can be routed by `BY_ORIGIN`. A
        client that may write to Kafka can forge an origin: `react` must believe an event only about an id that its
        state has ordered.
        """
        return ()

    def answered(self, event: Event, question: Question, answer: Any, at: DecisionContext) -> Sequence[Order]:
        """The orders that the answer to a question of `dispatch` leads to.

        Called: once for each question, when all questions of the event are answered; again after a crash, possibly
        with another answer. A service that does not answer is asked again until it does.
        Given: `answer`, the method's response; or a `Refused` if the question is wrong (``invalid_argument``), or what
        it asks about is not there, not there yet, or in another state.
        Returns: for the same arguments always the same. The event alone must determine how many orders there are and to
        which aggregates; the answer determines their contents. Then the first order that was sent wins over a later one
        of the same number. A decision that needs more than that must become an event first: order a command of the own
        aggregate.
        """
        raise NotImplementedError

    def refused(self, state: S, refusal: CommandRejected, context: DecisionContext) -> Sequence[Event]:
        """The own events that the refusal of an order leads to.

        Called: for each refusal of an order of this aggregate, as `react`.
        Given: `refusal.subject_id`, the id of what the order was about.
        Returns: as `react`.
        Must not: change `state`.
        """
        return ()

    def may_passivate(self, state: S) -> bool:
        """Whether nothing more happens to this aggregate unless a message concerns it.

        Called: after each change of the state. The runtime packs such states away by `dump` and brings them back by
        `load` when a message concerns them.
        Returns: True only if `after_batch` has nothing to do, `due` is None, and nothing in the state is volatile.
        """
        return False

    def holds(self, state: S, aggregate: str, id: str) -> bool:
        """Whether the state still contains another aggregate that it decides for: a pool, an allocation.

        Called: when an event or a command is about such an aggregate, and to forget where ended ones came from.
        Returns: False when the aggregate is over. A later event about it carries project, actor and flow of what led to
        that event. Only an event that `begins` an aggregate may make the state hold it.

        A decider that decides for other aggregates must override this.
        """
        return True

    def dump(self, state: S) -> Any:
        """The state as JSON-ready data, for snapshots and for states at rest.

        The default dumps the state by its type, as `load` reads it. `events.writer.dumps` says which types it supports.
        """
        return dumps.dumped(type(self), state)

    def load(self, key: str, data: Any) -> S:
        """The state that `dump` returned, after JSON.

        Called: only with data of this `dump_version`. Snapshots of another version are thrown away, not migrated.
        """
        state: S = dumps.adapter_of(type(self)).validate_python(data)
        return state

    dump_version: ClassVar[int] = 1
    """Raise it when the output of `dump` or the folding changes; older snapshots are then ignored. The runtime notices
    by itself when a state that is dumped by its type has another shape."""
