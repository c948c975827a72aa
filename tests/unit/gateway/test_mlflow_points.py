"""Points as MLflow's clients log them: what is refused is named as the client calls it."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from events.language.common import Refused
from events.language.experiments.points import check_batch
from services.gateway.errors import DoorError
from services.gateway.mlflow import metrics, runs
from services.gateway.mlflow.asked import Asked

NOW = 1_778_301_120_000


class Calls:
    """What requests lead to, in their order; batches are checked as at every door."""

    project = "local/default"

    def __init__(self) -> None:
        self.done: list[Any] = []

    async def log(self, batch: Any) -> None:
        try:
            check_batch(batch, batch.ByteSize())
        except Refused as refused:
            raise DoorError.of(refused) from None
        self.done.append(batch)

    async def send(self, kind: str, **fields: Any) -> None:
        self.done.append((kind, fields))


def point(key: str = "loss", **more: Any) -> dict[str, Any]:
    return {"key": key, "value": 0.5, "timestamp": NOW, **more}


async def log_batch(calls: Any, points: Any, **more: Any) -> None:
    await runs.log_batch(Asked({"run_id": "r1", "metrics": points, **more}), calls)


async def test_a_batch_has_a_series_for_each_key_data_set_and_model() -> None:
    calls = Calls()
    points = [
        point(step=1),
        point("acc", dataset_name="digits", dataset_digest="d1", model_id="m-1"),
        point(step=2, value="NaN"),
    ]
    await log_batch(calls, points, params=[{"key": "lr", "value": "1"}])
    batch, (kind, fields) = calls.done
    assert [(each.key, each.model_id, each.dataset) for each in batch.series] == [
        ("loss", "", ""),
        ("acc", "m-1", "digits@d1"),
    ]
    assert struct.unpack("<2q", batch.series[0].steps) == (1, 2)
    assert (kind, fields["params"]) == ("LogRunData", {"lr": "1"})


async def test_a_batch_without_points_is_none() -> None:
    calls = Calls()
    await log_batch(calls, [], tags=[{"key": "a", "value": "b"}])
    assert [kind for kind, _ in calls.done] == ["LogRunData"]


@pytest.mark.parametrize(
    ("points", "field", "problem"),
    [
        ([point(), point("k" * 251)], "metrics[1].key", "has 251 characters"),
        ([point(), point(), point("a\nb")], "metrics[2].key", "'a\\nb' can't be printed"),
        ([point(timestamp=1 << 62)], "metrics[0].timestamp", f"{1 << 62} is no time"),
        ([point(model_id="No Model")], "metrics[0].model_id", "'No Model' is no id of a model"),
        ([point(), point(dataset_name="d" * 251)], "metrics[1].dataset_name", "has 251 characters"),
        ([point(step=step) for step in range(10_001)], "metrics", "have 10001 points"),
    ],
)
async def test_a_field_is_named_as_the_client_calls_it(points: Any, field: str, problem: str) -> None:
    calls = Calls()
    with pytest.raises(DoorError) as caught:
        await log_batch(calls, points, params=[{"key": "lr", "value": "1"}])
    assert caught.value.errors[0].field == field
    assert caught.value.errors[0].problem == problem
    assert caught.value.message.startswith(f"{field}: {problem}; ")
    assert calls.done == [], "a batch that is refused changes nothing"


async def test_a_metric_alone_is_named_without_a_list() -> None:
    calls: Any = Calls()
    with pytest.raises(DoorError) as caught:
        await metrics.log(Asked({"run_id": "r1", **point("k" * 251)}), calls)
    assert caught.value.errors[0].field == "key"
