"""Questions that are asked of other contexts before something is ordered, until they are answered.

Knows neither the deciders nor how a service is reached.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from events.log.topics import EVENTS, context_of
from events.log.wire import Raw
from events.writer.decider import Question

AGAIN = 0.1
"""Seconds before a question is asked again, at first; twice as long each time."""

MOST_AGAIN = 2.0
"""Most seconds between two tries."""


class Unanswered(Exception):
    """There is no answer now, whatever was asked. The text says why, for people."""


Ask = Callable[[Question, str], Awaitable[Any]]
"""A question and the position that its answer has to know of (empty: any) → the answer, or `Refused` as a value. Raises
Unanswered."""


async def answers(ask: Ask, questions: Sequence[Question], raw: Raw, failed: Callable[[Unanswered], None]) -> list[Any]:
    """The answers to the questions that an own event leads to, however long that takes. `failed` hears of each try that
    gave none."""
    found = []
    for question in questions:
        pause, at_least = AGAIN, _known(raw, question.context)
        while True:
            try:
                found.append(await ask(question, at_least))
                break
            except Unanswered as error:
                failed(error)
            await asyncio.sleep(pause)
            pause = min(2 * pause, MOST_AGAIN)
    return found


def _known(raw: Raw, context: str) -> str:
    """The event of a context that a record follows from; empty if it follows from none."""
    cause = raw.cause
    if cause is None or not cause.position.topic.startswith(EVENTS) or context_of(cause.position.topic) != context:
        return ""
    return str(cause.position)
