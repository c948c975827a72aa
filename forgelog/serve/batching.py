"""Puts requests that wait together into batches, and gives each its part of the answer.

Only requests of equal types, shapes (but for the rows) and parameters are merged, all of them checked before. A batch
never has more rows than it may. When a batch fails, or its answer can't be divided, each of its requests is computed by
itself: no request fails for another one.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from events.language.deployments.serving import EndpointBatching
from forgelog.serve.problems import Fault, ServingError
from forgelog.serve.tensors import Array

Tensors = Mapping[str, Array]
Compute = Callable[[Tensors, Mapping[str, Any]], Awaitable[Tensors]]
"""Inputs and parameters → outputs."""


@dataclass(frozen=True, slots=True)
class Computed:
    """What came of a request."""

    outputs: Tensors
    batch: int
    """Counts the batches of the process."""
    rows: int
    """Of the whole batch."""
    requests: int
    """Of the whole batch."""
    waited: float
    """Seconds until its batch began."""
    computed: float
    """Seconds that the model took for the batch."""
    cpu: float = 0.0
    """Seconds of CPU that this process used meanwhile."""


@dataclass(eq=False, slots=True)
class _Waiting:
    inputs: Tensors
    parameters: Mapping[str, Any]
    rows: int
    since: float
    done: asyncio.Future[Computed]


@dataclass(slots=True)
class _Group:
    """Requests that can be merged, in the order in which they came."""

    waiting: deque[_Waiting] = field(default_factory=deque)
    rows: int = 0


class Batcher:
    """The queue before a model. Used from one event loop."""

    def __init__(
        self,
        compute: Compute,
        settings: EndpointBatching,
        most_waiting: int,
        *,
        mergeable: bool,
        at_a_time: int = 1,
        clock: Callable[[], float] = time.perf_counter,
        cpu_clock: Callable[[], float] = time.process_time,
    ) -> None:
        """`mergeable`: whether the model computes several rows at once. `at_a_time`: batches that are computed at a
        time. `clock`: gives seconds, `cpu_clock` those of CPU."""
        self._compute = compute
        self._merges = settings.enabled and mergeable
        self._most_rows = settings.max_size
        self._timeout = settings.timeout_ms / 1000 if self._merges else 0.0
        self._most_waiting = most_waiting
        self._clock = clock
        self._cpu_clock = cpu_clock
        self._groups: dict[Any, _Group] = {}
        self._count = 0
        self._batches = 0
        self._came = asyncio.Event()
        self._at_a_time = at_a_time
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def waiting(self) -> int:
        return self._count

    @property
    def merges(self) -> bool:
        """Whether requests are computed together."""
        return self._merges

    def number(self) -> int:
        """Of a batch that is computed at once, of one request."""
        self._batches += 1
        return self._batches

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._run(), name="batches") for _ in range(self._at_a_time)]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def check_rows(self, rows: int) -> None:
        """Raise `ServingError` for a request that fits into no batch."""
        if self._merges and rows > self._most_rows:
            raise ServingError(
                Fault.INVALID,
                f"the request has {rows} rows, and a batch has at most {self._most_rows}; divide it",
            )

    async def infer(self, inputs: Tensors, parameters: Mapping[str, Any]) -> Computed:
        """The answer to one request, whose inputs were checked. Raises `ServingError`."""
        rows = next(iter(inputs.values())).shape[0] if self._merges and inputs else 1
        self.check_rows(rows)
        if self._count >= self._most_waiting:
            raise ServingError(Fault.UNAVAILABLE, f"{self._count} requests wait already; try again in a moment")
        item = _Waiting(inputs, parameters, rows, self._clock(), asyncio.get_running_loop().create_future())
        group = self._groups.setdefault(self._key(item), _Group())
        group.waiting.append(item)
        group.rows += rows
        self._count += 1
        self._came.set()
        return await item.done

    def _key(self, item: _Waiting) -> Any:
        if not self._merges:
            return None
        return (
            tuple(sorted((name, array.dtype.str, array.shape[1:]) for name, array in item.inputs.items())),
            repr(sorted(item.parameters.items())) if item.parameters else "",
        )

    async def _run(self) -> None:
        while True:
            while not self._groups:
                self._came.clear()
                await self._came.wait()
            group, wait = self._next(self._clock())
            if group is None:
                self._came.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await self._came.wait()
                continue
            if batch := self._taken(group):
                await self._answer(batch)

    def _next(self, now: float) -> tuple[Any, float]:
        """The key of the group that is due and has waited longest; else None and the seconds until one is due."""
        found, oldest, wait = None, float("inf"), float("inf")
        for key, group in self._groups.items():
            since = group.waiting[0].since
            left = since + self._timeout - now
            if group.rows >= self._most_rows or left <= 0 or not self._merges:
                if since < oldest:
                    found, oldest = (key,), since
            else:
                wait = min(wait, left)
        return found, wait

    def _taken(self, key: tuple[Any]) -> list[_Waiting]:
        """The next batch of a group, without those whose callers went away."""
        group = self._groups[key[0]]
        batch: list[_Waiting] = []
        rows = 0
        while group.waiting:
            item = group.waiting[0]
            if not item.done.done():
                if batch and (not self._merges or rows + item.rows > self._most_rows):
                    break
                batch.append(item)
                rows += item.rows
            group.waiting.popleft()
            group.rows -= item.rows
            self._count -= 1
        if not group.waiting:
            del self._groups[key[0]]
        return batch

    async def _answer(self, batch: Sequence[_Waiting]) -> None:
        if len(batch) > 1:
            try:
                await self._compute_together(batch)
                return
            except Exception:  # noqa: BLE001 -- each request is told its own error below
                pass
        for item in batch:
            if item.done.done():
                continue
            began, cpu = self._clock(), self._cpu_clock()
            try:
                outputs = await self._compute(item.inputs, item.parameters)
            except Exception as error:  # noqa: BLE001 -- it is the request's
                if not item.done.done():
                    item.done.set_exception(error)
            else:
                took, used = self._clock() - began, self._cpu_clock() - cpu
                self._batches += 1
                _settle(item, Computed(outputs, self._batches, item.rows, 1, began - item.since, took, used))

    async def _compute_together(self, batch: Sequence[_Waiting]) -> None:
        first = batch[0]
        together = {name: np.concatenate([item.inputs[name] for item in batch]) for name in first.inputs}
        rows = sum(item.rows for item in batch)
        began, cpu = self._clock(), self._cpu_clock()
        outputs = await self._compute(together, first.parameters)
        if any(array.ndim == 0 or array.shape[0] != rows for array in outputs.values()):
            raise ValueError("the answer has other rows than the batch")
        took, used, at = self._clock() - began, self._cpu_clock() - cpu, 0
        self._batches += 1
        for item in batch:
            part = {name: array[at : at + item.rows] for name, array in outputs.items()}
            at += item.rows
            _settle(item, Computed(part, self._batches, rows, len(batch), began - item.since, took, used))


def _settle(item: _Waiting, computed: Computed) -> None:
    if not item.done.done():
        item.done.set_result(computed)
