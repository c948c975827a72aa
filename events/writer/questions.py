"""Sends questions to other contexts before an order, and repeats each until it is answered.

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
"""Seconds before the first repeat of a question; doubled for each further one."""

MOST_AGAIN = 2.0
"""Most seconds between two tries."""


class Unanswered(Exception):
    """The service gives no answer now. The text says why, for people."""


Ask = Callable[[Question, str], Awaitable[Any]]
"""Sends a question. The second argument is the position that the answer must include (`at_least`); empty for none.
Returns the response, or a `Refused` as a value. Raises Unanswered."""


async def answers(ask: Ask, questions: Sequence[Question], raw: Raw, failed: Callable[[Unanswered], None]) -> list[Any]:
    """The answers to the questions of the own event `raw`, in their order. Waits without a limit; calls `failed` after
    each try without an answer."""
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
    """The position of the event of `context` that caused a record; empty if none did."""
    cause = raw.cause
    if cause is None or not cause.position.topic.startswith(EVENTS) or context_of(cause.position.topic) != context:
        return ""
    return str(cause.position)
