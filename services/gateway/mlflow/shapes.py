"""The platform's answers as MLflow's JSON. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from events.language.experiments import RunStatus
from forgelog_pb.experiments.v1 import types_pb2 as types
from services.gateway.mlflow.asked import word_of
from services.gateway.mlflow.run_ids import outward

STATUSES: Mapping[str, str] = {
    "RUNNING": RunStatus.RUNNING.value,
    "SCHEDULED": RunStatus.SCHEDULED.value,
    "FINISHED": RunStatus.FINISHED.value,
    "FAILED": RunStatus.FAILED.value,
    "KILLED": RunStatus.KILLED.value,
}
"""MLflow's words, in the order of their numbers from 1 on, and the platform's."""

VIEWS = ("ACTIVE_ONLY", "DELETED_ONLY", "ALL")
"""In the order of their numbers from 1 on."""

USER = "mlflow.user"
RUN_NAME = "mlflow.runName"
PARENT = "mlflow.parentRunId"
"""Tags by which MLflow's clients say what the platform keeps as fields."""

BETWEEN = "@"
"""Between the name of a data set and its digest, which has none."""

_NUMBERS = {number: word for word, number in types.RunStatus.items()}


def milliseconds(moment: Any) -> int:
    """A protobuf time."""
    return int(moment.ToMilliseconds())


def experiment(found: Any) -> dict[str, Any]:
    """Of an `Experiment` message."""
    return {
        "experiment_id": found.experiment_id,
        "name": found.name,
        "artifact_location": f"mlflow-artifacts:/{found.experiment_id}",
        "lifecycle_stage": _stage(found),
        "creation_time": milliseconds(found.created_at),
        "last_update_time": milliseconds(found.updated_at),
        "tags": pairs(found.tags),
    }


def run(answer: Any) -> dict[str, Any]:
    """Of a message with a run, and what was logged to it."""
    found, tags = answer.run, answer.tags
    status = _NUMBERS[found.status].removeprefix("RUN_STATUS_")
    info = run_info(
        found.run_id,
        found.project,
        found.experiment_id,
        name=found.name,
        user=tags.get(USER) or found.owner,
        status=status,
        started=milliseconds(found.started_at),
        stage=_stage(found),
    )
    if found.HasField("ended_at"):
        info["end_time"] = milliseconds(found.ended_at)
    return {"info": info, "data": run_data(answer.params, tags, answer.metrics), "inputs": {}}


def run_info(
    id: str, project: str, experiment_id: str, *, name: str, user: str, status: str, started: int, stage: str = "active"
) -> dict[str, Any]:
    return {
        "run_id": outward(id, project),
        "run_uuid": outward(id, project),
        "run_name": name,
        "experiment_id": experiment_id,
        "user_id": user,
        "status": status,
        "start_time": started,
        "artifact_uri": artifact_uri(experiment_id, id),
        "lifecycle_stage": stage,
    }


def artifact_uri(experiment_id: str, id: str) -> str:
    """Where the files of a run are, as its clients see it."""
    return f"mlflow-artifacts:/{experiment_id}/{id}/artifacts"


def run_data(params: Mapping[str, str], tags: Mapping[str, str], metrics: Iterable[Any] = ()) -> dict[str, Any]:
    """`metrics`: of every series. MLflow shows one value of a key, the last."""
    last: dict[str, Any] = {}
    for each in metrics:
        if each.key not in last or _place(each) > _place(last[each.key]):
            last[each.key] = each
    shown = [metric(each, each.step, each.time, each.value) for each in last.values()]
    return {"metrics": shown, "params": pairs(params), "tags": pairs(tags)}


def metric(series: Any, step: int, time: Any, value: float) -> dict[str, Any]:
    """A point of a series. `series`: a `Metric` message."""
    name, _, digest = series.dataset.rpartition(BETWEEN)
    of = {"model_id": series.model_id, "dataset_name": name or digest, "dataset_digest": digest if name else ""}
    point = {"key": series.key, "value": word_of(value), "timestamp": milliseconds(time), "step": step}
    return {**point, **{name: text for name, text in of.items() if text}}


def data_set(name: str, digest: str) -> str:
    """What a metric was measured on, as one text."""
    return f"{name}{BETWEEN}{digest}" if digest else name


def _place(series: Any) -> tuple[int, int]:
    return series.step, milliseconds(series.time)


def pairs(values: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in sorted(values.items())]


def in_milliseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def _stage(found: Any) -> str:
    return "deleted" if found.HasField("deleted_at") else "active"
