"""MLflow's endpoints of metrics."""

from __future__ import annotations

import re
import struct
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from events.language.experiments.points import SeriesName
from events.process.counts import count_of
from forgelog_pb.experiments.v1 import points_queries_pb2 as pb
from forgelog_pb.experiments.v1.points_pb2 import PointBatch
from services.gateway.errors import DoorError
from services.gateway.mlflow.asked import Asked
from services.gateway.mlflow.calls import Calls, run_id
from services.gateway.mlflow.run_ids import inward, outward
from services.gateway.mlflow.shapes import data_set, metric, milliseconds

MAX_RESULTS = 10_000
MAX_BULK = 25_000
"""Points of several runs in one answer."""
MAX_RUNS = 100
MAX_SAMPLED = 2_500
_PER_PIXEL = 4
"""Most points that a curve has in a pixel: the first, the last and the extremes."""


async def log(asked: Asked, calls: Calls) -> dict[str, Any]:
    await log_points(calls, run_id(asked, calls), [asked])
    return {}


async def history(asked: Asked, calls: Calls) -> dict[str, Any]:
    """All points of a key, series by series. A page's token is the number of the series and a cursor in it."""
    id, key = run_id(asked, calls), asked.text("metric_key", required=True)
    most = asked.most("max_results", MAX_RESULTS, MAX_RESULTS)
    await calls.experiment_of(id)
    number, _, cursor = (asked.text("page_token") or "0:").partition(":")
    found = await calls.ask("ListMetrics", pb.ListMetricsResponse, run_ids=[id], keys=[key])
    if (first := count_of(number)) is None or first > len(found.metrics):
        asked.wrong("page_token", "is not one that this list returned", "start without it")
    shown: list[dict[str, Any]] = []
    for index in range(first, len(found.metrics)):
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
        shown += [
            metric(series, calls.project, each.step, milliseconds(each.time), each.value) for each in points.points
        ]
        if points.next_cursor:
            return {"metrics": shown, "next_page_token": f"{index}:{points.next_cursor}"}
        cursor = ""
        if len(shown) == most and index + 1 < len(found.metrics):
            return {"metrics": shown, "next_page_token": f"{index + 1}:"}
    return {"metrics": shown}


async def sampled(asked: Asked, calls: Calls) -> dict[str, Any]:
    """Points of a key of several runs, as many as a drawing needs: each extreme is among them."""
    runs = await _runs(asked, calls, "run_ids")
    width = max(asked.most("max_results", MAX_SAMPLED, MAX_SAMPLED) // _PER_PIXEL, 1)
    steps = {name: asked.integer(field) for name, field in (("first", "start_step"), ("last", "end_step"))}
    found = await calls.ask(
        "GetCurves",
        pb.GetCurvesResponse,
        run_ids=runs,
        keys=[asked.text("metric_key", required=True)],
        width=width,
        **{name: step for name, step in steps.items() if step is not None},
    )
    shown = [
        metric(curve, calls.project, step, time, value) | {"run_id": outward(curve.run_id, calls.project)}
        for curve in found.curves
        for step, time, value in zip(curve.steps, curve.times, curve.values, strict=True)
    ]
    return {"metrics": shown}


async def history_of_runs(asked: Asked, calls: Calls) -> dict[str, Any]:
    """All points of a key of several runs, run by run, up to a bound."""
    runs, key = await _runs(asked, calls, "run_id"), asked.text("metric_key", required=True)
    most = asked.most("max_results", MAX_BULK, MAX_BULK)
    found = await calls.ask("ListMetrics", pb.ListMetricsResponse, run_ids=runs, keys=[key])
    shown: list[dict[str, Any]] = []
    for series in found.metrics:
        cursor = "first"
        while cursor and len(shown) < most:
            points = await calls.ask(
                "ListPoints",
                pb.ListPointsResponse,
                run_id=series.run_id,
                key=key,
                model_id=series.model_id,
                dataset=series.dataset,
                page={"limit": min(most - len(shown), MAX_RESULTS), "cursor": "" if cursor == "first" else cursor},
            )
            run = {"run_id": outward(series.run_id, calls.project)}
            shown += [
                metric(series, calls.project, each.step, milliseconds(each.time), each.value) | run
                for each in points.points
            ]
            cursor = points.next_cursor
    return {"metrics": shown}


async def _runs(asked: Asked, calls: Calls, name: str) -> list[str]:
    """The runs of the project that a list names. Raises DoorError or Relayed."""
    named = asked.texts(name)
    if not 0 < len(named) <= MAX_RUNS:
        asked.wrong(name, f"has {len(named)} runs", f"give 1 to {MAX_RUNS}")
    runs = [inward(each, calls.project) for each in named]
    for id in runs:
        await calls.experiment_of(id)
    return runs


async def log_points(calls: Calls, id: str, points: Sequence[Asked]) -> None:
    """Write points of a run, if there are any. Raises DoorError, which names their fields as the request does."""
    series, firsts = _series(points, calls.project)
    batch = PointBatch(run_id=id)
    for name, rows in series.items():
        steps, times, values = zip(*rows, strict=True)
        batch.series.add(
            **name._asdict(),
            steps=struct.pack(f"<{len(rows)}q", *steps),
            times=struct.pack(f"<{len(rows)}q", *times),
            values=struct.pack(f"<{len(rows)}d", *values),
        )
    if not series:
        return
    try:
        await calls.log(batch)
    except DoorError as error:
        raise _renamed(error, [*firsts.values()]) from None


_Rows = list[tuple[int, int, float]]
"""Step, time and value of each point."""


def _series(points: Sequence[Asked], project: str) -> tuple[dict[SeriesName, _Rows], dict[SeriesName, Asked]]:
    """The points of each series, and its first one as it was asked. Raises DoorError."""
    series: dict[SeriesName, _Rows] = defaultdict(list)
    firsts: dict[SeriesName, Asked] = {}
    rows_of: dict[tuple[Any, ...], _Rows] = {}
    """What a point says of its series → the rows of that."""
    for each in points:
        named = each.given("key", "model_id", "dataset_name", "dataset_digest")
        try:
            rows = rows_of[named]
        except (KeyError, TypeError):  # the first of its series, or lists in place of texts, which are refused now
            measured = data_set(each.text("dataset_name"), each.text("dataset_digest"))
            name = SeriesName(each.text("key", required=True), inward(each.text("model_id"), project), measured)
            rows = rows_of[named] = series[name]
            firsts.setdefault(name, each)
        rows.append((each.integer("step") or 0, each.milliseconds("timestamp"), each.number("value")))
    return series, firsts


_SERIES = re.compile(r"series\[(?P<number>[0-9]+)\](?:\.(?P<field>\w+))?")
_FIELDS = {"dataset": "dataset_name", "steps": "step", "times": "timestamp", "values": "value"}
"""What the platform calls a field of a series → what MLflow calls it, if not the same."""


def _renamed(error: DoorError, firsts: Sequence[Asked]) -> DoorError:
    """A refusal of a batch, whose fields are called as MLflow's client calls them. `firsts`: of each series, its first
    point in the request."""
    renamed = []
    for each in error.errors:
        field = each.field
        if (match := _SERIES.fullmatch(field)) is not None:
            asked, name = firsts[int(match["number"])], match["field"] or "key"
            field = asked.place(_FIELDS.get(name, name))
        elif field == "series":
            field = "metrics"
        error.message = error.message.replace(f"{each.field}: ", f"{field}: ", 1)
        renamed.append(each.model_copy(update={"field": field}))
    error.errors = tuple(renamed)
    return error
