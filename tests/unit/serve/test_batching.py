"""Requests that wait together are computed together, and none fails for another one."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from events.language.deployments.serving import EndpointBatching
from forgelog.serve.batching import Batcher, Computed
from forgelog.serve.problems import Fault, ServingError


class Doubling:
    """A model that doubles, and fails for 13. Its first batch waits until `go`."""

    def __init__(self, *, held: bool = False) -> None:
        self.batches: list[list[float]] = []
        self.go = asyncio.Event()
        if not held:
            self.go.set()

    async def __call__(self, inputs: Mapping[str, Any], parameters: Mapping[str, Any]) -> Mapping[str, Any]:
        self.batches.append(inputs["x"][:, 0].tolist())
        await self.go.wait()
        if 13 in inputs["x"]:
            raise ServingError(Fault.MODEL_FAILED, "13")
        return {"y": inputs["x"] * 2}


def rows(*values: float, columns: int = 1) -> dict[str, Any]:
    return {"x": np.array([[value] * columns for value in values], np.float32)}


async def started(model: Doubling, *, most: int = 4, timeout_ms: float = 0, waiting: int = 100, **more: Any) -> Batcher:
    settings = EndpointBatching(enabled=True, max_size=most, timeout_ms=timeout_ms)
    batcher = Batcher(model, settings, waiting, **{"mergeable": True, **more})
    batcher.start()
    return batcher


async def all_of(batcher: Batcher, *inputs: dict[str, Any], **parameters: Any) -> list[Computed]:
    """Asked at once: the first goes alone where nothing waits."""
    return await asyncio.gather(*(batcher.infer(each, parameters) for each in inputs))


async def test_what_waits_is_computed_together_and_each_gets_its_rows() -> None:
    model = Doubling(held=True)
    batcher = await started(model)
    first = asyncio.create_task(batcher.infer(rows(1), {}))
    while not model.batches:
        await asyncio.sleep(0)
    others = [asyncio.create_task(batcher.infer(rows(*values), {})) for values in ([2], [3, 4], [5])]
    await asyncio.sleep(0)
    model.go.set()
    found = [await each for each in (first, *others)]
    assert model.batches == [[1], [2, 3, 4, 5]]
    assert [each.outputs["y"][:, 0].tolist() for each in found] == [[2], [4], [6, 8], [10]]
    assert [(each.batch, each.requests, each.rows) for each in found] == [(1, 1, 1), (2, 3, 4), (2, 3, 4), (2, 3, 4)]
    await batcher.stop()


async def test_a_batch_never_has_more_rows_than_it_may() -> None:
    model = Doubling()
    batcher = await started(model, most=4)
    await all_of(batcher, *(rows(1, 2, 3) for _ in range(5)), *(rows(4) for _ in range(5)))
    assert max(len(batch) for batch in model.batches) <= 4
    assert sum(len(batch) for batch in model.batches) == 20
    await batcher.stop()


async def test_a_request_that_fits_into_no_batch_is_refused() -> None:
    batcher = await started(Doubling(), most=2)
    with pytest.raises(ServingError, match="3 rows, and a batch has at most 2"):
        await batcher.infer(rows(1, 2, 3), {})
    await batcher.stop()


async def test_a_request_that_fails_fails_alone() -> None:
    model = Doubling()
    batcher = await started(model, timeout_ms=10_000, most=3)
    found = await asyncio.gather(*(batcher.infer(rows(n), {}) for n in (1, 13, 2)), return_exceptions=True)
    assert model.batches == [[1, 13, 2], [1], [13], [2]]
    assert isinstance(found[1], ServingError)
    assert [found[n].outputs["y"][0, 0] for n in (0, 2)] == [2, 4]  # type: ignore[union-attr]
    await batcher.stop()


async def test_an_answer_that_can_not_be_divided_is_computed_singly() -> None:
    async def mean(inputs: Mapping[str, Any], _: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"y": inputs["x"].mean(axis=0)}

    batcher = Batcher(mean, EndpointBatching(enabled=True, max_size=2, timeout_ms=10_000), 10, mergeable=True)
    batcher.start()
    found = await all_of(batcher, rows(1), rows(3))
    assert [each.outputs["y"].tolist() for each in found] == [[1], [3]]
    await batcher.stop()


async def test_other_shapes_and_parameters_are_other_batches() -> None:
    model = Doubling()
    batcher = await started(model, timeout_ms=5)
    await asyncio.gather(
        batcher.infer(rows(1), {}), batcher.infer(rows(2, columns=2), {}), batcher.infer(rows(3), {"a": 1})
    )
    assert sorted(model.batches) == [[1], [2], [3]]
    await batcher.stop()


async def test_a_batch_closes_when_it_is_full_though_its_time_is_not_over() -> None:
    model = Doubling()
    batcher = await started(model, most=2, timeout_ms=10_000)
    await all_of(batcher, rows(1), rows(2))
    assert model.batches == [[1, 2]]
    await batcher.stop()


async def test_a_batch_closes_when_its_oldest_has_waited() -> None:
    model = Doubling()
    batcher = await started(model, most=100, timeout_ms=20)
    found = await batcher.infer(rows(1), {})
    assert found.waited >= 0.02
    await batcher.stop()


async def test_who_goes_away_is_not_computed() -> None:
    model = Doubling(held=True)
    batcher = await started(model)
    first = asyncio.create_task(batcher.infer(rows(1), {}))
    gone = asyncio.create_task(batcher.infer(rows(2), {}))
    while not model.batches:
        await asyncio.sleep(0)
    last = asyncio.create_task(batcher.infer(rows(3), {}))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.sleep(0)
    model.go.set()
    await asyncio.gather(first, last)
    assert all(2 not in batch for batch in model.batches[1:])
    assert batcher.waiting == 0
    await batcher.stop()


async def test_only_so_many_wait() -> None:
    model = Doubling(held=True)
    batcher = await started(model, waiting=2)
    first = asyncio.create_task(batcher.infer(rows(1), {}))
    while not model.batches:
        await asyncio.sleep(0)
    others = [asyncio.create_task(batcher.infer(rows(n), {})) for n in (2, 3)]
    await asyncio.sleep(0)
    with pytest.raises(ServingError, match="2 requests wait already"):
        await batcher.infer(rows(4), {})
    model.go.set()
    await asyncio.gather(first, *others)
    await batcher.stop()


async def test_a_model_that_takes_no_rows_gets_one_request_at_a_time() -> None:
    model = Doubling()
    batcher = await started(model, mergeable=False)
    await all_of(batcher, rows(1), rows(2))
    assert model.batches == [[1], [2]]
    await batcher.stop()
