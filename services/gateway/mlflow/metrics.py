"""MLflow's endpoints of metrics."""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from forgelog_pb.experiments.v1 import points_queries_pb2 as pb
from forgelog_pb.experiments.v1.points_pb2 import PointBatch
from services.gateway.mlflow.asked import Asked
from services.gateway.mlflow.calls import Calls, run_id
from services.gateway.mlflow.run_ids import inward
from services.gateway.mlflow.shapes import data_set, metric

MAX_RESULTS = 10_000


async def log(asked: Asked, calls: Calls) -> dict[str, Any]:
    await calls.log(batch_of(run_id(asked, calls), calls.project, [asked]))
    return {}


async def history(asked: Asked, calls: Calls) -> dict[str, Any]:
    """All points of a key, series by series. A page's token is the number of the series and a cursor in it."""
    id, key = run_id(asked, calls), asked.text("metric_key", required=True)
    most = asked.most("max_results", MAX_RESULTS, MAX_RESULTS)
    number, _, cursor = (asked.text("page_token") or "0:").partition(":")
    found = await calls.ask("ListMetrics", pb.ListMetricsResponse, run_ids=[id], keys=[key])
    if not number.isdecimal() or int(number) > len(found.metrics):
        asked.wrong("page_token", "is not one that this list returned", "start without it")
    shown: list[dict[str, Any]] = []
    for index in range(int(number), len(found.metrics)):
        series = found.metrics[index]
        points = await calls.ask(
            "ListPoints",
            pb.ListPointsResponse,
            run_id=id,
            key=key,
            model_id=series.model_id,
            dataset=series.dataset,
            page={"limit": most - len(shown), "cursor": cursor},
        )
        shown += [metric(series, calls.project, each.step, each.time, each.value) for each in points.points]
        if points.next_cursor:
            return {"metrics": shown, "next_page_token": f"{index}:{points.next_cursor}"}
        cursor = ""
        if len(shown) == most and index + 1 < len(found.metrics):
            return {"metrics": shown, "next_page_token": f"{index + 1}:"}
    return {"metrics": shown}


def batch_of(id: str, project: str, points: Sequence[Asked]) -> PointBatch:
    """Points of a run, as a batch. Raises DoorError."""
    series: dict[tuple[str, str, str], list[tuple[int, int, float]]] = defaultdict(list)
    for each in points:
        measured = data_set(each.text("dataset_name"), each.text("dataset_digest"))
        name = each.text("key", required=True), inward(each.text("model_id"), project), measured
        series[name].append((each.integer("step") or 0, each.milliseconds("timestamp"), each.number("value")))
    batch = PointBatch(run_id=id)
    for (key, model_id, measured), rows in series.items():
        steps, times, values = zip(*rows, strict=True)
        batch.series.add(
            key=key,
            model_id=model_id,
            dataset=measured,
            steps=struct.pack(f"<{len(rows)}q", *steps),
            times=struct.pack(f"<{len(rows)}q", *times),
            values=struct.pack(f"<{len(rows)}d", *values),
        )
    return batch
