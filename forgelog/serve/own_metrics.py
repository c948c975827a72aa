"""Metrics of a model's own, such as the length of a queue: what a deployment may be scaled by.

The model's code is somebody's and may take long, so it runs on a thread of its own, one call at a time, and nobody
waits for it longer than `PATIENCE_SECONDS`. What is wrong with an answer is written down once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError

from events.language.deployments.traffic import ReplicaReport
from forgelog.serve.runtimes.base import LoadedModel

PATIENCE_SECONDS = 1.0
"""The node's agent, who asks, waits twice as long."""

logger = logging.getLogger("forgelog.serve")


class OwnMetrics:
    """Used from one event loop."""

    def __init__(self, ask: Callable[[], Any], patience: float = PATIENCE_SECONDS) -> None:
        """`ask`: the model's; gives numbers by name. Blocks."""
        self._ask = ask
        self._patience = patience
        self._asking: asyncio.Task[Any] | None = None
        self._said = ""

    async def told(self) -> Mapping[str, float]:
        """Name → value now; empty if the model does not say, or says what is none."""
        if self._asking is None:
            self._asking = asyncio.create_task(asyncio.to_thread(self._called))
        await asyncio.wait([self._asking], timeout=self._patience)
        if not self._asking.done():
            self._say(f"takes longer than {self._patience:g} s; its metrics are left out until it has answered")
            return {}
        asked, self._asking = self._asking, None
        try:
            found = read(asked.result())
        except ValueError as error:
            self._say(str(error))
        else:
            self._said = ""
            return found
        return {}

    def _called(self) -> Any:
        try:
            return self._ask()
        except Exception as error:
            raise ValueError(f"failed: {type(error).__name__}: {error}") from error

    def _say(self, problem: str) -> None:
        if problem != self._said:
            self._said = problem
            logger.warning("the model's metrics() %s", problem[:1_000])


def own_metrics(model: LoadedModel) -> OwnMetrics | None:
    """Those of a model that has an attribute `metrics`, a method that gives numbers by name; it is called beside
    `predict`. None for other models."""
    ask = getattr(model, "metrics", None)
    return OwnMetrics(ask) if ask is not None else None


def read(given: Any) -> Mapping[str, float]:
    """What a model's metrics are. Raises ValueError."""
    if not isinstance(given, Mapping):
        raise ValueError(f"gave {type(given).__name__}; it should give a dict of numbers by name")
    try:
        return ReplicaReport(custom={str(name): float(value) for name, value in given.items()}).custom
    except ValidationError as error:
        said = error.errors()[0]
        raise ValueError(f"gave {'.'.join(map(str, said['loc'][1:])) or 'a dict'}: {said['msg']}") from None
    except (TypeError, ValueError) as error:
        raise ValueError(f"gave a value that is no number: {error}") from None
