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


Ask = Callable[[Question, Sequence[str]], Awaitable[Any]]
"""Sends a question. The second argument are the positions that the answer must include (`at_least`). Returns the
response, or a `Refused` as a value. Raises Unanswered."""

Heard = Callable[[Question], str]
"""The last position in its subject's place that the partition which asks has heard; empty if there is none."""


async def answers(
    ask: Ask, questions: Sequence[Question], raw: Raw, failed: Callable[[Unanswered], None], heard: Heard
) -> list[Any]:
    """The answers to the questions of the own event `raw`, in their order. Waits without a limit; calls `failed` after
    each try without an answer."""
    found = []
    for question in questions:
        pause, known = AGAIN, (_known(raw, question.context), heard(question))
        at_least = list(dict.fromkeys(position for position in known if position))
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
