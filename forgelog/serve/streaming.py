"""A model's answer in parts. Each part is a call of the model's own thread, so other requests come between them."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import suppress
from typing import Any

from forgelog.serve.limited import LimitedPool, Overrun
from forgelog.serve.problems import Fault, ServingError
from forgelog.serve.runtimes.base import LoadedModel
from forgelog.serve.tensors import Array

_END = object()


async def parts_of(
    model: LoadedModel,
    inputs: Mapping[str, Array],
    parameters: Mapping[str, Any],
    threads: LimitedPool,
    limit: float,
) -> AsyncIterator[tuple[Mapping[str, Array], float]]:
    """The parts and the seconds that each took; each may take `limit` seconds. When nobody wants more, the model's
    generator is closed. Raises `ServingError`."""
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
            try:
                part = await threads.call(following, limit)
            except Overrun:
                raise ServingError(Fault.TOO_LATE, f"a part of the answer took longer than {limit:g} s") from None
            except ServingError:
                raise
            except Exception as error:
                raise ServingError(
                    Fault.MODEL_FAILED, f"the model failed: {type(error).__name__}: {str(error)[:500]}"
                ) from error
            if part is _END:
                return
            yield part, time.perf_counter() - began
    finally:
        with suppress(Exception):  # how somebody's generator ends is of no use to anybody any more
            await threads.call(close, limit)
