"""The questions and orders of an own event, in the form in which they are sent. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from events.language.base import Event
from events.language.bounds import MAX_ATTRIBUTE_BYTES
from events.language.common import NODE_ACTOR, PLATFORM_ACTOR
from events.log.envelope import Recorded
from events.log.ids import order_id
from events.log.publish import Outgoing
from events.log.topics import MAX_BATCH_BYTES
from events.log.wire import value_of
from events.writer.decider import Decider, DecisionContext, Order, Question
from events.writer.deciders import DeciderError
from events.writer.origins import Asker


def questions_of(decider: Decider[Any], recorded: Recorded) -> list[Question]:
    """The questions of an own event. Raises what `dispatch` raises, and `DeciderError` for a question to a context that
    is not in `consults`."""
    event, at = _known(recorded)
    found = [item for item in decider.dispatch(event, at) if isinstance(item, Question)]
    for question in found:
        _check_named(decider, question)
    return found


def _check_named(decider: Decider[Any], question: Question) -> None:
    if question.context not in decider.consults:
        raise DeciderError(f"{type(decider).__name__} asks {question.context} {question.method}; name it in `consults`")


def _known(recorded: Recorded) -> tuple[Event, DecisionContext]:
    """The arguments of `dispatch` and `answered`: an own event, and its envelope as a context."""
    meta = recorded.meta
    event: Event = recorded.data  # type: ignore[assignment]
    return event, DecisionContext(meta.time, meta.id, meta.actor, meta.project, meta.subject, event.aggregate)


def _numbered(decider: Decider[Any], recorded: Recorded, given: Sequence[Any]) -> Iterator[tuple[str, Order]]:
    """The ids and orders that an event leads to. `given`: the answers to its questions, in their order."""
    event, at = _known(recorded)
    left = iter(given)
    for number, item in enumerate(decider.dispatch(event, at)):
        if isinstance(item, Question):
            _check_named(decider, item)  # of who names none, nothing was asked
            for part, order in enumerate(decider.answered(event, item, next(left), at)):
                yield order_id(recorded.meta.id, number, part), order
        else:
            yield order_id(recorded.meta.id, number), item


def orders_of(decider: Decider[Any], recorded: Recorded, context: str, given: Sequence[Any] = ()) -> list[Outgoing]:
    """The orders of an own event, ready to publish. `given`: the answers to its questions, in their order. Raises what
    `dispatch` and `answered` raise, and `DeciderError` for an order that can't be sent.

    An order that is larger than a command may be is sent too: the other context refuses it, and who ordered hears so.
    """
    meta = recorded.meta
    found: list[Outgoing] = []
    for id, order in _numbered(decider, recorded, given):
        command = order.command
        if command.context not in decider.asks:
            raise DeciderError(f"{type(decider).__name__} orders {command.type_name()}; name its context in `asks`")
        if (size := len(value_of(command))) > MAX_BATCH_BYTES:
            raise DeciderError(f"{command.type_name()} has {size} bytes; at most {MAX_BATCH_BYTES} can be ordered")
        found.append(
            Outgoing(
                command,
                id,
                project=order.project or meta.project,
                actor=PLATFORM_ACTOR if meta.actor.startswith(NODE_ACTOR) else meta.actor,
                correlation=meta.correlation,
                causation=meta.id if len(meta.id.encode()) <= MAX_ATTRIBUTE_BYTES // 2 else "",
                traceparent=meta.traceparent,
                source=f"forgelog/{context}",
                origin=str(Asker(context, decider.aggregate, recorded.key)),
            )
        )
    return found
