"""The platform's answers as MLflow's JSON. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from events.language.experiments import RunStatus
from events.language.experiments.logged_models import LoggedModelStatus
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

MODEL_STATUSES: Mapping[str, str] = {
    LoggedModelStatus.PENDING.value: "LOGGED_MODEL_PENDING",
    LoggedModelStatus.READY.value: "LOGGED_MODEL_READY",
    LoggedModelStatus.FAILED.value: "LOGGED_MODEL_UPLOAD_FAILED",
}
"""The platform's words of logged models, and MLflow's, in the order of their numbers from 1 on."""

USER = "mlflow.user"
RUN_NAME = "mlflow.runName"
PARENT = "mlflow.parentRunId"
CONTEXT = "mlflow.data.context"
"""Tags by which MLflow's clients say what the platform keeps as fields."""

MODELS = "models"
"""The folder of an experiment that its logged models are in."""

BETWEEN = "@"
"""Between the name of a data set and its digest, which has none."""

_NUMBERS = {number: word for word, number in types.RunStatus.items()}
_OF_MODELS = {number: word for word, number in types.LoggedModelStatus.items()}


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
    return {"info": info, "data": run_data(answer.params, tags, answer.metrics, found.project), **used(answer)}


def used(answer: Any) -> dict[str, Any]:
    """What a run read, and which models it made, of a message with both."""
    project = answer.run.project
    made = [{"model_id": outward(each.model_id, project), "step": each.step} for each in answer.outputs]
    return {
        "inputs": {
            "dataset_inputs": [_dataset(each) for each in answer.inputs],
            "model_inputs": [{"model_id": outward(id, project)} for id in answer.models],
        },
        "outputs": {"model_outputs": made},
    }


def _dataset(found: Any) -> dict[str, Any]:
    role = {CONTEXT: found.role} if found.role else {}
    return {
        "tags": pairs({**found.tags, **role}),
        "dataset": {
            "name": found.name,
            "digest": found.digest,
            "source_type": found.source_type,
            "source": found.source,
            "schema": found.columns,
            "profile": found.profile,
        },
    }


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


def run_data(
    params: Mapping[str, str], tags: Mapping[str, str], metrics: Iterable[Any] = (), project: str = ""
) -> dict[str, Any]:
    """`metrics`: of every series. MLflow shows one value of a key, the last."""
    last: dict[str, Any] = {}
    for each in metrics:
        if each.key not in last or _place(each) > _place(last[each.key]):
            last[each.key] = each
    shown = [metric(each, project, each.step, milliseconds(each.time), each.value) for each in last.values()]
    return {"metrics": shown, "params": pairs(params), "tags": pairs(tags)}


def model_uri(experiment_id: str, id: str) -> str:
    """Where the files of a logged model are, as its clients see it."""
    return f"mlflow-artifacts:/{experiment_id}/{MODELS}/{id}/artifacts"


def logged_model(answer: Any) -> dict[str, Any]:
    """Of a message with a logged model, and how it was measured."""
    found = answer.model
    word = _OF_MODELS[found.status].removeprefix("LOGGED_MODEL_STATUS_").lower()
    info = model_info(
        found.model_id,
        found.project,
        found.experiment_id,
        name=found.name,
        model_type=found.model_type,
        source_run_id=found.source_run_id,
        status=MODEL_STATUSES[word],
        created=milliseconds(found.created_at),
        updated=milliseconds(found.updated_at),
        tags=found.tags,
        message=found.reason,
    )
    metrics = [
        {
            **metric(each, found.project, each.step, milliseconds(each.time), each.value),
            "run_id": outward(each.run_id, found.project),
        }
        for each in answer.metrics
    ]
    return {"info": info, "data": {"params": pairs(found.params), "metrics": metrics}}


def model_info(
    id: str,
    project: str,
    experiment_id: str,
    *,
    name: str,
    model_type: str,
    source_run_id: str,
    status: str,
    created: int,
    updated: int,
    tags: Mapping[str, str],
    message: str = "",
) -> dict[str, Any]:
    return {
        "model_id": outward(id, project),
        "experiment_id": experiment_id,
        "name": name,
        "creation_timestamp_ms": created,
        "last_updated_timestamp_ms": updated,
        "artifact_uri": model_uri(experiment_id, id),
        "status": status,
        "model_type": model_type,
        "source_run_id": outward(source_run_id, project),
        "status_message": message,
        "tags": pairs(tags),
    }


def metric(series: Any, project: str, step: int, time: int, value: float) -> dict[str, Any]:
    """A point of a series. `series`: a message with its name. `time`: milliseconds since 1970."""
    name, _, digest = series.dataset.rpartition(BETWEEN)
    model = outward(series.model_id, project)
    of = {"model_id": model, "dataset_name": name or digest, "dataset_digest": digest if name else ""}
    point = {"key": series.key, "value": word_of(value), "timestamp": time, "step": step}
    return {**point, **{name: text for name, text in of.items() if text}}


def data_set(name: str, digest: str) -> str:
    """What a metric was measured on, as one text."""
    return f"{name}{BETWEEN}{digest}" if digest else name


def _place(series: Any) -> tuple[int, int, bool, float]:
    """By which the last of several values is told."""
    return series.step, milliseconds(series.time), math.isnan(series.value), series.value


def pairs(values: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in sorted(values.items())]


def in_milliseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def _stage(found: Any) -> str:
    return "deleted" if found.HasField("deleted_at") else "active"
