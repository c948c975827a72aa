"""A model's answer in parts. Each part is a call of the model's own thread, so other requests come between them."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from forgelog.serve.runtimes.base import LoadedModel
from forgelog.serve.tensors import Array

OnThread = Callable[[Callable[[], Any]], Awaitable[Any]]
"""Makes one call of the model."""

_END = object()


async def parts_of(
    model: LoadedModel,
    inputs: Mapping[str, Array],
    parameters: Mapping[str, Any],
    on_thread: OnThread,
) -> AsyncIterator[tuple[Mapping[str, Array], float]]:
    """The parts and the seconds that each took. When nobody wants more, the model's generator is closed. Raises what
    `on_thread` raises."""
    parts: Iterator[Mapping[str, Array]] | None = None

    def following() -> Any:
        nonlocal parts
        if parts is None:
            parts = iter(model.stream(inputs, parameters))
        return next(parts, _END)

    def close() -> None:
        if (ended := getattr(parts, "close", None)) is not None:
            ended()

    try:
        while True:
            began = time.perf_counter()
            part = await on_thread(following)
            if part is _END:
                return
            yield part, time.perf_counter() - began
    finally:
        with suppress(Exception):  # how somebody's generator ends is of no use to anybody any more
            await on_thread(close)
